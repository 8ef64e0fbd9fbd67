"""Kill workers and restart PostgreSQL under many jobs: ``python -m tests.scale --help``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from dataclasses import fields

from tests.scale.kill_workers import kill_workers
from tests.scale.plan import Plan
from tests.scale.postgres_server import postgres_server


def main() -> int:
    """Print the figures; the exit status is 1 if a job was lost or published twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    for item in fields(Plan):
        name = f"--{item.name.replace('_', '-')}"
        parser.add_argument(name, type=type(item.default), default=item.default)
    plan = Plan(**vars(parser.parse_args()))
    logging.disable(logging.WARNING)  # of connections that are lost on purpose
    with postgres_server() as server:
        account = asyncio.run(kill_workers(plan, server))
    print(account)
    return 0 if account.fine else 1


if __name__ == "__main__":
    sys.exit(main())
