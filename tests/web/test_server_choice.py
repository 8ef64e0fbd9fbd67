from __future__ import annotations

from typing import Any

import pytest

from comfy_ui.errors import InvalidAddressError, ValidationError
from comfy_ui.settings import DEFAULT_URL, Settings
from comfy_ui.web.server_choice import ServerChoice, answers, choose, demo_speed


def never(_: str) -> bool:
    raise AssertionError("nobody should have been asked")


def test_a_configured_server_is_used_without_asking() -> None:
    settings = Settings(comfyui_url="http://gpu:8188")
    assert choose(settings, probe=never) == ServerChoice("configured", ("http://gpu:8188",))


def test_several_servers_may_be_configured() -> None:
    settings = Settings(comfyui_url="gpu1:8188, http://gpu2:8188/comfy  gpu3")
    assert choose(settings, probe=never).urls == ("gpu1:8188", "http://gpu2:8188/comfy", "gpu3")


def test_one_wrong_address_among_several_is_named() -> None:
    with pytest.raises(InvalidAddressError, match="ftp://gpu2"):
        choose(Settings(comfyui_url="http://gpu1:8188,ftp://gpu2"), probe=never)


def test_the_demo_switch_wins_over_everything() -> None:
    settings = Settings(comfyui_url="http://gpu:8188", demo=True)
    assert choose(settings, probe=never) == ServerChoice("embedded")


@pytest.mark.parametrize(
    ("there", "choice"),
    [(True, ServerChoice("found", (DEFAULT_URL,))), (False, ServerChoice("embedded"))],
)
def test_without_configuration_the_usual_port_decides(there: bool, choice: ServerChoice) -> None:
    asked: list[str] = []

    def probe(url: str) -> bool:
        asked.append(url)
        return there

    assert choose(Settings(), probe=probe) == choice
    assert asked == [DEFAULT_URL]


def test_a_running_server_answers(engine: Any) -> None:
    assert answers(engine.url)


def test_nothing_there_is_no_answer() -> None:
    assert not answers("http://127.0.0.1:9")


def test_the_speed_of_the_engine_is_a_number_or_instant() -> None:
    assert demo_speed("instant") == "instant"
    assert demo_speed("12") == 12.0
    with pytest.raises(ValidationError, match="demo"):
        demo_speed("fast")
