"""The panel of the model files on Status: search, sort and undo, on a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FAIL_ONCE_JS = """() => {
  const {fetch} = window;
  window.fetch = (address, ...rest) => {
    if (address !== "model-files") return fetch(address, ...rest);
    window.fetch = fetch;
    return Promise.reject(new TypeError("no connection"));
  };
}"""


def test_models_panel_searches_sorts_deletes_and_undoes_on_a_phone(
    person: Callable[..., Any], painter: Any
) -> None:
    folder = painter.folder / "models" / "style_models"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "panel_small.safetensors").write_bytes(b"a")
    (folder / "panel_large.safetensors").write_bytes(b"b" * 100_000)
    page = person(size={"width": 390, "height": 800})
    page.evaluate(FAIL_ONCE_JS)
    page.get_by_role("tab", name="Status").click()
    page.locator("[data-model-files]").scroll_into_view_if_needed()
    rows = page.locator(".model-files > li:visible")
    search = page.get_by_label("Search models")
    search.fill("PANEL style_models")
    rows.nth(1).wait_for()
    assert rows.count() == 2
    page.get_by_label("Sort models").select_option("size")
    assert rows.first.get_attribute("data-id") == "style_models/panel_large.safetensors"
    rows.nth(1).locator("summary").click()
    rows.nth(1).get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Undo").wait_for()
    assert not (folder / "panel_small.safetensors").exists()
    assert rows.count() == 1, "the search stays"
    page.get_by_role("button", name="Undo").click()
    rows.nth(1).wait_for()
    assert (folder / "panel_small.safetensors").exists()
    search.fill("no such file")
    page.get_by_text("Nothing matches your search.").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
