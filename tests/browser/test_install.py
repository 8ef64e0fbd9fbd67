"""The app can be installed: Chromium finds nothing in the way."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.browser


def test_chromium_would_install_the_app(page: Any) -> None:
    browser = page.context.new_cdp_session(page)
    found = browser.send("Page.getAppManifest")
    assert found["errors"] == []
    manifest = json.loads(found["data"])
    assert manifest["name"] == "comfy-ui"
    assert browser.send("Page.getInstallabilityErrors")["installabilityErrors"] in (
        [],
        [{"errorId": "in-incognito", "errorArguments": []}],  # as every context of a test is
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


def test_the_bar_of_the_installed_app_has_the_colour_of_the_page(page: Any) -> None:
    bar = "document.querySelector('meta[name=theme-color]').content"
    page.click(".tool.when-light")
    page.wait_for_function(f"{bar} === getComputedStyle(document.body).backgroundColor")
