"""A grid of variations, from the Generate menu to its contact sheet in the Library."""

from __future__ import annotations

import zipfile
from typing import Any

import pytest

from tests.browser.support import set_field

pytestmark = pytest.mark.browser


def test_grid_dialog_counts_results_and_creates_a_contact_sheet(used_page: Any) -> None:
    page = used_page
    page.fill("#prompt textarea", "a red kite over dunes")
    set_field(page, "width", 256)
    set_field(page, "height", 256)
    page.click(".menu > summary")
    page.click(".menu [data-do=grid]")
    across, down = page.locator("#grid textarea").nth(0), page.locator("#grid textarea").nth(1)
    across.fill("1-2, 900")
    page.wait_for_selector("#grid .counted.trouble:has-text('cannot be 900')")
    assert page.is_disabled("#grid .primary")
    across.fill("1-2")
    page.wait_for_selector("#grid .counted:has-text('2 results')")
    page.select_option("#grid select >> nth=1", "prompt")
    down.fill("red, blue")
    page.wait_for_selector("#grid .counted:has-text('2 × 2 = 4 results')")
    page.click("#grid .primary")
    page.get_by_role("tab", name="Queue").click()
    done = ".line-past > .job-group:has-text('4 of 4 done')"
    page.click(f"{done}:has-text('red kite') .unfold")
    page.wait_for_selector(".job-group .members .job:has-text('Grid 4 of 4'):has-text('2 · blue')")
    page.wait_for_selector(f"{done} .thumb[data-name='grid-steps-prompt.webp']")
    with page.expect_download() as download:
        page.click(f"{done} >> nth=0 >> a[download]")
    with zipfile.ZipFile(download.value.path()) as archive:
        names = archive.namelist()
    assert len(names) == 6  # with the metadata
    assert "grid-steps-prompt.webp" in names
    page.get_by_role("tab", name="Create").click()
    sheet = "#results .thumb[data-name='grid-steps-prompt.webp']"
    page.wait_for_selector(sheet)
    page.wait_for_selector(".stage.succeeded img.final")
    assert page.evaluate("document.querySelector('#stage img').naturalWidth") > 512
    titles = page.eval_on_selector_all("#results .thumb", "all => all.map((e) => e.title)")
    assert [title.split()[1] for title in titles[1:5]] == ["blue", "blue", "red", "red"]
    page.get_by_role("tab", name="Library").click()
    tile = ".library .tile.folded:has(.thumb[data-name='grid-steps-prompt.webp'])"
    page.wait_for_selector(f"{tile} .count:has-text('4')")
    page.click(f"{tile} .thumb >> nth=0")
    page.wait_for_selector(".library .group-head:has-text('4 results')")
    page.wait_for_function("document.querySelectorAll('.library .tile').length === 5")
    page.click(".library .tile .thumb >> nth=1")
    page.wait_for_selector("#viewer .detail:has-text('kite')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#viewer", state="detached")
    page.keyboard.press("Escape")
    page.wait_for_selector(tile)
    page.click(f"{tile} .thumb >> nth=0", modifiers=["Control"])
    page.click("[data-do=label-picked]")
    page.wait_for_selector("#label-picked h2:has-text('4 results')")
    page.fill("#label-picked input >> nth=1", "kites")
    page.keyboard.press("Enter")
    page.wait_for_selector("#toast:has-text('5 added to kites')")  # with the contact sheet


def test_grid_dialog_closed_leaves_a_single_job_request(used_page: Any) -> None:
    page = used_page
    page.fill("#prompt textarea", "a boat")
    page.evaluate("""() => {
      localStorage.setItem('comfy-ui.grid', JSON.stringify([{name: 'steps', values: '1, 2'}]));
      document.querySelector('.menu [data-do=grid]').click();
    }""")
    page.wait_for_selector("#grid .counted:has-text('2 results')")
    page.keyboard.press("Escape")
    request = page.evaluate("window.comfy.request()")
    assert "grid" not in request
    assert request["times"] == 1
