"""From the prompt to the image on Create."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comfy_ui.demo import Faults
from tests.browser import support
from tests.browser.support import choose, generate, set_field, slowly

pytestmark = pytest.mark.browser

DROP_FOLDER_JS = """async (files) => {
  const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 64});
  const picture = await new Promise((done) => canvas.toBlob(done, 'image/png'));
  const isLarge = Object.keys(files).length > 64;  // 2001 files of their own cost a second
  let shared = null;
  const entries = (folder) => {
    const inside = Object.keys(files).filter((path) => path.startsWith(folder));
    const names = new Set(inside.map((path) => path.slice(folder.length).split('/')[0]));
    return [...names].map((name) => entry(folder + name));
  };
  const entry = (path) => {
    const isFile = path in files;
    const about = {isFile, isDirectory: !isFile, fullPath: `/shots/${path}`};
    if (!isFile) return {...about, createReader: () => reader(`${path}/`)};
    const make = () => new File([picture], path.split('/').at(-1), {type: files[path]});
    const file = isLarge ? (shared ??= make()) : make();
    return {...about, file: (done) => done(file)};
  };
  const reader = (folder) => {
    const rest = entries(folder);
    return {readEntries: (done) => done(rest.splice(0, 100))};
  };
  const root = {isDirectory: true, fullPath: '/shots', createReader: () => reader('')};
  const items = [{webkitGetAsEntry: () => root}];
  const dataTransfer = {types: ['Files'], files: [], items};
  const drop = new Event('drop', {bubbles: true, cancelable: true});
  Object.assign(drop, {dataTransfer});
  document.querySelector('form.settings .upload').dispatchEvent(drop);
}"""
"""Drop a folder with files, their types by path, as browsers do: 100 entries at a time."""

WATCH_JS = """() => {
  window.seen = {percent: [], previews: new Set(), phases: []};
  seen.observer = new MutationObserver(() => {
    const stage = document.querySelector('#stage .stage');
    const percent = stage?.querySelector('.percent')?.textContent;
    if (percent) seen.percent.push(parseInt(percent));
    const preview = stage?.querySelector('img.preview')?.src;
    if (preview) seen.previews.add(preview);
    if (stage && seen.phases.at(-1) !== stage.dataset.phase) seen.phases.push(stage.dataset.phase);
  });
  seen.observer.observe(document.querySelector('#stage'),
                        {subtree: true, childList: true, attributes: true, characterData: true});
}"""
SEEN_JS = """() => {
  seen.observer.disconnect();
  return {percent: seen.percent, previews: seen.previews.size, phases: seen.phases};
}"""


def saved(painter: Any) -> dict[str, Path]:
    """The engine's output files by name."""
    return {path.name: path for path in (painter.folder / "output").rglob("*") if path.is_file()}


@pytest.mark.quick
def test_generate_streams_previews_and_downloads_the_original(
    used_page: Any, painter: Any, tmp_path: Path
) -> None:
    page = used_page
    page.evaluate(WATCH_JS)
    page.evaluate(support.SMALL_SIZE_JS)
    set_field(page, "steps", 12)
    page.fill("#prompt textarea", "a quiet harbour at dawn")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".stage.running img.preview")
    assert page.inner_text("#generate") == "Add to queue"
    assert page.is_enabled("#stop")
    page.wait_for_selector(".stage.succeeded img.final[alt='a quiet harbour at dawn']")
    seen = page.evaluate(SEEN_JS)
    assert seen["previews"] >= 3
    assert seen["percent"] == sorted(seen["percent"])
    assert len(set(seen["percent"])) >= 4
    assert "running" in seen["phases"]
    page.wait_for_selector("#results .thumb[title='a quiet harbour at dawn']")
    page.wait_for_function("document.querySelector('#generate').textContent.trim() === 'Generate'")
    assert page.is_disabled("#stop")

    with page.expect_download() as caught:
        page.click("#stage a.act:has-text('Download')")
    download = caught.value
    target = tmp_path / download.suggested_filename
    download.save_as(target)
    assert target.read_bytes() == saved(painter)[download.suggested_filename].read_bytes()
    with Image.open(target) as picture:
        graph = json.loads(picture.text["prompt"])
    assert "a quiet harbour at dawn" in json.dumps(graph)


def test_stage_reload_during_run_shows_the_same_job(used_page: Any, painter: Any) -> None:
    page = used_page
    with slowly(painter, step_s=0.4):  # few previews, but time for a reload
        generate(page, "a long one", steps=20)
        page.wait_for_selector(".stage.running img.preview[src]")
    job = page.get_attribute("#stage .stage", "data-job")
    page.reload()
    page.wait_for_selector(".stage.running img.preview")
    assert page.get_attribute("#stage .stage", "data-job") == job
    assert page.inner_text("#generate") == "Add to queue"
    page.wait_for_selector(".stage.succeeded img.final")
    assert page.get_attribute("#stage .stage", "data-job") == job


def test_stop_cancels_the_running_job(used_page: Any) -> None:
    page = used_page
    generate(page, "a finished one", steps=2)
    page.wait_for_selector("#stage img.final[alt='a finished one']")
    generate(page, "a cancelled one", steps=100)
    page.wait_for_selector(".stage.running img.preview[src]")
    page.click("#stop")
    page.wait_for_selector(".stage.cancelled img.preview[src^='data:image/']")
    assert "Stopped" in page.inner_text("#stage")
    page.wait_for_function("document.querySelector('#generate').textContent.trim() === 'Generate'")
    page.click("#stage [data-do=last-result]")
    page.wait_for_selector("#stage img.final[alt='a finished one']")


def test_stop_keeps_the_preview_on_request_and_gives_the_last_result_back(
    used_page: Any, painter: Any
) -> None:
    page = used_page
    generate(page, "a result before", steps=2)
    page.wait_for_selector("#stage img.final[alt='a result before']")
    with slowly(painter):
        generate(page, "a stopped one", steps=30)
        page.wait_for_function(
            "parseInt(document.querySelector('.stage.running .step')?.textContent.slice(5)) >= 12"
        )
    page.click("#stop")
    page.wait_for_selector(".stage.cancelled:has-text('Stopped at step')")
    page.click("#stage [data-do=keep-preview]")
    page.wait_for_selector("#stage img.final[alt='a stopped one']")
    assert "Preview" in page.inner_text("#stage .status-line")
    page.wait_for_selector("#results .thumb[title='a stopped one'] .badge")


def test_estimate_is_under_the_button_after_the_first_run(used_page: Any) -> None:
    page = used_page
    generate(page, "to learn from", steps=6)
    page.wait_for_selector("#stage img.final[alt='to learn from']")
    page.wait_for_selector("#estimate:has-text('About')")


def test_estimate_follows_the_queue_and_moves_nothing_below(used_page: Any) -> None:
    page = used_page
    remaining_s = iter((40, 5))

    def answer(route: Any) -> None:
        seconds = next(remaining_s, None)
        texts = [] if seconds is None else [f"Starts in about {seconds} s"]
        route.fulfill(json={"texts": texts, "changes": seconds is not None})

    page.wait_for_selector("#estimate", state="attached")
    below = "document.querySelector('#form').getBoundingClientRect().top"
    before = page.evaluate(below)
    page.route("**/create/estimate", answer)
    page.evaluate("window.comfy.estimate()")
    page.wait_for_selector("#estimate:has-text('about 40 s')")
    assert page.evaluate(below) == before
    page.wait_for_selector("#estimate:has-text('about 5 s')")
    page.wait_for_function("!document.querySelector('#estimate').textContent")
    assert page.evaluate(below) == before


def test_shift_x_stops_unless_typing(used_page: Any) -> None:
    page = used_page
    generate(page, "text", steps=100)
    page.wait_for_selector(".stage.running img.preview[src]")
    page.focus("#prompt textarea")
    page.keyboard.press("Shift+X")
    assert page.input_value("#prompt textarea").count("X") == 1
    page.wait_for_timeout(500)
    assert page.get_attribute("#stage .stage", "data-phase") == "running"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Shift+X")
    page.wait_for_selector(".stage.cancelled")


def test_generate_second_job_waits_for_the_first(used_page: Any, painter: Any) -> None:
    page = used_page
    with slowly(painter):
        generate(page, "the first", steps=12)
        page.wait_for_selector(".stage.running img.preview[src]")
    first = page.get_attribute("#stage .stage", "data-job")
    generate(page, "the second", steps=8)
    page.wait_for_selector("#stage :text('1 more waiting')")
    page.wait_for_function(f"document.querySelector('#stage .stage').dataset.job !== '{first}'")
    page.wait_for_selector(".stage.succeeded:has-text('Done')")
    page.wait_for_function("document.querySelector('#generate').textContent.trim() === 'Generate'")
    assert page.locator("#results .thumb").nth(0).get_attribute("title") == "the second"
    assert page.locator("#results .thumb").nth(1).get_attribute("title") == "the first"


def test_generate_video_preset_result_plays(used_page: Any) -> None:
    page = used_page
    page.click(".picker > summary")
    page.click(".option[data-preset=wan21_t2v_1_3b]")
    page.wait_for_selector("form.settings[data-preset=wan21_t2v_1_3b]")
    generate(page, "a paper boat drifts down a gutter", steps=6, frames=9)
    page.wait_for_selector(".stage.succeeded video.final", timeout=60_000)
    page.wait_for_function("document.querySelector('#stage video').readyState >= 2")
    page.wait_for_function("document.querySelector('#stage video').currentTime > 0.1")
    assert page.evaluate("document.querySelector('#stage video').error") is None
    page.wait_for_selector("#results .thumb .badge")


def test_failed_job_shows_hint_and_folded_details_and_retries_once(
    used_page: Any, painter: Any
) -> None:
    page = used_page
    painter.faults = Faults(oom_at="KSampler")
    try:
        generate(page, "too large for it", steps=4, seed=77)
        page.wait_for_selector(".stage.failed")
    finally:
        painter.faults = Faults()
    assert "smaller" in page.inner_text("#stage .hint")
    assert not page.is_visible("#stage pre")
    page.click("#stage details summary")
    assert page.is_visible("#stage pre")
    page.wait_for_function("document.querySelector('#generate').textContent.trim() === 'Generate'")
    page.fill("#prompt textarea", "another thought")
    page.dblclick("#stage [data-do=retry-job]")  # a double click must retry once
    page.wait_for_selector(".stage.succeeded :text('Seed 77')")
    assert page.input_value("#prompt textarea") == "another thought"
    page.get_by_role("tab", name="Queue").click()
    page.wait_for_selector(".queue.idle .line-past .job:has-text('too large for it') .thumb")
    assert page.locator(".line-past .job:has-text('too large for it')").count() == 2


def test_generate_empty_prompt_shows_a_notice(used_page: Any) -> None:
    page = used_page
    page.fill("#prompt textarea", "   ")
    page.click("#generate")
    page.wait_for_selector("#notice :text('Enter a prompt first')")


def test_reuse_buttons_apply_seed_prompt_or_all(used_page: Any) -> None:
    page = used_page
    generate(page, "a fern in ink", steps=5, seed=4242)
    page.wait_for_selector(".stage.succeeded :text('Seed 4242')")
    page.fill("#prompt textarea", "something else")
    page.click("form.settings [data-do=random-seed]")
    assert page.input_value("[name=seed]") == ""
    page.click("form.settings [data-do=last-seed]")
    assert page.input_value("[name=seed]") == "4242"
    page.click("form.settings [data-do=random-seed]")
    set_field(page, "steps", 9)
    page.click("#stage .act:has-text('Seed')")
    page.wait_for_function("document.querySelector('[name=seed]')?.value === '4242'")
    assert page.input_value("[name=steps]") == "9"
    assert page.input_value("#prompt textarea") == "something else"
    page.click("#stage .act:has-text('Prompt')")
    page.wait_for_function("document.querySelector('#prompt textarea')?.value === 'a fern in ink'")
    page.click("#stage .act:has-text('Reuse all')")
    page.wait_for_function("document.querySelector('[name=steps]')?.value === '5'")


def test_result_card_stars_compares_deletes_and_forwards(used_page: Any) -> None:
    page = used_page
    for prompt in ("the rival", "the subject"):
        generate(page, prompt, steps=2, width=256, height=256)
        page.wait_for_selector(f"#stage img.final[alt='{prompt}']")
    number = page.get_attribute("#stage [data-do=star-result]", "data-item")
    page.click("#stage [data-do=star-result]")
    page.wait_for_selector("#stage [data-do=star-result][aria-pressed=true]")
    page.click("#stage [data-do=compare-result]")
    page.click("#results .thumb[title='the rival'] >> nth=0")
    page.wait_for_selector("#compare .about-both:has-text('the subject'):has-text('the rival')")
    page.keyboard.press("Escape")
    page.click("#stage [data-do=delete-result]")
    page.wait_for_selector("#stage img.final[alt='the rival']")
    page.click("#toast .act")
    page.wait_for_selector("#stage img.final[alt='the subject']")
    assert page.get_attribute("#stage [data-do=star-result]", "data-item") == number
    assert page.get_attribute("#stage [data-do=star-result]", "aria-pressed") == "true"
    taken = "form.settings [data-upload-kind=image] input[type=hidden][value^='ui-']"
    page.click("#stage [data-what=animate]")
    page.wait_for_selector(".picker > summary:has-text('Video')")
    page.wait_for_selector(taken, state="attached")


def test_enhance_draft_replaces_the_prompt_only_on_use(used_page: Any) -> None:
    page = used_page
    page.fill("#prompt textarea", "a cat")
    page.click("#enhance")
    page.wait_for_selector("#draft .draft-text")
    assert page.input_value("#prompt textarea") == "a cat"
    draft = page.inner_text("#draft .draft-text")
    assert "a cat" in draft
    assert "rules" in page.inner_text("#draft")
    offered = page.get_attribute("#draft [data-send=use]", "data-prompt")
    page.click("#draft .act:has-text('Retry')")
    page.wait_for_function(
        "(old) => ![undefined, old].includes("
        "document.querySelector('#draft [data-send=use]')?.dataset.prompt)",
        arg=offered,
    )
    page.click("#draft .act:has-text('Discard')")
    page.wait_for_selector("#draft .draft", state="detached")
    assert page.input_value("#prompt textarea") == "a cat"
    page.click("#enhance")
    page.wait_for_selector("#draft .draft-text")
    draft = page.inner_text("#draft .draft-text")
    page.click("#draft .act:has-text('Use')")
    page.wait_for_selector("#draft .draft", state="detached")
    assert page.input_value("#prompt textarea") == draft
    page.focus("#prompt textarea")
    page.keyboard.press("Alt+ArrowUp")
    assert page.input_value("#prompt textarea") == "a cat"


def test_picker_change_keeps_prompt_seed_and_edited_values(used_page: Any) -> None:
    page = used_page
    page.fill("#prompt textarea", "keep me")
    set_field(page, "seed", 77)
    set_field(page, "steps", 13)
    page.click(".picker > summary")
    page.click(".option[data-preset=sdxl]")
    page.wait_for_selector("form.settings[data-preset=sdxl]")
    assert page.input_value("#prompt textarea") == "keep me"
    assert page.input_value("[name=seed]") == "77"
    assert page.input_value("[name=steps]") == "13"
    assert page.input_value("[name=cfg]") != "1"  # not edited: the new preset's default


def test_size_shapes_are_chosen_by_name_and_swapped(used_page: Any) -> None:
    page = used_page
    page.click(".shape:has-text('Landscape')")
    shown = page.inner_text(".size-now")
    wide, high = (int(n) for n in re.findall(r"\d+", shown))
    assert wide > high
    assert page.get_attribute(".shape:has-text('Landscape')", "aria-pressed") == "true"
    page.click("[data-do=swap-size]")
    assert page.inner_text(".size-now") == f"{high} × {wide}"


def test_advanced_filter_shows_matching_fields_only(used_page: Any) -> None:
    page = used_page
    page.click(".advanced summary")
    page.fill(".advanced .filter", "sched")
    shown = page.locator(".advanced .field:visible")
    assert shown.count() == 1
    assert "Scheduler" in shown.inner_text()


def test_number_and_slider_stay_in_sync(used_page: Any) -> None:
    page = used_page
    set_field(page, "steps", 21)
    assert page.input_value("input[data-for=f-steps]") == "21"
    page.locator("input[data-for=f-steps]").fill("30")
    assert page.input_value("[name=steps]") == "30"


def test_ctrl_shift_enter_runs_before_other_waiting_jobs(used_page: Any, painter: Any) -> None:
    page = used_page
    with slowly(painter):
        generate(page, "long", steps=100)
        page.wait_for_selector(".stage.running img.preview[src]")
    for prompt, keys in (
        ("fills the server", "Control+Enter"),
        ("waits", "Control+Enter"),
        ("overtakes", "Control+Shift+Enter"),
    ):
        page.fill("#prompt textarea", prompt)
        set_field(page, "steps", 2)
        page.press("#prompt textarea", keys)
        page.wait_for_timeout(700)
    page.click("#stop")
    page.wait_for_selector("#results .thumb[title='waits']")
    titles = page.eval_on_selector_all("#results .thumb", "all => all.map((e) => e.title)")
    assert titles.index("waits") < titles.index("overtakes")  # newest first


def test_upload_and_use_as_input_run_image_to_image(used_page: Any, tmp_path: Path) -> None:
    page = used_page
    page.click(".picker > summary")
    page.fill(".options .filter", "image to image")
    page.click(".option[data-preset=sdxl_img2img]")
    page.wait_for_selector("form.settings[data-preset=sdxl_img2img]")
    generate(page, "without an image")
    page.wait_for_selector("#notice .notice")
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "teal.png")
    page.set_input_files("#f-image", tmp_path / "teal.png")
    page.wait_for_selector(".upload.filled :text('teal.png')")
    page.wait_for_function("document.querySelector('.upload-face img')?.naturalWidth === 64")
    generate(page, "from an image", steps=3, megapixels=0.25)
    page.wait_for_selector(".stage.succeeded img.final[alt='from an image']")
    page.wait_for_selector("#results .thumb[title='from an image']")
    before = page.input_value("[name=image]")
    page.click("#stage .act:has-text('Use as input')")
    page.wait_for_function(
        "(old) => document.querySelector('[name=image]')?.value !== old", arg=before
    )
    generate(page, "from a result", steps=3, megapixels=0.25)
    page.wait_for_selector("#results .thumb[title='from a result']")


def test_upload_invalid_image_is_refused(used_page: Any, tmp_path: Path) -> None:
    page = used_page
    page.click(".picker > summary")
    page.click(".option[data-preset=sdxl_img2img]")
    page.wait_for_selector("form.settings[data-preset=sdxl_img2img]")
    (tmp_path / "x.png").write_text("<svg onload=alert(1)>")
    page.set_input_files("#f-image", tmp_path / "x.png")
    page.wait_for_selector(".upload.failed :text('image cannot be used')")

    # Several files: a job for each that is one.
    for color in ("teal", "navy"):
        Image.new("RGB", (64, 64), color).save(tmp_path / f"{color}.png")
    page.set_input_files("#f-image", [tmp_path / f"{name}.png" for name in ("x", "teal", "navy")])
    page.wait_for_selector("#toast:has-text('x.png')")
    page.wait_for_selector(".upload.filled.many :text('2 files, a job for each')")
    generate(page, "each of the files", steps=1, megapixels=0.25)
    page.wait_for_selector("#results .thumb[data-name='grid-image.webp']")
    assert page.locator("#results .thumb[title='each of the files']").count() == 3
    page.reload()
    page.wait_for_selector(".upload.filled.many :text('2 files, a job for each')")

    # A dropped folder: its images and those of its folders, by path; a note names the others.
    shots = dict.fromkeys(("10.png", "b/3.png", "2.png"), "image/png")
    page.evaluate(DROP_FOLDER_JS, {**shots, "b/notes.txt": "text/plain", ".hidden": ""})
    page.wait_for_selector("#toast:has-text('Left out: notes.txt')")
    page.wait_for_selector(".upload.filled.many :text('3 files, a job for each')")
    lines = page.input_value("form.settings input[type=hidden][name=image]").splitlines()
    assert [line.partition("\t")[2] for line in lines] == ["2.png", "10.png", "3.png"]
    for count, message in (
        (65, "65 files are too many. A field takes 64 at most."),
        (2001, "The folder has more than 2000 files."),
    ):
        page.evaluate(DROP_FOLDER_JS, {f"{n}.png": "image/png" for n in range(count)})
        page.wait_for_selector(f"#toast:has-text('{message}')")
    page.wait_for_selector(".upload.filled.many :text('3 files, a job for each')")


def test_picker_keyboard_searches_walks_and_picks(used_page: Any) -> None:
    page = used_page
    chosen = page.get_attribute("form.settings", "data-preset")
    page.focus(".picker > summary")
    page.keyboard.press("Enter")
    page.wait_for_selector(".options .filter:focus")
    page.keyboard.type("no such preset")
    assert page.is_visible(".options :text('No preset matches')")
    page.keyboard.press("Escape")
    page.wait_for_selector(".options", state="hidden")
    assert page.evaluate("document.activeElement.matches('.picker > summary')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".options .filter:focus")
    assert page.input_value(".options .filter") == ""
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    options = page.locator(".option")
    assert options.nth(1).evaluate("option => option === document.activeElement")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    page.wait_for_selector(".options .filter:focus")
    page.keyboard.type("sd15")
    page.keyboard.press("Enter")
    page.wait_for_selector("form.settings[data-preset=sd15]")
    assert chosen != "sd15"
    assert not page.is_visible(".options")


def test_picker_filters_and_puts_favorites_first(used_page: Any) -> None:
    page = used_page
    page.click(".picker > summary")
    page.hover(".choice[data-preset-id=sdxl]")
    page.click(".choice[data-preset-id=sdxl] .favorite")
    page.wait_for_selector(".choice[data-preset-id=sdxl] .favorite[aria-pressed=true]")
    page.select_option(".preset-filters [name=kind]", "video")
    assert page.locator(".option:visible").count() > 0
    assert page.locator(".option[data-kind=image]:visible").count() == 0
    page.check(".preset-filters [name=favorite]")
    assert page.is_visible(".options :text('No preset matches')")
    page.reload()
    page.wait_for_selector("form.settings")
    assert page.locator(".option .cover[src]").count() == 0  # no covers before they are shown
    page.click(".picker > summary")
    page.wait_for_selector(".preset-filters [name=favorite]:checked")
    page.click("[data-do=all-presets]")
    page.wait_for_function("document.querySelector('.option .cover').naturalWidth > 0")
    first = "document.querySelector('.options .option').dataset.preset"
    for size in (support.PHONE, support.FULL_HD, support.WIDE):
        page.set_viewport_size(size)
        if not page.is_visible(".options .filter"):
            page.click(".picker > summary")
        page.wait_for_selector("[data-own=favorites] .option[data-preset=sdxl]")
        assert page.evaluate(first) == "sdxl"
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    page.focus(".options .filter")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("document.activeElement.dataset.preset") == "sdxl"
    page.keyboard.press("*")
    page.wait_for_selector(".choice[data-preset-id=sdxl] .favorite[aria-pressed=false]")


def test_own_defaults_fill_the_form_until_they_are_forgotten(used_page: Any) -> None:
    page = used_page
    choose(page, "sd15")
    preset_steps = page.input_value("[name=steps]")
    set_field(page, "steps", 33)
    page.click("[data-do=save-defaults]")
    page.wait_for_selector("#toast:has-text('Saved as your default')")
    for size in (support.PHONE, support.FULL_HD, support.WIDE):
        page.set_viewport_size(size)
        page.click("[data-do=save-defaults]", trial=True)
        page.click("[data-do=forget-defaults]", trial=True)
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
    choose(page, "sdxl")
    assert page.input_value("[name=steps]") != "33"  # they stay with their preset
    choose(page, "sd15")
    page.wait_for_function("document.querySelector('[name=steps]').value === '33'")
    set_field(page, "steps", 12)
    page.click("[data-do=reset-form]")
    page.wait_for_function("document.querySelector('[name=steps]').value === '33'")
    page.click("[data-do=forget-defaults]")
    page.wait_for_function(
        "(steps) => document.querySelector('[name=steps]').value === steps", arg=preset_steps
    )
    page.wait_for_selector("[data-do=forget-defaults]", state="hidden")


def test_picker_and_notice_wrap_long_words(used_page: Any) -> None:
    page = used_page
    page.evaluate("""() => {
      const title = document.querySelector('.picker > summary strong');
      window.shownTitle = title.textContent;
      title.textContent = 'my_long_workflow_'.repeat(12);
      window.comfy.notice(`<div class="notice"><p>${'no/such/folder/'.repeat(20)}</p>
        <details open><summary>Details</summary><pre>${'x'.repeat(400)}</pre></details></div>`);
    }""")
    for inner, outer in (
        (".picker strong", ".picker > summary"),
        (".notice p", ".notice"),
        (".notice pre", ".notice"),
    ):
        part, whole = (page.locator(which).first.bounding_box() for which in (inner, outer))
        assert part["x"] + part["width"] <= whole["x"] + whole["width"], inner
    page.evaluate("""() => {
      document.querySelector('.picker > summary strong').textContent = window.shownTitle;
      window.comfy.notice('');
    }""")


def test_field_help_is_reached_by_keyboard(used_page: Any) -> None:
    page = used_page
    text = page.locator("#h-seed")
    assert text.is_hidden()
    page.focus(".field.seed [data-do=help]")
    page.keyboard.press("Enter")
    assert text.is_visible()
    assert page.get_attribute(".field.seed [data-do=help]", "aria-expanded") == "true"
    page.keyboard.press("Enter")
    assert text.is_hidden()


def test_advanced_stays_open_after_reload_and_another_preset(used_page: Any) -> None:
    page = used_page
    page.click(".advanced summary")
    page.reload()
    page.wait_for_selector(".advanced[open] .filter")
    page.click(".picker > summary")
    page.click(".option[data-preset=sd15]")
    page.wait_for_selector("form.settings[data-preset=sd15] .advanced[open]")
    page.click(".advanced summary")
    page.reload()
    page.wait_for_selector(".advanced:not([open])")
