"""The audit of .ci/run: the real pip-audit with a fake OSV service."""

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


def vulnerability(package: str, *fixed: str) -> dict[str, Any]:
    """Return a record of the OSV schema."""
    events = [{"introduced": "0"}, *({"fixed": version} for version in fixed)]
    affected = {
        "package": {"name": package, "ecosystem": "PyPI"},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
    }
    date = "2026-01-01T00:00:00Z"
    summary = {"id": f"GHSA-{package}", "summary": "s", "details": "d"}
    return {**summary, "modified": date, "published": date, "affected": [affected]}


class FakeOsv:
    """OSV's query API over ``vulnerabilities``, by package."""

    def __init__(self) -> None:
        self.vulnerabilities: dict[str, list[dict[str, Any]]] = {}
        self.requested: list[str] = []
        osv = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                name = json.loads(body)["package"]["name"]
                osv.requested.append(name)
                records = osv.vulnerabilities.get(name)
                content = json.dumps({"vulns": records} if records else {}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1/query"


@pytest.fixture
def osv() -> Iterator[FakeOsv]:
    fake = FakeOsv()
    thread = threading.Thread(target=fake.server.serve_forever)
    thread.start()
    yield fake
    fake.server.shutdown()
    fake.server.server_close()
    thread.join()


@pytest.fixture(scope="module")
def pip_audit() -> None:
    """Skip without pip-audit."""
    try:
        process = subprocess.run(
            ["uvx", "--quiet", "pip-audit", "--version"],
            capture_output=True,
            check=False,
            timeout=120,
        )
    except (OSError, subprocess.TimeoutExpired):
        pytest.skip("needs uvx")
    if process.returncode:
        pytest.skip("needs pip-audit")


@pytest.fixture
def audit(pip_audit: None, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run the audit over ``PINS``, with an empty cache."""

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
def test_audit_without_vulnerabilities_exits_with_0(audit: Any, osv: FakeOsv) -> None:
    code, output = audit(osv.url)
    assert (code, sorted(osv.requested)) == (0, ["here", "there"])
    assert "2 of 2 pinned packages looked up, 0 vulnerabilities with a fix" in output


@pytest.mark.slow
def test_audit_fixable_vulnerability_exits_with_1_and_names_the_fix(
    audit: Any, osv: FakeOsv
) -> None:
    osv.vulnerabilities = {"there": [vulnerability("there", "2.1", "3.0")]}
    code, output = audit(osv.url)
    assert code == 1
    assert "there 2.0: GHSA-there, fixed in 2.1" in output
    assert "1 vulnerabilities with a fix, 0 without" in output


@pytest.mark.slow
def test_audit_unfixable_vulnerability_is_printed_and_exits_with_0(
    audit: Any, osv: FakeOsv
) -> None:
    osv.vulnerabilities = {"here": [vulnerability("here")]}
    code, output = audit(osv.url)
    assert code == 0
    assert "here 1.0: GHSA-here, no fix yet" in output
    osv.vulnerabilities["there"] = [vulnerability("there", "2.1")]
    assert audit(osv.url)[0] == 1


@pytest.mark.slow
def test_audit_unreachable_database_is_printed_and_exits_with_0(
    audit: Any, osv: FakeOsv, tmp_path: Path
) -> None:
    empty = tmp_path / "no programs"
    empty.mkdir()
    for code, output in (audit("http://127.0.0.1:9/v1/query"), audit(osv.url, path=str(empty))):
        assert code == 0
        assert output.startswith("audit: NOT DONE, the advisory lists cannot be reached")
        assert "looked up" not in output


def test_ci_run_fails_if_the_audit_fails() -> None:
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
