"""The audit of .ci/run: the real pip-audit, asking a stand-in for the list of known holes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

AUDIT = ROOT / ".ci" / "audit"
PINS = "here==1.0\nthere==2.0\n"


def hole(package: str, *fixed: str) -> dict[str, Any]:
    """A record of the OSV schema."""
    events = [{"introduced": "0"}, *({"fixed": version} for version in fixed)]
    affected = {
        "package": {"name": package, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    date = "2026-01-01T00:00:00Z"
    told = {"id": f"GHSA-{package}", "summary": "s", "details": "d"}
    return {**told, "modified": date, "published": date, "affected": [affected]}


class Lists:
    """Speaks OSV's query API about ``holes``, by package."""

    def __init__(self) -> None:
        self.holes: dict[str, list[dict[str, Any]]] = {}
        self.asked: list[str] = []
        lists = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                name = json.loads(body)["package"]["name"]
                lists.asked.append(name)
                known = lists.holes.get(name)
                content = json.dumps({"vulns": known} if known else {}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/query"


@pytest.fixture
def lists() -> Iterator[Lists]:
    made = Lists()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def pip_audit() -> None:
    """Skips where it cannot be had."""
    try:
        told = subprocess.run(
            ["uvx", "--quiet", "pip-audit", "--version"],
            capture_output=True,
            check=False,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired):
        pytest.skip("needs uvx")
    if told.returncode:
        pytest.skip("needs pip-audit")


@pytest.fixture
def audit(pip_audit: None, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run it over the pins above, with a cache of its own."""

    def run(url: str, *, path: str | None = None) -> tuple[int, str]:
        pins = tmp_path / "pins.txt"
        pins.write_text(PINS)
        options = ["-r", str(pins), "-s", "osv", "--osv-url", url]
        done = subprocess.run(
            [sys.executable, str(AUDIT), *options, "--cache-dir", str(tmp_path / "cache")],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**os.environ, "NO_PROXY": "127.0.0.1", **({"PATH": path} if path else {})},
        )
        assert done.stderr == ""
        return done.returncode, done.stdout

    return run


@pytest.mark.slow
def test_no_hole_is_no_failure(audit: Any, lists: Lists) -> None:
    code, said = audit(lists.url)
    assert (code, sorted(lists.asked)) == (0, ["here", "there"])
    assert "2 of 2 pinned packages looked up, 0 holes to be mended now" in said


@pytest.mark.slow
def test_a_hole_that_is_mended_fails_the_run_and_says_by_what(audit: Any, lists: Lists) -> None:
    lists.holes = {"there": [hole("there", "2.1", "3.0")]}
    code, said = audit(lists.url)
    assert code == 1
    assert "there 2.0: GHSA-there, mended by 2.1" in said
    assert "1 holes to be mended now, 0 that cannot be yet" in said


@pytest.mark.slow
def test_a_hole_that_nothing_mends_yet_is_told_and_stops_nobody(audit: Any, lists: Lists) -> None:
    lists.holes = {"here": [hole("here")]}
    code, said = audit(lists.url)
    assert code == 0
    assert "here 1.0: GHSA-here, mended by nothing yet" in said
    lists.holes["there"] = [hole("there", "2.1")]
    assert audit(lists.url)[0] == 1


@pytest.mark.slow
def test_lists_that_cannot_be_reached_are_told_in_so_many_words(
    audit: Any, lists: Lists, tmp_path: Path
) -> None:
    empty = tmp_path / "no programs"
    empty.mkdir()
    for code, said in (audit("http://127.0.0.1:9/v1/query"), audit(lists.url, path=str(empty))):
        assert code == 0
        assert said.startswith("audit: NOT DONE, the lists of known holes cannot be reached")
        assert "looked up" not in said


def test_ci_waits_for_the_audit_and_fails_with_it() -> None:
    text = (ROOT / ".ci" / "run").read_text()
    assert "set -euo pipefail" in text
    assert ".ci/audit & audit=$!" in text
    assert text.rstrip().endswith('wait "$audit"')
    bash = shutil.which("bash")
    assert bash
    done = subprocess.run(
        [bash, "-c", "set -euo pipefail\nfalse & audit=$!\ntrue\nwait $audit"], check=False
    )
    assert done.returncode == 1
