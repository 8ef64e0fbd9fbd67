from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.stand_in import Host


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A machine with a stand-in for uv."""
    machine = Host(tmp_path)
    yield machine
    machine.close()
