from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
from PIL import Image, ImageChops

from comfy_ui.jobs.workers import output_download
from comfy_ui.library import library_service
from comfy_ui.library.video_editing import last_frame
from comfy_ui.protocol.progress import Phase
from comfy_ui.storage.records import LOCAL_USER_ID, Job, JobRequest, LibraryItem
from comfy_ui.web.auth.access import Access, AccessMode
from comfy_ui.web.components.html import Html
from comfy_ui.web.components.job_card import job_card
from comfy_ui.web.http.upload_routes import UploadRoutes
from comfy_ui.web.tab import PageContext
from comfy_ui.web.tabs.create.form_state import FormState
from comfy_ui.web.tabs.create.generate import GenerateHandler
from comfy_ui.web.tabs.create.one_press import OnePress, one_press_ways
from comfy_ui.web.tabs.create.reuse_settings import recall
from comfy_ui.web.tabs.library_tab import LibraryTab
from comfy_ui.web.tabs.workflows.blueprint_tools import BlueprintTools
from comfy_ui.web.tabs.workflows.form_editor import FormEditor
from comfy_ui.workflow.presets.preset_store import list_presets
from tests.jobs.support import end_of
from tests.web.half_videos import cut_half, join_half
from tests.web.support import Page
from tests.web.web_app import WebApp, open_web_app

Visit = tuple[httpx.AsyncClient, str]


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[WebApp]:
    async with open_web_app(tmp_path / "data") as app:
        yield app


@pytest.fixture
async def visit(app: WebApp) -> AsyncIterator[Visit]:
    """A browser and its user."""
    uploads = UploadRoutes(app.services, app.access)
    generate = GenerateHandler(app.services, app.access, uploads)
    one_press = OnePress(app.services, app.access, uploads, generate)
    tools = BlueprintTools(app.services, app.access)
    client, user_id = app.browser(one_press, tools, LibraryTab(app.context))
    async with client:
        yield client, user_id


async def result(app: WebApp, user_id: str, preset: str = "sdxl", **values: Any) -> LibraryItem:
    values = {"prompt": "a dune", "seed": 42, "width": 256, "height": 256, "steps": 3, **values}
    job = await app.service.submit(JobRequest(user_id=user_id, preset=preset, values=values))
    return (await end_of(app.service, job)).items[0]


async def go_on(app: WebApp, visit: Visit, way: str, *items: LibraryItem, press: str = "p") -> Job:
    wanted = {"way": way, "items": [item.id for item in items], "press": press}
    answer = (await visit[0].post("/create/go-on", json=wanted)).json()
    assert answer["notice"] == ""
    return await app.service.job(answer["job"], visit[1])


async def test_tools_are_the_blueprints_that_take_the_result(app: WebApp, visit: Visit) -> None:
    parent = await result(app, visit[1])
    answer = (await visit[0].get("/blueprints", params={"item": parent.id})).json()
    tools = {tool["title"]: tool for tool in answer["tools"]}
    assert {title: (tool["group"], tool["form"]) for title, tool in tools.items()} == {
        "Image Blur": ("Blur", True),
        "Invert Colors": ("Color adjust", False),
        "Sharpen": ("Sharpen", True),
    }
    listed = {entry.preset.id for entry in app.services.catalog.entries}
    assert not listed & {tool["id"] for tool in tools.values()}
    job = await go_on(app, visit, f"tool:{tools['Invert Colors']['id']}", parent)
    assert job.parent_id == parent.id
    child = (await end_of(app.service, job)).items[0]
    with Image.open(parent.path) as old, Image.open(child.path) as new:
        before, after = old.convert("RGB").getpixel((9, 9)), new.convert("RGB").getpixel((9, 9))
        assert isinstance(before, tuple)
        assert after == tuple(255 - value for value in before)
    blur = f"tool:{tools['Image Blur']['id']}"
    uploads = UploadRoutes(app.services, app.access)
    reused = await recall(blur, parent, FormState("sdxl", "", {}), app.services, uploads)
    assert reused.preset is not None
    assert [p.label for p in reused.preset.params if not p.advanced and not p.hidden] == [
        "Image",
        "Blur radius",
        "Sigma",
    ]
    request = JobRequest(user_id=visit[1], preset=reused.preset.id, values=dict(reused.values))
    assert (await end_of(app.service, await app.service.submit(request))).items
    assert (await visit[0].get("/blueprints", params={"item": 999})).status_code == 422


async def test_one_press_variation_keeps_settings_and_records_its_parent(
    app: WebApp, visit: Visit
) -> None:
    parent = await result(app, visit[1])
    subtle = await go_on(app, visit, "subtle", parent)
    assert (subtle.preset, subtle.prompt, subtle.parent_id) == ("sdxl_img2img", "a dune", parent.id)
    assert subtle.values["strength"] == 0.35
    assert subtle.values["steps"] == 3
    assert subtle.seed != 42
    assert (await go_on(app, visit, "subtle", parent)).id == subtle.id  # the same press
    strong = await go_on(app, visit, "strong", parent, press="another")
    assert strong.values["strength"] == 0.7
    children = [(await end_of(app.service, job)).items[0] for job in (subtle, strong)]
    detail = Page((await visit[0].get(f"/library/{parent.id}")).text)
    assert {button["data-open"] for button in detail.all("button", class_="thumb")} == {
        str(child.id) for child in children
    }
    assert "Made from this" in detail.text
    detail = Page((await visit[0].get(f"/library/{children[0].id}")).text)
    assert [b["data-open"] for b in detail.all("button", class_="thumb")] == [str(parent.id)]


async def test_one_press_upscale_keeps_prompt_and_seed_of_each_result(
    app: WebApp, visit: Visit
) -> None:
    parents = [await result(app, visit[1], prompt=prompt) for prompt in ("a dune", "an owl")]
    await end_of(app.service, await go_on(app, visit, "upscale", *parents))
    for parent in parents:
        (child,) = await app.service.library.children(parent.id, visit[1])
        assert (child.prompt, child.seed) == (parent.prompt, 42)
        assert child.width == 2 * 256


async def test_one_press_ways_are_those_of_the_family(app: WebApp, visit: Visit) -> None:
    catalog = app.services.catalog
    sdxl = await result(app, visit[1])
    other = await result(app, visit[1], "z_image_turbo")
    assert set(one_press_ways(sdxl, catalog)) == {"subtle", "strong", "upscale"}
    assert set(one_press_ways(other, catalog)) == {"upscale"}
    wanted = {"way": "subtle", "items": [other.id], "press": "p"}
    answer = (await visit[0].post("/create/go-on", json=wanted)).json()
    assert answer["job"] == ""
    assert "No preset here" in answer["notice"]


VIDEO = {"width": 256, "height": 256, "frames": 9, "fps": 8}


@pytest.mark.slow
async def test_one_press_extend_twice_joins_the_clips_without_encoding_again(
    app: WebApp, visit: Visit
) -> None:
    first = await result(app, visit[1], "wan22_5b", **VIDEO)
    shown, packets = [first], [video_packets(first.path)]
    for press in ("once", "twice"):
        job = await go_on(app, visit, "extend", shown[-1], press=press)
        assert (job.prompt, job.parent_id) == ("a dune", shown[-1].id)
        assert job.seed != 42
        (longer,) = (await end_of(app.service, job)).items
        shown.append(longer)
        packets.append(video_packets(longer.path))
    assert [len(part) for part in packets] == [9, 17, 25]
    assert [data for _, data in packets[2][:17]] == [data for _, data in packets[1]]
    times = sorted(at for at, _ in packets[2])
    assert times == pytest.approx([n / 8 for n in range(25)])  # evenly, no frame twice
    tags = av.open(str(shown[-1].path)).metadata
    assert "ImageFromBatch" in tags["prompt"]  # the settings can be restored from the file
    joint = frames(shown[1].path)[8:10]
    assert difference(*joint) > 0
    assert difference(joint[0], Image.open(io.BytesIO(last_frame(first.path)))) == 0


@pytest.mark.slow
async def test_one_press_video_upscale_and_interpolate_keep_its_length(
    app: WebApp, visit: Visit
) -> None:
    video = await result(app, visit[1], "wan22_5b", **VIDEO)
    assert set(one_press_ways(video, app.services.catalog)) == {"extend", "upscale", "interpolate"}
    larger = (await end_of(app.service, await go_on(app, visit, "upscale", video))).items[0]
    assert (larger.width, larger.height, larger.prompt) == (512, 512, "a dune")
    job = await go_on(app, visit, "interpolate", video, press="other")
    smooth = (await end_of(app.service, job)).items[0]
    assert smooth.parent_id == video.id
    times = sorted(at for at, _ in video_packets(smooth.path))
    assert times == pytest.approx([n / 16 for n in range(17)])


async def test_one_press_extend_joins_a_clip_of_another_format_by_encoding(
    app: WebApp, visit: Visit, tmp_path: Path
) -> None:
    video = await result(app, visit[1], "wan22_5b", **VIDEO)
    video.path.write_bytes(as_webm(video.path, tmp_path / "other.webm"))
    ended = await end_of(app.service, await go_on(app, visit, "extend", video))
    whole, clip = sorted(ended.items, key=lambda item: -len(video_packets(item.path)))
    assert [len(video_packets(item.path)) for item in (whole, clip)] == [17, 8]
    assert (whole.width, whole.height) == (128, 128)  # as the first one


def video_packets(path: Path) -> list[tuple[float, bytes]]:
    """The times in seconds and the bytes of a video's frames, in the order of the file."""
    with av.open(str(path)) as container:
        return [
            (float(packet.pts * packet.time_base), bytes(packet))
            for packet in container.demux(video=0)
            if packet.pts is not None and packet.time_base is not None
        ]


def frames(path: Path) -> list[Image.Image]:
    with av.open(str(path)) as container:
        return [frame.to_image() for frame in container.decode(video=0)]


def difference(one: Image.Image, other: Image.Image) -> int:
    """The largest difference of a channel of a pixel."""
    extrema = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getextrema()
    return max(high for _, high in extrema)  # type: ignore[misc]


def as_webm(path: Path, target: Path) -> bytes:
    with av.open(str(target), "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=8)
        stream.width = stream.height = 128
        for frame in frames(path):
            container.mux(stream.encode(av.VideoFrame.from_image(frame.resize((128, 128)))))
        container.mux(stream.encode())
    return target.read_bytes()


async def trimmed(browser: httpx.AsyncClient, **wanted: float) -> dict[str, Any]:
    """The last event of a cut."""
    answer = await browser.post("/library/trim", json=wanted)
    events = [line for line in answer.text.splitlines() if line.startswith("data: ")]
    last: dict[str, Any] = json.loads(events[-1].removeprefix("data: "))
    return last


@pytest.mark.slow
async def test_cut_that_is_closed_leaves_nothing_behind(
    app: WebApp, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_service, "cut_video", cut_half)
    library, user_id = app.service.library, visit[1]
    video = await result(app, user_id, "wan22_5b", **VIDEO)
    async with aclosing(library.cut(video.id, user_id, 0.0, 0.5)) as steps:
        async for step in steps:
            if step == 0.5:
                break
    assert not [path for path in library.files.incoming().parent.iterdir() if path.is_file()]
    assert [item.id for item in await library.results(user_id)] == [video.id]


@pytest.mark.slow
async def test_extend_shows_the_joining_and_a_cancelled_one_keeps_the_clip(
    app: WebApp, visit: Visit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_download, "join_videos", join_half)
    monkeypatch.setattr(output_download, "_REPORT_INTERVAL_S", 0.05)
    video = await result(app, visit[1], "wan22_5b", **VIDEO)
    job = await go_on(app, visit, "extend", video)
    async with aclosing(app.service.follow(job.id, visit[1])) as snapshots:
        async for snapshot in snapshots:
            if snapshot.text == "Joining the videos: 50%":
                assert "Joining the videos: 50%" in job_card(snapshot)
                break
    assert await app.service.cancel(job.id, visit[1])
    ended = await end_of(app.service, job)
    assert ended.phase is Phase.CANCELLED
    assert [len(video_packets(item.path)) for item in ended.items] == [8]


async def test_trim_and_timelines_of_a_video(app: WebApp, visit: Visit) -> None:
    browser, user_id = visit
    video = await result(app, user_id, "wan22_5b", **VIDEO)
    original = video.path.read_bytes()
    wanted = {"item": video.id, "start_s": 0.25, "end_s": 0.75}
    made = await trimmed(browser, **wanted)
    part = await app.service.library.item(made["item"], user_id)
    assert (part.parent_id, part.prompt, part.seed) == (video.id, "a dune", 42)
    assert len(video_packets(part.path)) == 4
    assert await trimmed(browser, **wanted) == made  # a repeated request
    assert video.path.read_bytes() == original
    beyond = await trimmed(browser, item=video.id, start_s=8, end_s=9)
    assert "no frame in this part" in beyond["error"]
    assert "error" in await trimmed(browser, item=999, start_s=0, end_s=9)
    strip = await app.service.library.timeline(video)
    assert strip is not None
    with Image.open(strip) as image:
        assert image.size == (12 * 96, 96)
    at = strip.stat().st_mtime_ns
    assert await app.service.library.timeline(video) == strip  # made once
    assert strip.stat().st_mtime_ns == at
    assert await app.service.library.timeline(await result(app, user_id)) is None


async def test_use_as_cover_makes_a_result_the_picture_of_its_own_preset(
    app: WebApp, visit: Visit
) -> None:
    saved, access = app.services.saved_workflows, Access(AccessMode.LOCAL, b"s")
    shipped = next(preset for preset in list_presets() if preset.id == "sdxl")
    copy = saved.save(shipped, title="Mine", saved_by=LOCAL_USER_ID)
    await app.services.catalog.look()
    item = await result(app, LOCAL_USER_ID)
    own = await result(app, LOCAL_USER_ID, copy.id)
    context = PageContext.create(app.services, access)
    admin = WebApp(app.server, app.service, access, app.services)
    browser, _ = admin.browser(
        LibraryTab(context), FormEditor(app.services, access, lambda _: Html(""))
    )
    async with browser:
        assert "Use as cover" in (await browser.get(f"/library/{own.id}")).text
        assert "Use as cover" not in (await browser.get(f"/library/{item.id}")).text
        where = {"id": copy.id, "item": own.id}
        assert (await browser.post("/workflows/cover", params=where, json={})).json() == {}
        answer = await browser.post("/workflows/cover", params={**where, "item": 999}, json={})
        assert answer.status_code == 422
    preset = app.services.catalog.find(copy.id)
    assert preset is not None
    assert preset.thumbnail is not None
    with Image.open(preset.thumbnail) as picture:
        assert picture.size == (256, 256)
    theirs = await result(app, visit[1], copy.id)
    assert "Use as cover" not in (await visit[0].get(f"/library/{theirs.id}")).text
