"""ControlNets and references on Create: their cards, previews, and what a press makes of them."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image, ImageDraw

from tests.browser import support
from tests.browser.axe import violations
from tests.browser.test_accessibility import SETTLED_JS, SMALL_JS
from tests.browser.test_canvas import ALPHA_JS, done
from tests.browser.test_loras import OVERFLOW_JS, SIZES

pytestmark = pytest.mark.browser

CONTROL = ".guide-strip[data-value=controlnets]"
REFERENCE = ".guide-strip[data-value=references]"
LOADED_JS = "document.querySelector('.guide-prepared')?.naturalWidth > 0"


def picture() -> dict[str, Any]:
    image = Image.new("RGB", (320, 320), "#16324a")
    ImageDraw.Draw(image).ellipse((60, 60, 260, 260), fill="#f4e3c0")
    content = io.BytesIO()
    image.save(content, "PNG")
    return {"name": "disc.png", "mimeType": "image/png", "buffer": content.getvalue()}


def add(page: Any, strip: str) -> None:
    count = page.locator(f"{strip} .guide").count()
    with page.expect_file_chooser() as chooser:
        page.click(f"{strip} .guide-add")
    chooser.value.set_files(picture())
    page.wait_for_selector(f"{strip} .guide >> nth={count}")


def test_guides_are_added_previewed_run_and_reused(used_page: Any) -> None:
    page = used_page
    support.choose(page, "flux1_dev")
    add(page, CONTROL)
    models = page.locator(f"{CONTROL} [data-part=model] option").all_inner_texts()
    assert models == ["Automatic model", "FLUX.1-dev-ControlNet-Union-Pro-2.0"]
    page.click(f"{CONTROL} [data-part=browse]")
    page.click("#models .model-pick:has-text('Union-Pro')")
    page.wait_for_function(f"document.querySelector('{CONTROL} [data-part=model]').value !== ''")
    page.click(f"{CONTROL} [data-part=preview]")
    page.wait_for_function(LOADED_JS)
    assert violations(page, CONTROL) == []

    # A type that the server cannot prepare says which pack does, unless the image is prepared.
    page.select_option(f"{CONTROL} [data-part=type]", "lineart")
    assert "comfyui_controlnet_aux" in page.inner_text(f"{CONTROL} .guide-note")
    assert not page.locator(f"{CONTROL} [data-part=preview]").is_visible()
    page.click(f"{CONTROL} details > summary")
    page.click(f"{CONTROL} details .switch")
    page.wait_for_selector(f"{CONTROL} .guide-note", state="detached")
    page.fill(f"{CONTROL} [data-part=end]", "60")
    page.press(f"{CONTROL} [data-part=end]", "Enter")

    add(page, REFERENCE)
    page.fill(f"{REFERENCE} [data-part=strength]", "0.4")
    page.press(f"{REFERENCE} [data-part=strength]", "Enter")
    for size in SIZES:
        page.set_viewport_size(size)
        assert page.evaluate(OVERFLOW_JS) <= 0
    assert violations(page) == []
    assert [text for text in page.evaluate(SMALL_JS) if "guide" in text] == []
    page.evaluate("document.body.classList.add('dark')")
    page.wait_for_function(SETTLED_JS)
    assert violations(page, ".guide-strip", dark=True) == []
    page.set_viewport_size(support.WIDE)

    # A run, a preset that takes none and back, a reload, and Reuse keep them.
    support.generate(page, "a disc in a guided sky", steps=1)
    page.wait_for_selector("#results .thumb[title^='a disc in a guided sky']")
    support.choose(page, "upscale_esrgan")
    assert not page.locator(CONTROL).is_visible()
    support.choose(page, "flux1_dev")
    page.reload()
    page.wait_for_selector(f"{REFERENCE} .guide")
    for strip in (CONTROL, REFERENCE):
        page.click(f"{strip} [data-part=remove]")
        page.wait_for_selector(f"{strip} .guide", state="detached")
    page.click("#stage [data-what=all]")
    page.wait_for_selector(f"{CONTROL} .guide")
    assert page.input_value(f"{CONTROL} [data-part=end]") == "60"
    assert page.input_value(f"{CONTROL} [data-part=type]") == "lineart"
    assert page.input_value(f"{REFERENCE} [data-part=strength]") == "0.4"


def test_canvas_selects_by_click_and_by_words(used_page: Any) -> None:
    page = used_page
    support.choose(page, "sdxl_inpaint")
    page.set_input_files("#form input[type=file]", picture())
    page.wait_for_selector(".upload.filled")
    page.click("[data-do=open-canvas]")
    page.wait_for_selector("#canvas .base")
    undo = page.locator("#canvas [aria-label=Undo]")
    page.click("#canvas [data-tool=select]")
    page.click(".canvas-stage")  # in its middle is the disc
    page.wait_for_selector("#canvas [aria-label=Undo]:enabled")
    assert violations(page, "#canvas") == []
    for size in SIZES:
        page.set_viewport_size(size)
        assert page.evaluate(OVERFLOW_JS) <= 0
    assert page.evaluate(SMALL_JS) == []
    page.set_viewport_size(support.WIDE)
    undo.click()
    assert undo.is_disabled()
    page.fill(".canvas-select input", "the disc")
    page.press(".canvas-select input", "Enter")
    page.wait_for_selector("#canvas [aria-label=Undo]:enabled")
    done(page)
    assert page.evaluate(ALPHA_JS, [8, 95]) == [255, 0]

    # Opened again, the selection can be undone.
    page.click("[data-do=open-canvas]")
    page.wait_for_selector("#canvas .base")
    undo.click()
    page.wait_for_selector("#canvas [aria-label=Undo]:disabled")
