"""``python -m tests.faults --seeds N``: the matrix many times over, and a report.

Exits with 1 if anything was lost, duplicated, hung, falsified, untyped, leaked or disclosed.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.faults.matrix import bench, cases
from tests.faults.oracle import KINDS, Violation, tally
from tests.faults.runner import run_case


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many (default: 1)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed")
    parser.add_argument("--slow", action="store_true", help="also the faults that cost seconds")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name contains it")
    parser.add_argument("-v", "--verbose", action="store_true", help="a line for each run")
    args = parser.parse_args(argv)

    violations: list[Violation] = []
    runs = idle = 0
    start = time.monotonic()
    for seed in range(args.first, args.first + args.seeds):
        chosen = cases(seed=seed) + (cases(seed=seed, slow=True) if args.slow else [])
        with bench(seed=seed) as stage:
            for case in chosen:
                if args.only not in case.name:
                    continue
                run, case_violations = run_case(case, stage.proxy, stage.server_url)
                runs += 1
                idle += not run.hits
                violations += case_violations
                if args.verbose:
                    end = "result" if run.error is None else type(run.error).__name__
                    print(f"seed {seed}  {run.seconds:6.2f} s  {case.name:50} {end}")
                for violation in case_violations:
                    print(f"seed {seed}  {violation}", file=sys.stderr)
    print(f"{runs} runs in {time.monotonic() - start:.0f} s, {idle} where the fault never acted")
    counts = tally(violations)
    for kind in KINDS:
        print(f"  {kind:15} {counts[kind]}")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
