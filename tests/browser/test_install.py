"""Chromium's checks for an installable app."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_manifest_makes_the_app_installable(used_page: Any) -> None:
    page = used_page
    browser = page.context.new_cdp_session(page)
    result = browser.send("Page.getAppManifest")
    assert result["errors"] == []
    manifest = json.loads(result["data"])
    assert manifest["name"] == "comfy-ui"
    assert browser.send("Page.getInstallabilityErrors")["installabilityErrors"] in (
        [],
        [{"errorId": "in-incognito", "errorArguments": []}],  # every test context is incognito
    )
    for icon in manifest["icons"]:
        size = page.evaluate(
            """async (src) => {
              const image = new Image();
              image.src = src;
              await image.decode();
              return `${image.naturalWidth}x${image.naturalHeight}`;
            }""",
            icon["src"],
        )
        assert icon["sizes"] in ("any", size)


def test_theme_color_matches_the_page_background(used_page: Any) -> None:
    page = used_page
    bar = "document.querySelector('meta[name=theme-color]').content"
    page.click(".tool.when-light")
    page.wait_for_function(f"{bar} === getComputedStyle(document.body).backgroundColor")
