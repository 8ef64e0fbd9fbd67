"""The invariants of every job under any fault.

1. exactly one end: a result or an error, in time; progress never falls and stops at the end;
2. the bytes are the server's;
3. the server ran it at most once;
4. nothing is left behind: tasks, threads, connections, files;
5. every failure is one of our errors, says what to do, and is not raised for a job that the
   server finished while the fault was passing;
6. the key that the client was given is nowhere to be read.
"""

from __future__ import annotations

import json
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlencode
from urllib.request import urlopen

from comfy_ui.errors import ComfyHeadlessError
from tests.faults.catalogue import Expect

Kind = Literal[
    "lost", "doubled", "hung", "wrong bytes", "untyped error", "leak", "secret", "two ends",
    "unexpected end",
]  # fmt: skip
KINDS: tuple[Kind, ...] = (
    "lost", "doubled", "hung", "wrong bytes", "untyped error", "leak", "secret", "two ends",
    "unexpected end",
)  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """The job as the server reports it, without the proxy in between."""

    executions: int
    succeeded: bool
    files: dict[str, bytes]  # filename -> bytes


@dataclass
class Run:
    """One job under one fault, as its client saw it."""

    name: str
    expect: Expect
    secret: str
    tolerates: tuple[type[ComfyHeadlessError], ...] = ()
    result: Any = None
    error: BaseException | None = None
    hung: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    progress: list[Any] = field(default_factory=list)
    left_behind: list[str] = field(default_factory=list)
    written: str = ""  # logs, reprs and errors
    accepted: int = 0  # times the server accepted a POST of this job
    stolen: list[str] = field(default_factory=list)
    seconds: float = 0.0
    hits: int = 0


@dataclass(frozen=True)
class Violation:
    kind: Kind
    run: str
    text: str

    def __str__(self) -> str:
        return f"[{self.kind}] {self.run}: {self.text}"


def ask_server(url: str, tag: str, *, patience_s: float = 10.0) -> Truth:
    """Return the truth about the jobs whose files are named ``tag…``, once all have ended."""
    give_up = time.monotonic() + patience_s
    while time.monotonic() < give_up:
        queue = _get_json(f"{url}/queue")
        if not any(tag in json.dumps(item) for jobs in queue.values() for item in jobs):
            break
        time.sleep(0.02)
    entries = [e for e in _get_json(f"{url}/history").values() if tag in json.dumps(e["prompt"])]
    files = {}
    for entry in entries:
        for output in entry["outputs"].values():
            for item in output.get("images", []):
                with urlopen(f"{url}/view?{urlencode(item)}", timeout=10) as answer:
                    files[item["filename"]] = answer.read()
    succeeded = any(e["status"]["status_str"] == "success" for e in entries)
    return Truth(executions=len(entries), succeeded=succeeded, files=files)


def judge(run: Run, truth: Truth) -> list[Violation]:
    """Return the violations of this run; an empty list if it is correct."""
    violations: list[Violation] = []

    def wrong(kind: Kind, text: str) -> None:
        violations.append(Violation(kind, run.name, text))

    if run.hung:
        wrong("hung", f"no end after {run.seconds:.1f} s")
    if run.result is not None and run.error is not None:
        wrong("two ends", f"a result and {run.error!r}")
    _judge_progress(run, wrong)
    if max(truth.executions, run.accepted) > 1:
        wrong("doubled", f"executed {truth.executions}, accepted {run.accepted} times")
    if run.error is None and not run.hung:
        if not run.files or run.files != truth.files:
            wrong("wrong bytes", f"{_sizes(run.files)} instead of {_sizes(truth.files)}")
        if run.expect != "recovers":
            wrong("unexpected end", "succeeded under a lasting fault")
    if run.error is not None:
        _judge_error(run, run.error, truth, wrong)
    for thing in run.left_behind:
        wrong("leak", thing)
    if run.secret in run.written or run.stolen:
        where = next((s for s in run.written.splitlines() if run.secret in s), str(run.stolen))
        wrong("secret", where[:300])
    return violations


def tally(violations: list[Violation]) -> dict[str, int]:
    counts = Counter(v.kind for v in violations)
    return {kind: counts[kind] for kind in KINDS}


def _judge_error(run: Run, error: BaseException, truth: Truth, wrong: Any) -> None:
    trace = "".join(traceback.format_exception(error))
    if run.secret in trace or run.secret in repr(error):
        wrong("secret", f"in the traceback of {error!r}")
    if not isinstance(error, ComfyHeadlessError) or not error.hint:
        wrong("untyped error", trace[-1500:])
    elif isinstance(error, run.tolerates) and not truth.executions and not run.accepted:
        pass
    elif run.expect == "recovers":
        kind: Kind = "lost" if truth.succeeded else "unexpected end"
        wrong(kind, f"{type(error).__name__}: {error} (server succeeded: {truth.succeeded})")
    elif not isinstance(error, run.expect):
        wrong("unexpected end", f"{type(error).__name__}: {error}, not one of {run.expect}")


def _judge_progress(run: Run, wrong: Any) -> None:
    percentages = [p.progress for p in run.progress]
    if percentages != sorted(percentages) or any(not 0 <= p <= 100 for p in percentages):
        wrong("two ends", f"progress is not monotonic within 0–100: {percentages}")
    ends = [i for i, p in enumerate(run.progress) if p.phase in TERMINAL]
    if len(ends) > 1 or (ends and ends[0] != len(run.progress) - 1):
        wrong("two ends", f"phases {[str(p.phase) for p in run.progress]}")


TERMINAL = {"succeeded", "failed", "cancelled", "lost"}


def _get_json(url: str) -> Any:
    with urlopen(url, timeout=10) as answer:
        return json.load(answer)


def _sizes(files: dict[str, bytes]) -> dict[str, int]:
    return {name: len(data) for name, data in files.items()}
