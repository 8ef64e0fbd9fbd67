"""``.ci/retry``, which runs failed tests again, alone."""

from __future__ import annotations

import json
import runpy
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("exit_code", "failures", "alone", "expected", "runs"),
    [
        (0, 0, 0, 0, 0),
        (1, 2, 0, 0, 1),  # passed alone
        (1, 2, 1, 1, 1),  # failed alone
        (1, 6, 0, 1, 0),  # too many
        (1, 0, 0, 1, 0),  # the list is missing
        (2, 1, 0, 2, 0),  # interrupted
    ],
)
def test_retry_passes_only_if_few_failures_pass_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    exit_code: int,
    failures: int,
    alone: int,
    expected: int,
    runs: int,
) -> None:
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(command, alone)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.chdir(tmp_path)
    tests = [f"tests/test_one.py::test_{number}" for number in range(failures)]
    cache = tmp_path / ".pytest_cache" / "v" / "cache"
    cache.mkdir(parents=True)
    (cache / "lastfailed").write_text(json.dumps(dict.fromkeys(tests, True)))
    retry = runpy.run_path(str(ROOT / ".ci" / "retry"))["main"]
    assert retry(exit_code) == expected
    assert len(commands) == runs
    assert all(command[-failures:] == tests for command in commands)
