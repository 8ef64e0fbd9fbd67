"""Closes the sockets that a test opened."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.demo import support


@pytest.fixture(autouse=True)
def _sockets_are_closed() -> Iterator[None]:
    with support.OPEN:
        yield
