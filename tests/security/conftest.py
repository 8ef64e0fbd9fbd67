from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import support as browsers
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


def _person(name: str | None) -> Any:
    @pytest.fixture(scope="module")
    def comes(shared: Any) -> Iterator[support.Person]:
        with support.Person.comes(shared, name) as person:
            yield person

    return comes


nobody, anna, vera, viktor = map(_person, (None, "anna", "vera", "viktor"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browsers.chromium() as chromium:
        yield chromium.browser
