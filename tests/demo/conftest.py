"""Fixture that closes the sockets opened by a test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.demo import support


@pytest.fixture(autouse=True)
def _close_sockets() -> Iterator[None]:
    with support.OPEN:
        yield
