"""``python -m tests.security``: run all security tests and print one report."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.security import attacks

# Counts that must be zero, by the end of their name.
ZEROS = "of the other user", "fired"
OTHER_TESTS = (
    "tests/workflow/checks/test_allow_list.py",
    "tests/test_pictures.py",
    "tests/worker_processes",
    "tests/workflow/test_guest_workflow.py",
    "tests/web/test_access.py",
    "tests/web/test_accounts.py",
    "tests/web/test_middleware.py",
    "tests/web/test_security_headers.py",
    "tests/web/test_body_limit.py",
    "tests/web/test_connection_limits.py",
    "tests/web/test_gradio_tracebacks.py",
    "tests/web/test_json_limits.py",
    "tests/web/test_request_budgets.py",
    "tests/web/test_request_slots.py",
    "tests/web/test_response_cache.py",
    "tests/web/test_same_site.py",
    "tests/web/test_rate_limit.py",
    "tests/web/test_file_routes.py",
    "tests/web/test_upload_routes.py",
    "tests/client/test_answer_body.py",
    "tests/client/test_resolver.py",
    "tests/client/test_ssrf.py",
    "tests/client/test_transport.py",
)


class Report:
    """Sums of what the tests record (``record_property``)."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.outcomes[report.outcome] += 1
        if report.failed:
            self.failed.append(report.nodeid)
        if report.when == "call":
            for name, number in report.user_properties:
                if isinstance(number, int):
                    self.counts[name] += number

    def lines(self) -> list[str]:
        width = max((len(name) for name in self.counts), default=0)
        lines = [f"{name:<{width}}  {number:>16,}" for name, number in sorted(self.counts.items())]
        lines.append("")
        lines.append(", ".join(f"{number} {what}" for what, number in self.outcomes.items()))
        not_zero = [n for n, number in self.counts.items() if n.endswith(ZEROS) and number]
        return [*lines, *(f"NOT ZERO: {name}" for name in not_zero), *self.failed]

    @property
    def clean(self) -> bool:
        return not self.failed and not any(
            number for name, number in self.counts.items() if name.endswith(ZEROS)
        )


def attack(only: str = "") -> int:
    """Print the table of attacks; return 1 if one of them stops another visitor."""
    failed = False
    print("\n" + "\n".join(attacks.HEAD))
    for row in attacks.measure_all(only):
        print(row.line, flush=True)
        failed |= not row.harmless
    return int(failed)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.security", description=__doc__)
    parser.add_argument("--nightly", action="store_true", help="1,000 interleaved runs, not 100")
    parser.add_argument(
        "--attacks", metavar="TEXT", help="only the table of attacks, of those with TEXT in them"
    )
    args = parser.parse_args(argv)
    os.chdir(Path(__file__).resolve().parents[2])
    if args.attacks is not None:
        return attack(args.attacks)
    report = Report()
    marks = "not live" if args.nightly else "not live and not nightly"
    options = ["-q", "-p", "no:cacheprovider", "-m", marks, "tests/security", *OTHER_TESTS]
    status = pytest.main(options, plugins=[report])
    print("\n" + "\n".join(report.lines()))
    return int(status) or int(not report.clean) or attack()


if __name__ == "__main__":
    sys.exit(main())
