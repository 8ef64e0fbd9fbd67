"""The pictures of the README, and the small covers of the presets.

``python -m tests.browser.screenshots`` drives the real app on the embedded engine and writes
``assets/screenshots/``. With ``--covers`` it paints each preset's first sample prompt and writes
``assets/covers/``; a preset may bring a picture of its own beside its sidecar instead.
"""

from __future__ import annotations

import io
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from comfy_ui.resources import assets_dir
from tests.browser import support

PROMPTS = (
    "A paper boat on a rain-filled gutter, street lamps, night",
    "Desert dunes at noon, one tent, long shadows",
    "A fox asleep in autumn leaves, soft morning light",
    "City skyline at dusk, lights in the windows",
    "A lighthouse on a basalt cliff at dusk, warm lamp light in the fog",
    "Snowy mountains over a pine forest, dawn",
    "A quiet harbour at dawn, sailing boats, mist over the water",
)
COVER_PIXELS = 128


def save(page: Any, name: str) -> None:
    page.mouse.move(0, 0)
    page.wait_for_timeout(600)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    target = assets_dir() / "screenshots" / f"{name}.webp"
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, quality=88, method=6)
    print(f"{target.name}: {target.stat().st_size // 1024} kB")


def finished(page: Any, prompt: str, **values: object) -> None:
    support.generate(page, prompt, **values)
    page.wait_for_selector(f"#results .thumb[title^='{prompt[:40]}']", timeout=120_000)
    page.wait_for_function("document.querySelector('#generate').textContent.trim() === 'Generate'")


def stop(page: Any) -> None:
    page.click("#stop")
    page.wait_for_function("document.querySelector('#generate').textContent.trim() === 'Generate'")


def running(page: Any, prompt: str) -> None:
    support.generate(page, prompt, steps=80)
    page.wait_for_function(
        "parseInt(document.querySelector('.stage.running .percent')?.textContent) > 55",
        timeout=60_000,
    )


def wide(new_page: Callable[..., Any]) -> None:
    page = new_page()
    save(page, "empty-wide-light")
    for prompt in PROMPTS:
        finished(page, prompt, steps=8)
    save(page, "create-wide-light")
    page.click(".picker > summary")
    save(page, "presets-wide-light")
    page.click("h1")
    running(page, "Terraced hills above a lake at sunrise, birds")
    save(page, "running-wide-light")
    stop(page)
    page.get_by_role("tab", name="Status").click()
    page.wait_for_selector("#presets .panel")
    save(page, "status-wide-light")

    page = new_page(scheme="dark")
    running(page, "A comet over a frozen sea, two small figures")
    save(page, "running-wide-dark")
    stop(page)
    page.click(".picker > summary")
    page.click(".option[data-preset=wan21_t2v_1_3b]")
    page.wait_for_selector("form.settings[data-preset=wan21_t2v_1_3b]")
    finished(page, "Slow flight over snowy mountains at sunrise", steps=8, frames=17)
    page.wait_for_selector(".stage.succeeded video")
    save(page, "video-wide-dark")


def phone(new_page: Callable[..., Any]) -> None:
    for scheme in ("light", "dark"):
        page = new_page(size=support.PHONE, scheme=scheme)
        finished(page, f"A harbour with sailing boats, {scheme} evening sky", steps=8)
        save(page, f"create-phone-{scheme}")


def library_and_queue(new_page: Callable[..., Any]) -> None:
    """Both tabs in four layouts, over what the others have made."""
    for name, size in (("wide", support.WIDE), ("phone", support.PHONE)):
        for scheme in ("light", "dark"):
            page = new_page(size=size, scheme=scheme)
            page.get_by_role("tab", name="Library").click()
            page.wait_for_selector(".library .tile")
            save(page, f"library-{name}-{scheme}")
            page.click(".library .thumb >> nth=2")
            page.wait_for_selector("#viewer .detail")
            save(page, f"result-{name}-{scheme}")
            page.click("#viewer .close")
            page.get_by_role("tab", name="Create").click()
            for prompt in PROMPTS[:4]:
                support.generate(page, prompt, steps=40)
            page.get_by_role("tab", name="Queue").click()
            page.wait_for_selector(".line-now .job.running img.cover[src^='data:']")
            save(page, f"queue-{name}-{scheme}")
            page.click(".queue [data-do=clear-queue]")
            while page.locator(".line-now [data-do=cancel-job]").count():
                page.locator(".line-now [data-do=cancel-job]").first.click()
                page.wait_for_timeout(500)


def screenshots() -> None:
    from playwright.sync_api import sync_playwright

    with (
        tempfile.TemporaryDirectory() as folder,
        support.running_app(
            Path(folder) / "data", COMFY_UI_DEMO="true", COMFY_UI_DEMO_SPEED="14"
        ) as url,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(
            executable_path=support.find_chromium(), args=support.CHROMIUM_ARGS
        )

        def new_page(*, size: dict[str, int] = support.WIDE, scheme: str = "light") -> Any:
            context = chromium.new_context(
                viewport=size, color_scheme=scheme, device_scale_factor=1
            )
            return support.open_page(context, url)

        wide(new_page)
        phone(new_page)
        library_and_queue(new_page)
        chromium.close()


# For presets that take no prompt.
SUBJECTS = {
    "hunyuan3d_v2": "A clay figure of a fox on a turntable, plain grey background, soft light",
    "svd": "A sailing boat on a lake at dawn, mist over the water",
    "upscale_esrgan": "A macro photograph of a peacock feather, every barb in focus",
    "upscale_seedvr2": "An old harbour town with tiled roofs, boats and a church tower",
}


def covers() -> None:
    """Paint the covers that are missing; remove one to have it painted anew."""
    from comfy_ui.client import ComfyClient
    from comfy_ui.demo import DemoServer
    from comfy_ui.workflow.presets import compile_workflow, list_presets

    folder = assets_dir() / "covers"
    folder.mkdir(parents=True, exist_ok=True)
    with DemoServer(speed="instant").in_thread() as server, ComfyClient(url=server.url) as client:
        for preset in list_presets():
            if (folder / f"{preset.id}.webp").exists():
                continue
            prompts = (*preset.sample_prompts, SUBJECTS.get(preset.id, preset.title))
            graph = compile_workflow(
                "z_image_turbo",
                prompt=prompts[0],
                seed=zlib.crc32(preset.id.encode()),
                width=512,
                height=512,
            )
            content = client.download(client.run(graph).images[0])
            with Image.open(io.BytesIO(content)) as picture:
                small = ImageOps.fit(picture.convert("RGB"), (COVER_PIXELS, COVER_PIXELS))
            small.save(folder / f"{preset.id}.webp", quality=82, method=6)
            print(preset.id)


def icons() -> None:
    """The icons of the installed app, from ``assets/icon.svg``."""
    from playwright.sync_api import sync_playwright

    drawing = (assets_dir() / "icon.svg").read_text(encoding="utf-8")
    # Systems cut corners themselves: up to a tenth of such an icon at each side may be lost.
    full = drawing.replace('rx="16" ', "").replace('viewBox="0 0 64 64"', 'viewBox="2 2 60 60"')
    folder = assets_dir() / "icons"
    folder.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=support.find_chromium(), args=support.CHROMIUM_ARGS
        )
        for name, side, svg in (
            ("192", 192, drawing),
            ("512", 512, drawing),
            ("maskable", 512, full),
            ("touch", 180, full),
        ):
            page = chromium.new_page(viewport={"width": side, "height": side})
            page.set_content(
                f"<style>*{{margin:0}}svg{{display:block;width:{side}px}}</style>{svg}"
            )
            page.screenshot(path=folder / f"{name}.png", omit_background=True)
        chromium.close()


if __name__ == "__main__":
    if "--icons" in sys.argv:
        icons()
    elif "--covers" in sys.argv:
        covers()
    else:
        screenshots()
