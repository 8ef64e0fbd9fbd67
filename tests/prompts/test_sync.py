from __future__ import annotations

import pytest

from comfy_ui.prompts._sync import run_sync


def test_run_sync_error_has_no_context_of_our_own() -> None:
    async def fail() -> None:
        raise ValueError("the real error")

    with pytest.raises(ValueError, match="the real error") as caught:
        run_sync(fail())
    assert caught.value.__context__ is None
