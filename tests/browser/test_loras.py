"""LoRAs on Create: the browser, the strip under the prompt, and what a press makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import support
from tests.browser.axe import violations
from tests.browser.test_accessibility import SETTLED_JS, SMALL_JS

pytestmark = pytest.mark.browser

INK = "style/ink_wash_sdxl.safetensors"
SIZES = [support.WIDE, {"width": 1920, "height": 1080}, support.PHONE]
PROMPT = "#prompt textarea"
CHOOSE_JS = """(value) => {
  const field = document.querySelector("form.settings .field.loras input");
  field.value = value;
  field.dispatchEvent(new Event("input", {bubbles: true}));
}"""
OVERFLOW_JS = "document.documentElement.scrollWidth - innerWidth"


def pick(name: str) -> str:
    return f".model-pick[data-model='{name}']"


def test_loras_are_added_weighed_run_and_reused(person: Callable[..., Any]) -> None:
    page = person()
    support.choose(page, "sdxl")
    page.fill(PROMPT, "a harbor")

    # The browser by keyboard: only what fits at first, a favorite comes first.
    page.focus(".lora-add")
    page.keyboard.press("Enter")
    page.wait_for_selector(pick(INK))
    assert page.locator(".model-card").count() == 3
    page.keyboard.type("ink")
    page.wait_for_function("document.querySelectorAll('.model-card').length === 1")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.get_attribute(pick(INK), "aria-pressed") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(".model-star[aria-pressed=true]")
    page.fill("#models input[type=search]", "")
    assert page.get_attribute(".model-card:first-child .model-pick", "data-model") == INK
    page.click(".model-foot .act")
    page.click(pick("golden_hour_sd15.safetensors"))
    assert violations(page, "#models") == []
    page.keyboard.press("Escape")

    # The strip.
    assert page.locator(".lora-name").all_inner_texts() == ["Ink Wash", "Golden Hour"]
    assert page.locator(".lora-note").all_inner_texts() == ["Made for SD1.5"]
    page.click(".lora-word >> text=ink wash")
    assert page.input_value(PROMPT) == "a harbor, ink wash"
    slider = page.locator("[data-part=slider]").first
    slider.focus()
    slider.press("ArrowLeft")
    assert page.input_value("[data-part=weight] >> nth=0") == "0.95"
    page.fill("[data-part=weight] >> nth=1", "0.6")
    page.press("[data-part=weight] >> nth=1", "Enter")
    page.click(".lora[data-at='1'] .switch")
    for size in SIZES:
        page.set_viewport_size(size)
        assert page.evaluate(OVERFLOW_JS) <= 0
    assert violations(page) == []
    assert [text for text in page.evaluate(SMALL_JS) if "lora" in text] == []
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function(SETTLED_JS)
    assert violations(page, ".lora-strip", dark=True) == []
    page.set_viewport_size(support.WIDE)

    # A run, another preset without LoRAs and back, a reload, and Reuse keep them.
    support.generate(page, "a harbor, ink wash", steps=1)
    page.wait_for_selector("#results .thumb")
    support.choose(page, "upscale_esrgan")
    assert not page.locator(".lora-strip").is_visible()
    support.choose(page, "sdxl")
    assert page.locator(".lora").count() == 2
    page.reload()
    page.wait_for_selector(".lora.off")
    page.wait_for_selector(".lora-name >> text=Ink Wash")  # the file's name until it is known
    assert page.locator(".lora-name").all_inner_texts() == ["Ink Wash", "Golden Hour"]
    while page.locator(".lora").count():
        page.click("[data-part=remove] >> nth=0")
    page.click("#stage [data-what=all]")
    page.wait_for_selector(".lora.off")
    assert page.input_value("[data-part=weight] >> nth=0") == "0.95"
    assert page.input_value("[data-part=weight] >> nth=1") == "0.6"

    # The checkpoint: its list has those of the family, the browser has the others, too.
    page.click(".advanced > summary")
    names = page.locator("#form select[name=model] option").all_inner_texts()
    assert set(names) == {"sd_xl_base_1.0.safetensors", "sd_xl_turbo_1.0_fp16.safetensors"}
    page.click("#form .field.model .browse")
    page.wait_for_selector(".model-card")
    assert page.locator(".model-card").count() == 2
    page.click(".model-foot .act")
    page.click(pick("v1-5-pruned-emaonly-fp16.safetensors"))
    page.wait_for_selector("#models", state="detached")
    assert page.input_value("#form [name=model]") == "v1-5-pruned-emaonly-fp16.safetensors"
    assert violations(page, "#form") == []

    # A name that the server lacks.
    page.fill(PROMPT, "a harbor <lora:ink_wish_sdxl>")
    page.click("#generate")
    page.wait_for_selector("#generate-notice:has-text(\"Did you mean 'ink_wash_sdxl'?\")")
    page.wait_for_selector(f"{PROMPT}[aria-invalid=true]")
    page.fill(PROMPT, "a harbor")
    assert page.get_attribute(PROMPT, "aria-invalid") is None

    # In the strip its chip is outlined; many chips leave Generate in sight.
    many = [{"name": f"gone_{number}", "strength": 1} for number in range(7)]
    page.evaluate(CHOOSE_JS, json.dumps(many))
    page.click("#generate")
    page.wait_for_selector(".lora.wrong:has-text('gone 0')")
    for size in SIZES:
        page.set_viewport_size(size)
        page.evaluate("scrollTo(0, 0)")
        box = page.locator("#generate").bounding_box()
        assert box["y"] + box["height"] <= size["height"], size
