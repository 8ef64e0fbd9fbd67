"""Screenshots of the app, its icons, and the preset covers.

``python -m tests.browser.screenshots FOLDER`` drives the real app on the embedded engine and writes
every tab in four layouts (wide and phone, light and dark) into the folder. Without a folder the
README's few go to ``assets/screenshots/``. With ``--icons`` it writes the icons of the installed
app. With ``--covers`` it paints each preset's first sample prompt and writes
``assets/covers/``; a preset may bring a picture of its own beside its sidecar instead.
"""

from __future__ import annotations

import io
import sys
import tempfile
import zlib
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
    "A quiet harbor at dawn, sailing boats, mist over the water",
)
COVER_PIXELS = 128


README = ("create-wide-light", "running-wide-dark", "library-wide-light", "create-phone-dark")


def save(page: Any, name: str) -> None:
    folder = Path(sys.argv[1]) if sys.argv[1:] else assets_dir() / "screenshots"
    if not sys.argv[1:] and name not in README:
        return
    page.mouse.move(0, 0)
    page.wait_for_timeout(600)
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    target = folder / f"{name}.webp"
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, quality=88, method=6)
    print(f"{target.name}: {target.stat().st_size // 1024} kB")


def press(page: Any, prompt: str, **values: object) -> None:
    """Generate at the preset's own size: :func:`.support.generate` draws small images."""
    page.fill("#prompt textarea", prompt)
    for name, value in values.items():
        support.set_field(page, name, value)
    page.click("#generate")


def finished(page: Any, prompt: str, **values: object) -> None:
    press(page, prompt, **values)
    page.wait_for_selector(f"#results .thumb[title^='{prompt[:40]}']", timeout=120_000)
    page.wait_for_function("document.querySelector('#generate').textContent.trim() === 'Generate'")


def stop(page: Any) -> None:
    page.click("#stop")
    page.wait_for_function("document.querySelector('#generate').textContent.trim() === 'Generate'")


def running(page: Any, prompt: str) -> None:
    press(page, prompt, steps=80)
    page.wait_for_function(
        "parseInt(document.querySelector('.stage.running .percent')?.textContent) > 55",
        timeout=60_000,
    )


def tab(page: Any, name: str, shown: str) -> None:
    page.get_by_role("tab", name=name).click()
    page.wait_for_selector(shown)


def create(page: Any, layout: str) -> None:
    if not page.locator("#results .thumb").count():  # the first layout generates the images for all
        for prompt in PROMPTS:
            finished(page, prompt, steps=8)
    if "phone" in layout:
        page.click(".place-to[data-place=results]")
    page.wait_for_selector(".stage.succeeded img.final")
    save(page, f"create-{layout}")
    if "phone" in layout:
        page.click(".place-to[data-place=inputs]")
    page.evaluate("scrollTo(0, 0)")
    page.click(".picker > summary")
    save(page, f"presets-{layout}")
    page.keyboard.press("Escape")
    page.click(".menu > summary")
    save(page, f"menu-{layout}")
    page.click(".menu [data-do=grid]")
    page.locator("#grid textarea").nth(0).fill("8-24 (+4)")
    page.wait_for_selector("#grid .counted:has-text('5 results')")
    save(page, f"grid-{layout}")
    page.click("#grid .close")
    running(page, "A comet over a frozen sea, two small figures")
    save(page, f"running-{layout}")
    stop(page)


def workflows(page: Any, layout: str) -> None:
    tab(page, "Workflows", "#workflows .panel.sources")
    save(page, f"workflows-{layout}")


def library(page: Any, layout: str) -> None:
    tab(page, "Library", ".library .tile")
    save(page, f"library-{layout}")
    page.click(".library .thumb >> nth=2")
    page.wait_for_selector("#viewer .detail")
    save(page, f"result-{layout}")
    page.click("#viewer .close")


def queue(page: Any, layout: str) -> None:
    tab(page, "Create", "#generate")
    for prompt in PROMPTS[:4]:
        if "phone" in layout:
            page.click(".place-to[data-place=inputs]")
        support.generate(page, prompt, steps=80)
    tab(page, "Queue", ".line-now .job.running img.cover[src^='data:']")
    save(page, f"queue-{layout}")
    page.click(".queue [data-do=clear-queue]")
    page.wait_for_selector(".line-now .job.waits", state="detached")
    page.click(".line-now [data-do=cancel-job]")
    page.wait_for_selector(".line-now .job", state="detached", timeout=60_000)


def status(page: Any, layout: str) -> None:
    tab(page, "Status", "#presets .panel")
    save(page, f"status-{layout}")


def video(page: Any) -> None:
    page.click(".picker > summary")
    page.click(".option[data-preset=wan21_t2v_1_3b]")
    page.wait_for_selector("form.settings[data-preset=wan21_t2v_1_3b]")
    finished(page, "Slow flight over snowy mountains at sunrise", steps=8, frames=17)
    page.wait_for_selector(".stage.succeeded video")
    save(page, "video-wide-dark")


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

        save(new_page(), "empty-wide-light")
        for name, size in (("wide", support.WIDE), ("phone", support.PHONE)):
            for scheme in ("light", "dark"):
                page, layout = new_page(size=size, scheme=scheme), f"{name}-{scheme}"
                for part in (create, workflows, library, queue, status):
                    part(page, layout)
        if sys.argv[1:]:
            video(new_page(scheme="dark"))
        chromium.close()


# For presets that take no prompt.
SUBJECTS = {
    "hunyuan3d_v2": "A clay figure of a fox on a turntable, plain grey background, soft light",
    "svd": "A sailing boat on a lake at dawn, mist over the water",
    "upscale_esrgan": "A macro photograph of a peacock feather, every barb in focus",
    "upscale_seedvr2": "An old harbor town with tiled roofs, boats and a church tower",
}


def covers() -> None:
    """Generate missing covers; delete one to generate it again."""
    from comfy_ui.client import ComfyClient
    from comfy_ui.demo import DemoServer
    from comfy_ui.workflow.presets.preset_store import compile_workflow, list_presets

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
    """The icons of the installed app, from ``assets/icons/icon.svg``."""
    from playwright.sync_api import sync_playwright

    drawing = (assets_dir() / "icons" / "icon.svg").read_text(encoding="utf-8")
    # Systems crop maskable icons: up to a tenth at each side may be lost.
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
