from __future__ import annotations

import pytest

from comfy_ui.web.tabs.create.form_state import FormState


def test_a_draft_is_read_as_the_page_wrote_it() -> None:
    draft = FormState.parse(
        '{"preset": "sdxl", "prompt": "x", "values": {"steps": 3}, "front": true}'
    )
    assert draft == FormState("sdxl", "x", {"steps": 3}, front=True)


@pytest.mark.parametrize(
    ("name", "read"), [('"k"', "k"), ('""', None), ("7", None), ('"' + 99 * "k" + '"', 64 * "k")]
)
def test_the_name_of_a_press_is_a_short_text(name: str, read: str | None) -> None:
    assert FormState.parse(f'{{"press": {name}}}').press == read


@pytest.mark.parametrize("text", [None, "", "{", "[]", "3", "null", '{"values": 3, "preset": []}'])
def test_what_is_no_draft_is_an_empty_one(text: str | None) -> None:
    assert FormState.parse(text) == FormState()
