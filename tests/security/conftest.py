from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.security import support


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as made:
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[Any]:
    """The app on all addresses of this machine, with an owner and two visitors."""
    with support.served(tmp_path_factory.mktemp("shared"), patch) as page:
        yield page
