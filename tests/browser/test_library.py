"""The Library: search, selection, comparison, import."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import support
from tests.browser.test_create import saved
from tests.web.support import picture_bytes

pytestmark = pytest.mark.browser

OLDEST_FIRST = """() => {
    const tiles = [...document.querySelectorAll(".library .tile")];
    const ids = tiles.map((tile) => Number(tile.dataset.item));
    return ids.length > 2 && ids.every((id, at) => !at || ids[at - 1] < id);
}"""
PROMPTS = ("a red kite over dunes", "a blue boat at dawn", "a quiet forest in snow")


@pytest.fixture(scope="module")
def items(used_pages: Callable[[], support.UsedPage]) -> None:
    """Three images of one user."""
    page = used_pages().page
    start = page.evaluate("window.comfy.current()")
    for prompt in PROMPTS:
        support.generate(page, prompt, steps=2, width=256, height=256)
        page.wait_for_selector(f"#results .thumb[title='{prompt}']")
    support.reset_form(page, start)


@pytest.fixture
def library(items: None, used_page: Any) -> Iterator[Any]:
    """A wide page that shows the Library: afterwards it has neither a search nor a selection."""
    yield opened(used_page)
    used_page.evaluate(
        "() => { window.comfy.actions.unpick(); window.comfy.library.setFields({}); }"
    )


def opened(page: Any) -> Any:
    page.get_by_role("tab", name="Library").click()
    page.wait_for_selector(".library .tile")
    return page


def prompts(page: Any) -> list[str]:
    texts: list[str] = page.eval_on_selector_all(
        ".library .thumb", "all => all.map((e) => e.dataset.promptText)"
    )
    return texts


def tile(page: Any, prompt: str) -> Any:
    return page.locator(f".library .tile:has(.thumb[title='{prompt}'])").first


def wait_count(page: Any, count: int) -> None:
    page.wait_for_function(f"document.querySelectorAll('.library .tile').length === {count}")


def test_library_lists_newest_first_by_day_and_filters_while_typing(library: Any) -> None:
    assert prompts(library)[:3] == [*reversed(PROMPTS)]
    assert library.inner_text(".library .day h2 >> nth=0") == "Today"
    everything = len(prompts(library))
    library.locator(".find [name=text]").press_sequentially("BOAT dawn")
    wait_count(library, 1)
    assert prompts(library) == [PROMPTS[1]]
    library.fill(".find [name=text]", "z_image_turbo_bf16")  # the model's file
    library.wait_for_function("document.querySelectorAll('.library .tile').length > 2")
    library.fill(".find [name=text]", "boat dawn -BOAT")
    library.wait_for_selector(".unfound")
    library.fill(".find [name=text]", "dawn")
    library.click("[data-do=search-help]")
    library.click("#search-help .act:text-is('kind:video')")
    assert library.input_value(".find [name=text]") == "dawn kind:video"
    library.wait_for_selector(".unfound")
    library.fill(".find [name=text]", "no such thing")
    library.wait_for_selector(".unfound")
    library.click("[data-do=clear-search]")
    wait_count(library, everything)
    library.select_option(".find [name=kind]", "video")
    library.wait_for_function(
        "![...document.querySelectorAll('.library .thumb')].some((e) => e.dataset.kind !== 'video')"
    )


def test_library_keyboard_stars_filters_and_recalls(library: Any) -> None:
    library.keyboard.press("ArrowDown")
    library.keyboard.press("ArrowRight")
    assert library.evaluate("document.activeElement.dataset.promptText") == PROMPTS[1]
    library.keyboard.press(".")
    library.wait_for_selector(".mark-star[aria-pressed=true]")
    library.check(".find [name=starred]", force=True)
    # Other tests have starred items too.
    library.wait_for_selector(".library .mark-star[aria-pressed=false]", state="detached")
    assert PROMPTS[1] in prompts(library)
    assert PROMPTS[0] not in prompts(library)
    library.reload()
    opened(library)
    starred = tile(library, PROMPTS[1]).locator(".mark-star")
    assert starred.get_attribute("aria-pressed") == "true"
    thumb = tile(library, PROMPTS[1]).locator(".thumb")
    seed = thumb.get_attribute("data-seed")
    thumb.focus()
    library.keyboard.press("a")
    library.wait_for_function(f"document.querySelector('[name=seed]')?.value === '{seed}'")
    assert library.input_value("#prompt textarea") == PROMPTS[1]
    assert library.input_value("form.settings [name=steps]") == "2"
    opened(library)
    tile(library, PROMPTS[0]).locator(".thumb").focus()
    library.keyboard.press("r")
    library.wait_for_function("document.querySelector('[name=seed]')?.value === ''")
    assert library.input_value("#prompt textarea") == PROMPTS[0]


def test_library_ratings_tags_and_collections_find_their_results(library: Any) -> None:
    library.click(f".library .thumb[title='{PROMPTS[0]}'] >> nth=0")
    library.wait_for_selector("#viewer .stars")
    library.keyboard.press("4")
    library.wait_for_selector("#viewer .stars[data-rating='4']")
    library.click("#viewer .stars [data-rating='5']")
    library.wait_for_selector("#viewer .stars[data-rating='5']")
    for kind, name in (("tag", "sea"), ("collection", "Summer show")):
        library.fill(f"#viewer [data-kind={kind}] input", name)
        library.keyboard.press("Enter")
        library.wait_for_selector(f"#viewer [data-kind={kind}] .label:has-text('{name}')")
    library.click("#viewer [data-do=find-label]:text-is('sea')")
    wait_count(library, 1)
    assert library.input_value(".find [name=text]") == 'tag:"sea"'
    assert library.locator(".library .tile[data-rating='5']").count() == 1
    library.fill(".find [name=text]", "")
    library.select_option(".find [name=collection]", "Summer show")
    wait_count(library, 1)
    library.click("[data-do=rename-collection]")
    library.fill("#rename-collection input", "Winter show")
    library.keyboard.press("Enter")
    library.wait_for_selector(
        ".find [name=collection] option:has-text('Winter show (1)')", state="attached"
    )
    wait_count(library, 1)
    library.click("[data-do=picking]")
    library.click(".library .thumb >> nth=0")
    library.click("[data-do=label-picked]")
    library.fill("#label-picked input >> nth=0", "Winter show")
    library.click("#label-picked .act:text-is('Remove') >> nth=0")
    library.wait_for_function("document.querySelectorAll('.library .tile').length > 1")


def test_library_is_sorted_and_a_search_is_saved_as_a_chip(library: Any) -> None:
    library.select_option(".find [name=sort]", "oldest")
    library.wait_for_function(OLDEST_FIRST)  # the app has results of other files, too
    library.select_option(".find [name=sort]", "rating")
    library.wait_for_selector(".library .day h2", state="detached")
    library.fill(".find [name=text]", "blue boat")
    wait_count(library, 1)
    library.click("[data-do=save-search]")
    library.wait_for_selector("#save-search input")
    assert library.input_value("#save-search input") == "blue boat"
    library.fill("#save-search input", "Mornings")
    library.keyboard.press("Enter")
    chip = ".searches [data-do=use-search]:text-is('Mornings')"
    library.wait_for_selector(f"{chip}[aria-pressed=true]")
    library.click(chip)  # once more: everything
    library.wait_for_function("document.querySelectorAll('.library .tile').length > 1")
    library.reload()
    opened(library)
    library.click(chip)
    wait_count(library, 1)
    assert library.input_value(".find [name=sort]") == "rating"
    library.click(".searches [data-do=remove-search]")
    library.wait_for_selector(chip, state="detached")


def test_library_thumbnails_have_a_size_and_results_and_files_are_dragged(library: Any) -> None:
    slider = ".tile-size input"
    height = "document.querySelector('.library .tile').offsetHeight"
    before = library.evaluate(height)
    library.focus(slider)
    library.keyboard.press("End")
    library.wait_for_function(f"{height} > {before}")
    library.reload()
    opened(library)
    assert library.input_value(slider) == "3"
    url = library.evaluate(
        """() => {
            const dataTransfer = new DataTransfer();
            const event = new DragEvent("dragstart", { bubbles: true, dataTransfer });
            document.querySelector(".library .thumb").dispatchEvent(event);
            return dataTransfer.getData("DownloadURL");
        }"""
    )
    kind, name, address = url.split(":", 2)
    assert (kind, name) == (
        "application/octet-stream",
        library.get_attribute(".library .thumb", "data-name"),
    )
    answer = library.request.get(address)
    assert answer.headers["content-disposition"].startswith("attachment")
    library.evaluate(
        """async (url) => {
            const dataTransfer = new DataTransfer();
            const content = await (await fetch(url)).blob();
            dataTransfer.items.add(new File([content], "kite.png", { type: "image/png" }));
            const target = document.querySelector(".library");
            target.dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer }));
        }""",
        address,
    )
    library.click("#dropped .act:text-is('Apply all')")
    library.wait_for_function("document.querySelector('#prompt textarea').value.startsWith('a ')")
    assert library.is_visible("#prompt textarea")


def test_viewer_delete_can_be_undone(library: Any) -> None:
    before = prompts(library)
    tile(library, PROMPTS[2]).locator(".thumb").click()
    library.wait_for_selector("#viewer .detail")
    library.keyboard.press("Delete")
    library.wait_for_selector(f"#viewer .detail:has-text('{PROMPTS[1]}')")
    assert prompts(library) == before[1:]
    library.click("#toast .act")
    wait_count(library, len(before))
    assert prompts(library) == before
    library.keyboard.press("Escape")
    library.reload()
    assert prompts(opened(library)) == before


def test_library_recently_deleted_restores_a_result_and_confirms_deleting_forever(
    library: Any,
) -> None:
    everything = prompts(library)
    library.click("[data-do=picking]")
    tile(library, PROMPTS[0]).click()
    library.click("[data-do=delete-picked]")
    library.click("[data-do=show-deleted]")
    wait_count(library, 1)
    assert prompts(library) == [PROMPTS[0]]
    library.wait_for_function("document.querySelector('.library .thumb img').naturalWidth > 0")
    tile(library, PROMPTS[0]).click()
    library.click("[data-do=delete-forever-picked]")
    library.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    library.click("[data-do=restore-picked]")
    library.wait_for_selector(".none-deleted")
    library.click("[data-do=show-kept]")
    wait_count(library, len(everything))
    assert prompts(library) == everything


def test_compare_two_images_moves_the_slider(library: Any) -> None:
    for prompt in PROMPTS[:2]:
        tile(library, prompt).locator(".thumb").click(modifiers=["Control"])
    assert library.inner_text(".selection .picked") == "2 selected"
    library.click("[data-do=compare-picked]")
    library.wait_for_function(
        "[...document.querySelectorAll('.pair img')].every((e) => e.naturalWidth > 0)"
    )
    clip = "getComputedStyle(document.querySelector('.pair .layer.b')).clipPath"
    middle = library.evaluate(clip)
    for _ in range(4):
        library.keyboard.press("ArrowRight")
    assert library.evaluate(clip) != middle
    library.keyboard.press("Escape")
    assert library.is_visible(".selection")
    library.keyboard.press("Escape")
    library.wait_for_selector(".selection", state="hidden")


COMPARE_JS = """sizes => {
  const thumbs = sizes.map(([width, height]) => {
    const canvas = Object.assign(document.createElement('canvas'), {width, height});
    canvas.getContext('2d').fillRect(0, 0, width, height);
    const thumb = document.createElement('button');
    Object.assign(thumb.dataset, {src: canvas.toDataURL(), name: `${width} × ${height}`});
    return thumb;
  });
  window.comfy.compare(...thumbs);
}"""
WHOLE_JS = """() => {
  const frame = document.querySelector('.pair').getBoundingClientRect();
  const images = [...document.querySelectorAll('.pair img')];
  return images.every((image) => {
    const box = image.getBoundingClientRect();
    return getComputedStyle(image).objectFit === 'contain' && image.naturalWidth > 0
      && ['left', 'top', 'right', 'bottom'].every((side) => Math.abs(box[side] - frame[side]) < 1);
  }) && frame.left >= 0 && frame.right <= innerWidth
    && frame.top >= 0 && frame.bottom <= innerHeight;
}"""


@pytest.mark.parametrize("size", [support.WIDE, support.PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize(
    "images", [((1280, 1280), (640, 640)), ((832, 1216), (1600, 900))], ids=["sizes", "shapes"]
)
def test_compare_shows_whole_images_in_one_frame(
    used_page: Any, size: dict[str, int], images: tuple[tuple[int, int], ...]
) -> None:
    page = used_page
    page.set_viewport_size(size)
    page.evaluate(COMPARE_JS, images)
    page.wait_for_function("document.querySelectorAll('.pair img').length === 2")
    page.wait_for_function(
        "[...document.querySelectorAll('.pair img')].every((e) => e.naturalWidth > 0)"
    )
    page.wait_for_timeout(100)
    assert page.evaluate(WHOLE_JS)
    frame = page.locator(".pair").bounding_box()
    assert frame["width"] >= 340  # as large as the window allows


def test_library_zip_of_selection_has_the_original_bytes(
    library: Any, painter: Any, tmp_path: Path
) -> None:
    library.click("[data-do=picking]")
    for prompt in PROMPTS[:2]:
        tile(library, prompt).locator(".thumb").click()
    with library.expect_download() as caught:
        library.click("[data-do=zip-picked]")
    caught.value.save_as(tmp_path / "some.zip")
    originals = saved(painter)
    with zipfile.ZipFile(io.BytesIO((tmp_path / "some.zip").read_bytes())) as archive:
        *names, metadata = archive.namelist()
        assert (len(names), metadata) == (2, "comfy-ui.json")
        for name in names:
            assert archive.read(name) == originals[name].read_bytes()


def test_viewer_animate_opens_an_image_to_video_preset(library: Any) -> None:
    tile(library, PROMPTS[0]).locator(".thumb").click()
    library.click("#viewer [data-what=animate]")
    library.wait_for_selector(
        "form.settings [data-upload-kind=image] input[type=hidden][value^='ui-']", state="attached"
    )
    assert "Video" in library.inner_text(".picker > summary")
    assert library.input_value("#prompt textarea") == PROMPTS[0]


def test_library_on_a_phone_does_not_scroll_sideways(
    items: None, person: Callable[..., Any]
) -> None:
    page = opened(person(size=support.PHONE, has_touch=True))
    width = "document.documentElement.scrollWidth"
    assert page.evaluate(width) <= support.PHONE["width"]
    page.tap(".library .thumb >> nth=0")
    page.wait_for_selector("#viewer .detail")
    assert page.evaluate(width) <= support.PHONE["width"]
    box = page.locator("#viewer .detail .act").first.bounding_box()
    assert box["height"] >= 36
    page.click("#viewer .close")
    page.tap("[data-do=picking]")
    page.tap(".library .thumb >> nth=1")
    assert page.inner_text(".selection .picked") == "1 selected"


def test_library_import_counts_first_adds_a_folder_and_undoes_it(
    browser: Any, painter: Any, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    output.mkdir()
    for side in range(20, 32):
        (output / f"old_{side}.png").write_bytes(picture_bytes("PNG", side=side))
    with support.running_app(tmp_path / "data", COMFYUI_URL=painter.url) as url:
        page = support.open_page(browser.new_context(reduced_motion=support.MOTION), url)
        page.get_by_role("tab", name="Library").click()
        page.get_by_role("button", name="Import a folder").click()
        folder = page.get_by_label("Folder on this machine")
        folder.press_sequentially(str(tmp_path / "nowhere"))
        folder.press("Enter")
        page.wait_for_selector("#importing .said:has-text('no folder')")
        assert not page.is_visible("#importing [data-part=start]")
        assert not page.is_visible("#importing [data-part=all]")
        folder.fill(str(output))
        page.get_by_role("button", name="Count files").click()
        page.wait_for_selector("#importing dd:has-text('12')")
        start = page.locator("#importing [data-part=start]")
        assert start.is_disabled()  # none of them has generation metadata
        page.get_by_label("Import files without generation metadata as well").check()
        assert start.inner_text() == "Import 12 files"
        start.click()
        wait_count(page, 12)
        page.wait_for_selector(".library .importing:has-text('12 added')")
        page.wait_for_function(
            "document.querySelector('.library .kept').textContent.endsWith('used')"
        )
        page.get_by_role("button", name="Undo the import of 12 files").click()
        page.wait_for_selector(".library .importing:has-text('12 removed')")
        wait_count(page, 0)
        page.context.close()
