"""Both clients on the Comfy API v2: the stand-in with its faults, and the real proxy."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from comfy_api_proxy.app import make_app
from PIL import Image

from comfy_ui.client import ClientOptions
from comfy_ui.demo import DemoServer, Faults
from comfy_ui.demo.demo_cloud import CloudFaults, DemoCloud
from comfy_ui.errors import (
    AuthenticationError,
    ComfyUIConnectionError,
    GenerationFailedError,
    InvalidWorkflowError,
    JobLostError,
    ServerRejectedError,
)
from comfy_ui.protocol.progress import Phase, Preview, Progress
from tests.client.support import open_client, saved

BOTH = pytest.mark.parametrize("kind", ["sync", "async"])
KEY = "canary-of-the-cloud"
GRAPH = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 64, "height": 64}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "v2"}},
}


def picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
async def cloud() -> AsyncIterator[DemoCloud]:
    async with DemoCloud(key=KEY) as cloud:
        yield cloud


@pytest.fixture
async def proxy(tmp_path: Path) -> AsyncIterator[str]:
    """comfy-api-proxy in front of the embedded engine."""
    with DemoServer(speed="instant", faults=Faults(test_nodes=True)).in_thread() as engine:
        runner = web.AppRunner(make_app(engine.url), shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/api/v2"
        await runner.cleanup()


# The cloud


@BOTH
async def test_v2_client_runs_a_job_with_progress_and_downloads_its_files(
    cloud: DemoCloud, kind: str, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    async with open_client(kind, cloud.url, token=KEY) as client:
        result = await client.run(GRAPH, on_progress=seen.append, timeout=30)
        (path,) = await saved(result, tmp_path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert cloud.posts == [{"workflow": GRAPH}]
    percents = [progress.progress for progress in seen]
    assert percents == sorted(percents)
    assert (percents[-1], seen[-1].phase) == (100, Phase.SUCCEEDED)
    assert cloud.keys_elsewhere == [], "the storage got no key"


async def test_v2_stream_brings_steps_and_previews(cloud: DemoCloud) -> None:
    async with open_client("async", cloud.url, token=KEY) as client:
        events = [event async for event in client.stream(GRAPH, timeout=30)]
    steps = [event.step for event in events if isinstance(event, Progress) and event.step]
    assert steps
    assert any(isinstance(event, Preview) for event in events)
    assert events[-1].files[0].filename == "cloud_00001_.png"


@BOTH
@pytest.mark.parametrize("fault", ["no_streams", "streams_full", "streams_break"])
async def test_v2_job_without_a_whole_stream_is_followed_by_polling(
    cloud: DemoCloud, kind: str, fault: str
) -> None:
    cloud.faults = CloudFaults(**{fault: True})
    async with open_client(kind, cloud.url, token=KEY) as client:
        result = await client.run(GRAPH, timeout=30)
    assert len(result.files) == 1


@BOTH
async def test_v2_errors_have_words_and_the_wait_that_the_server_asks_for(
    cloud: DemoCloud, kind: str
) -> None:
    async with open_client(kind, cloud.url, token=KEY) as client:
        cloud.faults = CloudFaults(no_credits=True)
        with pytest.raises(ServerRejectedError, match="no credits left") as refused:
            await client.run(GRAPH)
        assert (refused.value.status, refused.value.retryable) == (402, False)
        cloud.faults = CloudFaults(max_jobs=0)
        with pytest.raises(ServerRejectedError, match="0 jobs at a time") as full:
            await client.queue_prompt(GRAPH, resubmit=False)
        assert full.value.is_full
        assert full.value.retry_after_s == 1
        cloud.faults = CloudFaults()
        with pytest.raises(InvalidWorkflowError) as invalid:
            await client.queue_prompt({"1": {"class_type": "X", "inputs": {"model": None}}})
        (problem,) = invalid.value.problems
        assert (problem.node, problem.input, problem.class_type) == ("1", "model", "X")
        with pytest.raises(ServerRejectedError, match="no GET /object_info"):
            await client.object_info()
    async with open_client(kind, cloud.url, token="wrong") as client:
        with pytest.raises(AuthenticationError):
            await client.run(GRAPH)


@BOTH
async def test_v2_failed_job_names_its_node(cloud: DemoCloud, kind: str) -> None:
    cloud.faults = CloudFaults(fails=True)
    async with open_client(kind, cloud.url, token=KEY) as client:
        with pytest.raises(GenerationFailedError, match="a test requested it"):
            await client.run(GRAPH, timeout=30)


@BOTH
async def test_v2_post_without_an_answer_never_runs_twice(cloud: DemoCloud, kind: str) -> None:
    cloud.faults = CloudFaults(lost_answers=1)
    async with open_client(kind, cloud.url, token=KEY) as client:
        with pytest.raises(ComfyUIConnectionError, match="received this job before") as unclear:
            await client.queue_prompt(GRAPH)
    assert not unclear.value.retryable
    assert len(cloud.posts) == 1


@BOTH
async def test_v2_expired_link_is_asked_for_again(cloud: DemoCloud, kind: str) -> None:
    async with open_client(kind, cloud.url, token=KEY) as client:
        result = await client.run(GRAPH, timeout=30)
        first = await client.download(result.files[0])
        cloud.expire_links()
        assert await client.download(result.files[0]) == first


@BOTH
async def test_v2_cancel_stops_the_job(kind: str) -> None:
    async with DemoCloud(step_s=30) as cloud, open_client(kind, cloud.url) as client:
        prompt_id = await client.queue_prompt(GRAPH)
        assert await client.cancel(prompt_id, timeout=20)
        assert len((await client.queue()).pending) == 0
        queued = await client.queue_prompt(GRAPH)
        assert await client.unqueue(queued)


@BOTH
async def test_v2_job_is_resumed_by_its_id_in_another_client(cloud: DemoCloud, kind: str) -> None:
    async with open_client(kind, cloud.url, token=KEY) as client:
        prompt_id = await client.queue_prompt(GRAPH)
    async with open_client(kind, cloud.url, token=KEY) as client:
        assert len((await client.resume(prompt_id, timeout=30)).files) == 1
        with pytest.raises(JobLostError):
            await client.resume("unknown")


@BOTH
async def test_v2_uploads_become_assets(cloud: DemoCloud, kind: str) -> None:
    load = {"class_type": "LoadImage", "inputs": {"image": ""}}
    async with open_client(kind, cloud.url, token=KEY) as client:
        name = await client.upload_image(picture(), filename="red.png")
        load["inputs"] = {"image": name}
        await client.run({"1": load}, timeout=30)
    (reference,) = [post["workflow"]["1"]["inputs"]["image"] for post in cloud.posts]
    assert reference["__type"] == "core/ASSET"
    assert reference["info"]["file_path"] == "red.png"


@BOTH
async def test_v2_presets_take_values_without_a_list_of_nodes(cloud: DemoCloud, kind: str) -> None:
    async with open_client(kind, cloud.url, token=KEY) as client:
        await client.generate_image("a harbor", preset="sd15", steps=3, seed=7, timeout=60)
        with pytest.raises(InvalidWorkflowError, match="node list"):
            await client.queue_prompt(GRAPH, values={"width": 32})
    inputs = [node["inputs"] for node in cloud.posts[0]["workflow"].values()]
    assert {(one["steps"], one["seed"]) for one in inputs if "steps" in one} == {(3, 7)}


@BOTH
async def test_v2_key_of_partner_nodes_goes_along_if_the_caller_passes_it(
    cloud: DemoCloud, kind: str
) -> None:
    extra = {"api_key_comfy_org": "k", "extra_pnginfo": {"a": 1}}
    async with open_client(kind, cloud.url, token=KEY, api_key_comfy_org="other") as client:
        await client.queue_prompt(GRAPH, extra_data=extra)
        await client.queue_prompt(GRAPH)
    assert [post.get("extra_data") for post in cloud.posts] == [{"api_key_comfy_org": "k"}, None]


# Which API


@BOTH
async def test_client_takes_an_address_that_does_not_end_in_v2_for_a_comfyui(
    cloud: DemoCloud, kind: str
) -> None:
    base = cloud.url.removesuffix("/v2")
    async with open_client(kind, base, token=KEY) as client:
        with pytest.raises(ServerRejectedError):
            await client.queue()


@BOTH
async def test_client_on_an_address_that_only_looks_like_v2_speaks_comfyuis_api(
    kind: str,
) -> None:
    with DemoServer(speed="instant").in_thread() as engine:
        for options in (None, ClientOptions(api="local")):
            runner = web.AppRunner(_below("/v2", engine.url), shutdown_timeout=0.2)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/v2"
            async with open_client(kind, url, options=options) as client:
                assert "SaveImage" in await client.object_info()
            await runner.cleanup()


def _below(prefix: str, upstream: str) -> web.Application:
    """A proxy that serves another server's routes below a path."""
    import aiohttp

    async def forward(request: web.Request) -> web.Response:
        url = upstream + request.path_qs.removeprefix(prefix)
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return web.Response(
                body=await response.read(),
                status=response.status,
                content_type=response.content_type,
            )

    app = web.Application()
    app.router.add_get(prefix + "/{path:.*}", forward)
    return app


# The real proxy in front of the embedded engine


@BOTH
async def test_v2_proxy_runs_a_job_with_an_upload_and_returns_its_file(
    proxy: str, kind: str, tmp_path: Path
) -> None:
    seen: list[Progress] = []
    async with open_client(kind, proxy) as client:
        graph = {
            "1": {"class_type": "LoadImage", "inputs": {"image": ""}},
            "2": GRAPH["2"],
        }
        graph["1"]["inputs"] = {"image": await client.upload_image(picture(), filename="red.png")}
        result = await client.run(graph, on_progress=seen.append, timeout=60)
        (path,) = await saved(result, tmp_path)
    with Image.open(path) as image:
        assert image.convert("RGB").getpixel((5, 5)) == (200, 30, 30)
    assert seen[-1].progress == 100


@BOTH
async def test_v2_proxy_refuses_with_node_errors_and_cancels(proxy: str, kind: str) -> None:
    sleep = {"image": ["1", 0], "seconds": 60.0, "steps": 20, "nonce": 1}
    graph: dict[str, Any] = {**GRAPH, "3": {"class_type": "DemoSleep", "inputs": sleep}}
    graph["1"]["inputs"] |= {"batch_size": 1, "color": 0}
    graph["2"] = {**GRAPH["2"], "inputs": {**GRAPH["2"]["inputs"], "images": ["3", 0]}}
    async with open_client(kind, proxy) as client:
        with pytest.raises(InvalidWorkflowError):
            await client.queue_prompt({"1": {"class_type": "Nope", "inputs": {}}})
        prompt_id = await client.queue_prompt(graph)
        while not (await client.queue()).running:  # noqa: ASYNC110 -- tests may poll
            await asyncio.sleep(0.05)
        assert await client.cancel(prompt_id, timeout=30)
        with pytest.raises(JobLostError):
            await client.resume("00000000-0000-4000-8000-000000000000")
