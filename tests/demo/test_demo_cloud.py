"""The stand-in for servers with the Comfy API v2 answers as the published contract says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import pytest
from comfy_api_proxy.schemas import _generated as contract

from comfy_ui.demo.demo_cloud import CloudFaults, DemoCloud

GRAPH: Final = {"2": {"class_type": "SaveImage", "inputs": {"filename_prefix": "v2"}}}
# The contract's text allows null here; the models that are generated from it do not.
NULLABLE: Final = {
    "hash": "blake3:0",
    "started_at": "2026-01-01T00:00:00+00:00",
    "completed_at": "2026-01-01T00:00:00+00:00",
    "queue_position": 0,
    "progress": {"value": 0.0, "nodes_done": 0, "nodes_total": 0},
    "error": {"code": "none", "message": ""},
}


def filled(value: Any) -> Any:
    """The answer with values in place of what may be null."""
    if isinstance(value, list):
        return [filled(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    items = {key: NULLABLE.get(key) if item is None else item for key, item in value.items()}
    return {key: filled(item) for key, item in items.items()}


async def test_demo_cloud_answers_fit_the_published_models() -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    async with DemoCloud(step_s=0.05) as cloud, aiohttp.ClientSession() as http:
        async with http.post(f"{cloud.url}/jobs", json={"workflow": GRAPH}) as answer:
            assert answer.status == 201
            job = await answer.json()
        contract.Job.model_validate(filled(job))
        async with http.get(job["urls"]["events"]) as stream:
            event = ""
            async for line in stream.content:
                name, _, value = line.decode().strip().partition(": ")
                event = value if name == "event" else event
                if name == "data":
                    events.append((event, json.loads(value)))
        async with http.get(job["urls"]["self"]) as answer:
            ended = await answer.json()
        contract.Job.model_validate(filled(ended))
        async with http.get(f"{cloud.url}/assets/{ended['outputs'][0]['id']}") as answer:
            contract.Asset.model_validate(filled(await answer.json()))
    models = {
        "status": contract.StatusEvent,
        "progress": contract.Progress,
        "preview": contract.PreviewEvent,
        "output": contract.Output,
    }
    assert {name for name, _ in events} == {*models}
    for name, data in events:
        models[name].model_validate(filled(data))


@pytest.mark.parametrize(
    ("faults", "status", "code"),
    [
        (CloudFaults(no_credits=True), 402, "insufficient_credits"),
        (CloudFaults(max_jobs=0), 429, "queue_full"),
    ],
)
async def test_demo_cloud_refusals_have_the_contracts_envelope(
    faults: CloudFaults, status: int, code: str
) -> None:
    async with (
        DemoCloud(faults=faults) as cloud,
        aiohttp.ClientSession() as http,
        http.post(f"{cloud.url}/jobs", json={"workflow": GRAPH}) as answer,
    ):
        body = await answer.json()
    assert answer.status == status
    assert contract.ErrorEnvelope.model_validate(body).error.code == code
    assert ("Retry-After" in answer.headers) is (status == 429)
