"""The Comfy API key of partner nodes: which jobs carry it, and to which servers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from comfy_ui.client import ComfyClient, ComfyWSClient

KEY = "comfyui-canary"
CLIENTS = pytest.mark.parametrize("client", [ComfyClient, ComfyWSClient])
SPECS = {
    "Partner": {"input": {}, "output": ["IMAGE"], "api_node": True},
    "SaveImage": {"input": {}, "output": [], "output_node": True},
}


def graph(*class_types: str) -> dict[str, Any]:
    return {str(n): {"class_type": name, "inputs": {}} for n, name in enumerate(class_types)}


class PartnerServer:
    """A server whose list of nodes is ``listed`` first, and all of ``SPECS`` if asked for one."""

    def __init__(self, *listed: str) -> None:
        self.listed = listed
        self.posts: list[dict[str, Any]] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path == "/prompt":
            self.posts.append(json.loads(request.content))
            return httpx.Response(200, json={"prompt_id": self.posts[-1]["prompt_id"]})
        _, _, name = request.url.path.removeprefix("/object_info").partition("/")
        names = [name] if name else self.listed
        return httpx.Response(200, json={each: SPECS[each] for each in names if each in SPECS})

    def queue(self, workflow: Mapping[str, Any], extra_data: Any = None, **options: Any) -> Any:
        """Queue a workflow and return the extra data that arrived."""
        http = httpx.MockTransport(self)
        with ComfyClient(url="http://gpu.test", http=http, **options) as client:
            client.queue_prompt(workflow, extra_data=extra_data)
        return self.posts[-1].get("extra_data")


def test_queue_prompt_sends_the_key_with_partner_nodes_only() -> None:
    server = PartnerServer("Partner", "SaveImage")
    assert server.queue(graph("Partner"), api_key_comfy_org=KEY) == {"api_key_comfy_org": KEY}
    assert server.queue(graph("SaveImage"), api_key_comfy_org=KEY) is None
    assert server.queue(graph("Partner"), {"a": 1}, api_key_comfy_org=KEY) == {
        "api_key_comfy_org": KEY,
        "a": 1,
    }


def test_queue_prompt_looks_up_a_class_that_the_list_lacks() -> None:
    server = PartnerServer("SaveImage")
    assert server.queue(graph("Partner"), api_key_comfy_org=KEY) == {"api_key_comfy_org": KEY}
    assert server.queue(graph("Unheard"), api_key_comfy_org=KEY) is None


def test_queue_prompt_without_a_key_asks_for_no_nodes() -> None:
    server = PartnerServer("Partner")
    assert server.queue(graph("Partner")) is None
    assert [request.url.path for request in server.requests] == ["/prompt"]


def test_queue_prompt_never_sends_a_redacted_key() -> None:
    server = PartnerServer("Partner", "SaveImage")
    redacted = {"api_key_comfy_org": "[REDACTED]"}
    assert server.queue(graph("SaveImage"), redacted) is None
    assert server.queue(graph("Partner"), redacted, api_key_comfy_org=KEY) == {
        "api_key_comfy_org": KEY
    }


@CLIENTS
def test_client_of_another_address_gets_no_key(
    client: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMFYUI_URL", "https://gpu.test/comfy")
    monkeypatch.setenv("COMFY_UI_API_KEY_COMFY_ORG", KEY)
    assert client()._server.partner_key == KEY
    assert client(url="https://gpu.test/comfy", api_key_comfy_org="")._server.partner_key == ""
    assert client(url="https://gpu.test/comfy", guarded=True)._server.partner_key == ""
    assert client(url="https://other.test")._server.partner_key == ""
    assert KEY not in repr(client()._server)
