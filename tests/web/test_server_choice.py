from __future__ import annotations

from typing import Any

import pytest

from comfy_ui.errors import InvalidAddressError, ValidationError
from comfy_ui.settings import DEFAULT_URL, Settings
from comfy_ui.web.server_choice import ServerChoice, answers, choose, demo_speed


def probe_never(_: str) -> bool:
    raise AssertionError("must not be probed")


def test_choose_configured_server_is_not_probed() -> None:
    settings = Settings(comfyui_url="http://gpu:8188")
    assert choose(settings, probe=probe_never) == ServerChoice("configured", ("http://gpu:8188",))


def test_choose_several_configured_servers_are_split() -> None:
    settings = Settings(comfyui_url="gpu1:8188, http://gpu2:8188/comfy  gpu3")
    assert choose(settings, probe=probe_never).urls == (
        "gpu1:8188",
        "http://gpu2:8188/comfy",
        "gpu3",
    )


def test_choose_one_invalid_address_is_named_in_the_error() -> None:
    with pytest.raises(InvalidAddressError, match="ftp://gpu2"):
        choose(Settings(comfyui_url="http://gpu1:8188,ftp://gpu2"), probe=probe_never)


def test_choose_demo_overrides_a_configured_server() -> None:
    settings = Settings(comfyui_url="http://gpu:8188", demo=True)
    assert choose(settings, probe=probe_never) == ServerChoice("embedded")


@pytest.mark.parametrize(
    ("online", "choice"),
    [(True, ServerChoice("found", (DEFAULT_URL,))), (False, ServerChoice("embedded"))],
)
def test_choose_without_configuration_probes_the_default_port(
    online: bool, choice: ServerChoice
) -> None:
    probed: list[str] = []

    def probe(url: str) -> bool:
        probed.append(url)
        return online

    assert choose(Settings(), probe=probe) == choice
    assert probed == [DEFAULT_URL]


def test_answers_running_server_is_true(engine: Any) -> None:
    assert answers(engine.url)


def test_answers_closed_port_is_false() -> None:
    assert not answers("http://127.0.0.1:9")


def test_demo_speed_is_a_number_or_instant() -> None:
    assert demo_speed("instant") == "instant"
    assert demo_speed("12") == 12.0
    with pytest.raises(ValidationError, match="demo"):
        demo_speed("fast")
