"""The canvas: masks, sketches and frames over an image, with mouse, finger and pen."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from tests.browser import support
from tests.browser.axe import violations
from tests.browser.test_accessibility import SMALL_JS

pytestmark = pytest.mark.browser

LARGE = {"width": 1920, "height": 1080}
SIDE = 96
# The alpha of the form's image at points of its diagonal: ComfyUI reads the mask there.
ALPHA_JS = """async (places) => {
  const name = document.querySelector('#form input[name=image]').value;
  const bitmap = await createImageBitmap(await (await fetch(`uploads/${name}`)).blob());
  const canvas = Object.assign(document.createElement('canvas'), {width: 96, height: 96});
  const pen = canvas.getContext('2d');
  pen.drawImage(bitmap, 0, 0);
  return places.map((at) => pen.getImageData(at, at, 1, 1).data[3]);
}"""
# Counts what a stroke of many pointer events does, and how long its events take.
STROKE_JS = """() => {
  const stage = document.querySelector('.canvas-stage');
  const {left, top, width, height} = stage.getBoundingClientRect();
  const work = {whole: 0, lines: 0, times: []};
  const proto = CanvasRenderingContext2D.prototype;
  const kept = {};
  for (const name of ['getImageData', 'drawImage', 'clearRect', 'fillRect', 'lineTo']) {
    kept[name] = proto[name];
    proto[name] = function (...values) {
      work[name === 'lineTo' ? 'lines' : 'whole'] += 1;
      return kept[name].apply(this, values);
    };
  }
  const send = (type, x, y) => {
    const began = performance.now();
    stage.dispatchEvent(new PointerEvent(type, {pointerId: 1, isPrimary: true, bubbles: true,
      pointerType: 'mouse', buttons: 1, clientX: left + x * width, clientY: top + y * height}));
    work.times.push(performance.now() - began);
  };
  stage.setPointerCapture = () => {};
  send('pointerdown', 0.4, 0.5);
  for (let n = 1; n <= 200; n += 1)
    send('pointermove', 0.4 + 0.001 * n, 0.5 + 0.2 * Math.sin(n / 20));
  send('pointerup', 0.6, 0.5);
  Object.assign(proto, kept);
  delete stage.setPointerCapture;
  work.pixels = Math.max(...[...stage.querySelectorAll('canvas')].map((c) => c.width * c.height));
  work.base = stage.querySelector('.base').naturalWidth;
  return work;
}"""
SIZE_JS = """() => {
  const image = document.querySelector('#stage img.final');
  return [image.naturalWidth, image.naturalHeight];
}"""
TOUCH_JS = """(events) => {
  const stage = document.querySelector('.canvas-stage');
  const {left, top, width, height} = stage.getBoundingClientRect();
  stage.setPointerCapture = () => {};
  for (const [type, id, x, y, more = {}] of events)
    stage.dispatchEvent(new PointerEvent(`pointer${type}`, {pointerId: id, bubbles: true,
      pointerType: 'touch', buttons: 1, width: 20, height: 20, ...more,
      clientX: left + x * width, clientY: top + y * height}));
  return !document.querySelector('#canvas [aria-label=Undo]').disabled;
}"""


def open_canvas(page: Any, width: int = SIDE, height: int = SIDE) -> None:
    content = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(content, "PNG")
    picture = {"name": "a.png", "mimeType": "image/png", "buffer": content.getvalue()}
    page.set_input_files("#form input[type=file]", picture)
    page.wait_for_selector(".upload.filled")
    page.click("[data-do=open-canvas]")
    page.wait_for_selector("#canvas .base")


def drag(page: Any, *points: tuple[float, float]) -> None:
    """Draw through points of the image, as parts of its sides."""
    box = page.locator("#canvas .base").bounding_box()
    places = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*places[0])
    page.mouse.down()
    for place in places[1:]:
        page.mouse.move(*place, steps=4)
    page.mouse.up()


def done(page: Any) -> None:
    page.click("#canvas .act.primary")
    page.wait_for_selector("#canvas", state="detached")


def set_brush(page: Any, pixels: int) -> None:
    while int(page.inner_text(".canvas-slider.size output").split()[0]) > pixels:
        page.keyboard.press("[")


def test_canvas_mask_is_kept_as_strokes_with_undo_and_changes_only_its_area(used_page: Any) -> None:
    page = used_page
    support.choose(page, "sdxl_inpaint")
    open_canvas(page)
    set_brush(page, 6)
    drag(page, (0.2, 0.2), (0.5, 0.5))
    drag(page, (0.8, 0.8), (0.9, 0.9))
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("Control+z")
    assert violations(page, "#canvas") == []
    done(page)
    assert page.inner_text(".upload-name") == "Image with a mask"
    assert page.evaluate(ALPHA_JS, [38, 81]) == [0, 255]
    page.click("[data-do=open-canvas]")
    page.wait_for_selector("#canvas .base")
    page.keyboard.press("i")  # the earlier stroke can still be undone, below the inversion
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert page.is_disabled("#canvas [aria-label=Undo]")
    page.keyboard.press("Control+Shift+z")
    page.keyboard.press("l")
    drag(page, (0.7, 0.7), (0.95, 0.7), (0.95, 0.95), (0.7, 0.95))
    page.fill("#canvas [aria-label='Soft edge']", "4")
    page.keyboard.press("Escape")  # closed without Done: nothing is lost
    page.click("[data-do=open-canvas]")
    page.wait_for_selector("#canvas .base")
    assert page.input_value("#canvas [aria-label='Soft edge']") == "4"
    done(page)
    inside, edge, outside = page.evaluate(ALPHA_JS, [79, 67, 5])
    assert inside < 60 < edge < 220 < outside
    page.fill("#prompt textarea", "a wooden bench")
    support.set_field(page, "steps", 2)
    page.click("#generate")
    page.wait_for_selector("#stage img.final[alt='a wooden bench']")


def test_canvas_edit_extends_a_large_result_without_lag(used_page: Any) -> None:
    page = used_page
    page.set_viewport_size(LARGE)
    support.choose(page, "sdxl")
    support.generate(page, "to extend", steps=2)
    page.wait_for_selector("#stage img.final[alt='to extend']")
    parent = page.get_attribute("#results .thumb", "data-open")
    page.click("#stage [data-what=edit]")
    page.wait_for_selector("#canvas .base")
    assert page.get_attribute("form.settings", "data-preset") == "sdxl_inpaint"
    page.click("#canvas [data-mode=frame]")
    page.click("#canvas >> text=Reset")
    edge = page.locator("#canvas .edge.right")
    box = edge.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 71, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert int(edge.get_attribute("aria-valuenow")) % 8 == 0
    page.focus("#canvas .edge.bottom")
    for _ in range(3):
        page.keyboard.press("ArrowDown")
    assert page.get_attribute("#canvas .edge.bottom", "aria-valuenow") == "24"
    sides = [
        int(page.input_value(f"#canvas .sides label:has-text('{side}') input"))
        for side in ("Right", "Bottom")
    ]
    assert violations(page, "#canvas") == []
    done(page)
    assert page.get_attribute("form.settings", "data-preset") == "sdxl_outpaint"
    support.set_field(page, "steps", 2)
    page.fill("#prompt textarea", "extended")
    page.click("#generate")
    page.wait_for_selector("#stage img.final[alt='extended']")
    size = page.evaluate(SIZE_JS)
    assert size == [256 + sides[0], 256 + sides[1]]
    page.click("#stage .full-screen")
    page.wait_for_selector(f"#viewer .relatives .thumb[data-open='{parent}']")
    page.keyboard.press("Escape")

    support.choose(page, "sdxl_inpaint")
    open_canvas(page, 4096, 4096)
    work = page.evaluate(STROKE_JS)
    times = sorted(work["times"])
    print(f"an event of a stroke on 4096²: {times[100]:.2f} ms, at most {times[-1]:.1f} ms")
    assert work["base"] == 4096
    assert work["pixels"] <= LARGE["width"] * LARGE["height"]
    assert work["whole"] <= 2 + 4  # at most what shows the view once, never for each event
    assert 100 <= work["lines"] <= 2 * 200


def test_canvas_draws_with_finger_and_pen_and_ignores_palms_on_a_phone(
    person: Callable[..., Any],
) -> None:
    page = person(size=support.PHONE, scheme="dark", has_touch=True)
    support.choose(page, "sdxl_img2img")
    page.click("[data-do=draw-image]")
    page.wait_for_selector("#canvas[data-mode=sketch] .base")
    pinch = [["down", 1, 0.3, 0.5], ["move", 1, 0.4, 0.5], ["down", 2, 0.7, 0.5],
             ["move", 2, 0.9, 0.5], ["up", 1, 0.4, 0.5], ["up", 2, 0.9, 0.5]]  # fmt: skip
    before = page.inner_text("#canvas .percent")
    assert page.evaluate(TOUCH_JS, pinch) is False
    assert page.inner_text("#canvas .percent") != before
    palm = {"width": 90, "height": 110}
    assert (
        page.evaluate(
            TOUCH_JS,
            [["down", 3, 0.5, 0.5, palm], ["move", 3, 0.6, 0.6, palm], ["up", 3, 0.6, 0.6, palm]],
        )
        is False
    )
    assert (
        page.evaluate(TOUCH_JS, [["down", 4, 0.4, 0.4], ["move", 4, 0.6, 0.5], ["up", 4, 0.6, 0.5]])
        is True
    )
    pen = {"pointerType": "pen", "pressure": 0.5}
    page.evaluate(
        TOUCH_JS, [["down", 5, 0.4, 0.6, pen], ["move", 5, 0.6, 0.6, pen], ["up", 5, 0.6, 0.6, pen]]
    )
    page.evaluate(
        TOUCH_JS, [["down", 6, 0.3, 0.3], ["move", 6, 0.6, 0.3], ["up", 6, 0.6, 0.3]]
    )  # moves the image
    assert violations(page, "#canvas", dark=True) == []
    assert page.evaluate(SMALL_JS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= support.PHONE["width"]
    for _ in range(2):
        page.tap("#canvas [aria-label=Undo]")
    assert page.is_disabled("#canvas [aria-label=Undo]")
    for _ in range(2):
        page.tap("#canvas [aria-label=Redo]")
    done(page)
    assert page.inner_text(".upload-name") == "Painted image"
    name = page.input_value("#form input[name=image]")
    with Image.open(
        io.BytesIO(page.request.get(f"{page.url.split('?')[0]}uploads/{name}").body())
    ) as picture:
        colors = picture.convert("RGB").getcolors(maxcolors=1 << 24)
    assert {(255, 255, 255), (217, 58, 43)} <= {color for _, color in colors}
