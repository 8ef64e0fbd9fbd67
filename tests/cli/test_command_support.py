from __future__ import annotations

from comfy_ui.cli.command_support import server
from comfy_ui.settings import load_settings


def test_server_gets_the_key_of_partner_nodes_only_if_it_is_configured() -> None:
    settings = load_settings(comfyui_url="gpu:8188", api_key_comfy_org="canary")
    assert server(settings)["api_key_comfy_org"] == "canary"
    assert server(settings, "http://other:8188")["api_key_comfy_org"] == ""
