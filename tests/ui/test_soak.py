"""Some minutes of it at night; an hour, with the memory, by hand: ``python -m tests.ui.soak``."""

from __future__ import annotations

import pytest

from tests.ui.soak import soak


@pytest.mark.nightly
@pytest.mark.timeout(900)
async def test_the_app_loses_nothing_of_fifty_people_in_bad_weather() -> None:
    watch = await soak(minutes=4, people=50)
    assert watch.fine, str(watch)
    assert watch.faults > 10
    print(watch)
