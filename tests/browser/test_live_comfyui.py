"""The page with a real ComfyUI without models: ``COMFYUI_URL=… pytest -m live`` this file.

Everything that needs no model files: an own preset, an official template, a saved workflow, an
image, a video and an App-mode file, each to its result.
"""

from __future__ import annotations

import io
import json
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfy_ui.client import ComfyClient
from tests.browser import support
from tests.browser.support import set_field
from tests.browser.test_workflows import (
    APP_MODE,
    GRAPH,
    drop,
    open_file,
    open_form,
    run,
    to_workflows,
)
from tests.web.support import picture_bytes
from tests.workflow import media

pytestmark = [pytest.mark.browser, pytest.mark.live]

SCALES = 8  # takes some seconds at a large size
INVERTED = {**GRAPH, "2": {"class_type": "ImageInvert", "inputs": {"image": ["1", 0]}}}
COLOURS = {
    "1": {"class_type": "PrimitiveStringMultiline", "inputs": {"value": ""}},
    "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
    "3": {
        "class_type": "EmptyImage",
        "inputs": {"width": 512, "height": 512, "batch_size": 1, "color": 0},
    },
    **{
        str(4 + number): {
            "class_type": "ImageScaleBy",
            "inputs": {
                "image": [str(3 + number), 0],
                "upscale_method": "lanczos",
                "scale_by": 0.5 if number % 2 else 2.0,
            },
            "_meta": {"title": f"Scale {number + 1}"},
        }
        for number in range(SCALES)
    },
    "20": {
        "class_type": "SaveImage",
        "inputs": {"images": [str(3 + SCALES), 0], "filename_prefix": "colours"},
    },
}
SIDECAR = """
title = "Plain colours"
description = "A colour, made large and small again: needs no model."
task = "t2i"
family = "None"
order = 1
outputs = [{ node = "20", kind = "image" }]

[params.prompt]
targets = ["1.value"]

[params.width]
targets = ["3.width"]
default = 256

[params.height]
targets = ["3.height"]
default = 256

[params.seed]
targets = ["3.color"]
max = 16777215
"""


@dataclass
class Real:
    url: str
    data: Path
    comfyui: str


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    if not (comfyui := os.environ.get("COMFYUI_URL")):
        pytest.skip("needs a real ComfyUI at COMFYUI_URL")
    data = tmp_path_factory.mktemp("real") / "data"
    with support.running_app(data, COMFYUI_URL=comfyui) as url:
        yield Real(url, data, comfyui)


@pytest.fixture
def app(real: Real) -> str:
    """Replaces the app with the demo engine."""
    return real.url


def test_own_preset_runs_and_downloads_the_original_bytes(
    person: Callable[..., Any], real: Real, tmp_path: Path
) -> None:
    page = person()
    presets = real.data / "presets"
    presets.mkdir(exist_ok=True)
    (presets / "colours.json").write_text(json.dumps(COLOURS))
    (presets / "colours.toml").write_text(SIDECAR)
    page.goto(f"{real.url}?preset=colours")  # no restart
    page.wait_for_selector("form.settings[data-preset=colours]")
    prompt = f"a quiet colour {uuid.uuid4()}"
    page.fill("#prompt textarea", prompt)
    set_field(page, "seed", 8960)
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".stage.running, .stage.succeeded")
    page.wait_for_selector(".stage.succeeded img.final")
    with page.expect_download() as caught:
        page.click("#stage a.act:has-text('Download')")
    target = tmp_path / caught.value.suggested_filename
    caught.value.save_as(target)
    with Image.open(target) as picture:
        graph = json.loads(picture.text["prompt"])
        assert picture.size == (256, 256)
    assert graph["1"]["inputs"]["value"] == prompt
    assert graph["3"]["inputs"]["color"] == 8960
    with ComfyClient(url=real.comfyui) as client:
        (newest,) = client.recent(max_items=1)
        (image,) = client.wait_for_completion(newest).images
        assert client.download(image) == target.read_bytes()


def test_stage_long_run_survives_a_reload_and_stops(person: Callable[..., Any], real: Real) -> None:
    page = person()
    page.goto(f"{real.url}?preset=colours")
    page.wait_for_selector("form.settings[data-preset=colours]")
    page.fill("#prompt textarea", f"slowly {uuid.uuid4()}")
    set_field(page, "width", 2048)
    set_field(page, "height", 2048)
    set_field(page, "seed", uuid.uuid4().int % 16_000_000)
    page.click("#generate")
    page.wait_for_selector(".stage.running:has-text('Scale')")
    job = page.get_attribute("#stage .stage", "data-job")
    page.reload()
    page.wait_for_selector(f".stage.running[data-job='{job}']")
    page.wait_for_function(
        "parseInt(document.querySelector('#stage .percent')?.textContent || '0') > 5"
    )
    page.click("#stop")
    # Without a preview to keep, the last result comes back, if there is one.
    page.wait_for_selector(".stage:is(.cancelled, .succeeded)")
    with ComfyClient(url=real.comfyui) as client:
        queue = client.queue()
    assert (len(queue.running), len(queue.pending)) == (0, 0)


def test_official_template_opens_a_form_and_runs(person: Callable[..., Any], real: Real) -> None:
    page = person()
    to_workflows(page)
    title = "utility_interpolation_image_upscale"
    if not page.locator(f".source[data-name={title}]").count():
        pytest.skip("this ComfyUI has no such template")
    page.click("summary:has-text('Official templates')")
    page.click(f".source[data-name={title}]")
    page.wait_for_selector("#opened .state:has-text('Ready')")
    open_form(page)
    page.wait_for_selector("form.settings")
    upload = {"name": "a.png", "mimeType": "image/png", "buffer": picture_bytes("PNG", side=96)}
    page.set_input_files("#form input[type=file]", upload)
    page.wait_for_selector(".upload.filled")
    run(page, "img.final")


def test_saved_workflow_opens_a_form_and_runs(person: Callable[..., Any], real: Real) -> None:
    name = f"Saved {uuid.uuid4().hex[:8]}"
    path = f"workflows/{name}.json"
    with ComfyClient(url=real.comfyui) as client:
        client.write_userdata(path, json.dumps(APP_MODE).encode())
        try:
            page = person()
            to_workflows(page)
            page.click(f".source:has-text('{name}')")
            page.wait_for_selector("#opened .state:has-text('Ready')")
            open_form(page)
            page.wait_for_selector("form.settings [name=color]")
            set_field(page, "color", uuid.uuid4().int % 16_000_000)
            run(page, "img.final")
        finally:
            client.delete_userdata(path)


@pytest.mark.parametrize("kind", ["png", "mp4"])
def test_dropped_file_opens_a_form_and_runs(person: Callable[..., Any], kind: str) -> None:
    fields = {"prompt": json.dumps(INVERTED)}
    if kind == "png":
        content, mime = media.png(fields), "image/png"
    else:
        tags = {"movflags": "use_metadata_tags"}
        content, mime = media.encode_av("mp4", "libx264", fields, options=tags), "video/mp4"
    page = person()
    drop(page, content, f"soft {kind}.{kind}", mime)
    page.wait_for_selector("#dropped:has-text('ComfyUI')")
    page.click("#dropped button:has-text('Apply all')")
    page.wait_for_selector(f"form.settings[data-preset^=soft_{kind}]")
    set_field(page, "color", uuid.uuid4().int % 16_000_000)
    run(page, "img.final")


def test_app_mode_file_opens_a_form_and_runs(person: Callable[..., Any]) -> None:
    page = person()
    to_workflows(page)
    open_file(page, APP_MODE, "Plain colour.json")
    page.wait_for_selector("#opened h2:has-text('Plain colour')")
    open_form(page)
    page.wait_for_selector("form.settings [name=color]")
    set_field(page, "color", uuid.uuid4().int % 16_000_000)
    run(page, "img.final")
    source = page.get_attribute("#stage img.final", "src")
    content = page.request.get(f"{page.url.split('?')[0].rstrip('/')}/{source}").body()
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (256, 128)
