from __future__ import annotations

import pytest

from comfy_ui.web.tabs.create.form_state import FormState


def test_form_state_parse_reads_all_fields() -> None:
    draft = FormState.parse(
        '{"preset": "sdxl", "prompt": "x", "values": {"steps": 3}, "front": true}'
    )
    assert draft == FormState("sdxl", "x", {"steps": 3}, front=True)


@pytest.mark.parametrize(
    ("raw", "press"), [('"k"', "k"), ('""', None), ("7", None), ('"' + 99 * "k" + '"', 64 * "k")]
)
def test_form_state_parse_press_is_a_string_of_limited_length(raw: str, press: str | None) -> None:
    assert FormState.parse(f'{{"press": {raw}}}').press == press


@pytest.mark.parametrize(
    "text",
    [
        None, "", "{", "[]", "3", "null", '{"values": 3, "preset": []}', '{"times": 1e400}',
        "[" * 100_000, f'{{"times": {"9" * 5_000}}}',
    ],
    ids=lambda text: str(text)[:20],
)  # fmt: skip
def test_form_state_parse_invalid_json_gives_defaults(text: str | None) -> None:
    assert FormState.parse(text) == FormState()
