from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import support as browsers
from tests.security import support


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, patch: Any) -> Iterator[Any]:
    """The app in shared mode, with an admin and two users."""
    with support.served(tmp_path_factory.mktemp("shared"), patch) as page:
        yield page


def _person(name: str | None) -> Any:
    @pytest.fixture(scope="module")
    def logged_in(shared: Any) -> Iterator[support.PageClient]:
        with support.PageClient.open(shared, name) as person:
            yield person

    return logged_in


guest, anna, vera, viktor = map(_person, (None, "anna", "vera", "viktor"))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with browsers.chromium() as chromium:
        yield chromium.browser
