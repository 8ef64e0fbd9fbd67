"""Who keeps as much as they may gets a sentence before queueing, and nothing is deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from comfy_ui.client import ComfyWSClient
from comfy_ui.errors import ValidationError
from comfy_ui.settings import Settings
from comfy_ui.studio import LOCAL_OWNER, Studio
from comfy_ui.ui.backend import storage_limit
from tests.studio.support import end_of, submit_sleepy


async def test_the_limit_is_told_before_queueing_and_deleting_makes_room(
    client: ComfyWSClient, tmp_path: Path
) -> None:
    limits = {"ann": 1, "bob": 10**9}
    async with Studio(client=client, data_dir=tmp_path, limit_bytes=limits.get) as studio:
        job = await submit_sleepy(studio, "ann")
        (item,) = (await end_of(studio, job)).items
        await studio.star(item.id, "ann")
        assert (await studio.space("ann")).used_bytes == item.size_bytes
        for ask in (submit_sleepy(studio, "ann", nonce=1), studio.repeat(job.id, "ann")):
            with pytest.raises(ValidationError, match="that you may keep") as told:
                await ask
            assert "Nothing was deleted" in told.value.hint
        assert await studio.results("ann") == [await studio.item(item.id, "ann")]
        await end_of(studio, await submit_sleepy(studio, "bob", nonce=2))
        await end_of(studio, await submit_sleepy(studio, "zoe", nonce=3))  # without a limit
        await studio.delete([item.id], "ann")
        assert (await studio.space("ann")).used_bytes == 0
        await end_of(studio, await submit_sleepy(studio, "ann", nonce=4))


def test_visitors_have_a_limit_where_others_reach_the_page_and_the_owner_has_none() -> None:
    alone, shared = storage_limit(Settings()), storage_limit(Settings(host="0.0.0.0"))
    assert alone(LOCAL_OWNER) is None
    assert alone("user:eve") is None
    assert shared(LOCAL_OWNER) is None
    assert shared("browser:x") == 10 * 10**9
    told = storage_limit(Settings(storage_gb=2.5))
    assert told(LOCAL_OWNER) == told("browser:x") == 2_500_000_000
