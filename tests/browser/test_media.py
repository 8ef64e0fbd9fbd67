"""Videos on the page: their form, what can be made of them, and how they are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import Image

from tests.browser.support import MOTION, PHONE, choose, generate

pytestmark = pytest.mark.browser

SMALL = {"width": 256, "height": 256, "steps": 1}


def make(page: Any, prompt: str, result: str, **values: object) -> None:
    """Generate, and wait until the stage shows the result instead of that of another job."""
    before = page.get_attribute("#stage .stage", "data-job") or ""
    generate(page, prompt, **values)
    shown = f"#stage .stage.succeeded:not([data-job='{before}']) {result}"
    page.wait_for_selector(shown, state="attached", timeout=60_000)


def test_form_of_a_video_follows_its_first_image_and_shows_seconds(
    used_page: Any, tmp_path: Path
) -> None:
    page = used_page
    picture = tmp_path / "wide.png"
    Image.new("RGB", (320, 180), "teal").save(picture)
    choose(page, "wan22_flf_14b")
    assert page.inner_text(".seconds") == "5.1 s"
    page.fill("#f-fps", "27")
    assert page.inner_text(".seconds") == "3.0 s"
    page.set_input_files("[data-upload=image]", picture)
    page.wait_for_function("document.querySelector('.size-now').textContent === '832 × 480'")


def test_video_extended_twice_plays_to_its_end(used_page: Any) -> None:
    page = used_page
    choose(page, "wan22_5b")
    make(page, "waves at a pier", "video.final", **SMALL, frames=5, fps=8)
    for seconds in (9 / 8, 13 / 8):
        before = page.get_attribute("#stage video.final", "src")
        page.click("#stage [data-way=extend]")
        page.wait_for_selector(f"#stage video.final:not([src='{before}'])", timeout=60_000)
        page.wait_for_function("document.querySelector('#stage video.final').readyState >= 1")
        length = page.eval_on_selector("#stage video.final", "video => video.duration")
        assert length == pytest.approx(seconds, abs=0.05)
    end = page.eval_on_selector(
        "#stage video.final",
        """async (video) => {
          video.loop = false;
          video.currentTime = 0;
          const ended = new Promise((done) => video.addEventListener("ended", done));
          await video.play();
          await ended;
          return [video.currentTime, video.getVideoPlaybackQuality().corruptedVideoFrames];
        }""",
    )
    assert end == [pytest.approx(13 / 8, abs=0.05), 0]
    page.click("#stage video.final ~ .full-screen")
    page.wait_for_selector("#viewer .relatives:has-text('Made from') .thumb")
    page.click("#viewer [data-what=last-frame]")
    page.wait_for_selector(".upload.filled[data-upload-kind=image] img")


def test_video_is_moved_along_its_strip_and_trimmed(used_page: Any) -> None:
    page = used_page
    choose(page, "wan22_5b")
    make(page, "a river in autumn", "video.final", **SMALL, frames=17, fps=8)
    page.click("#stage .full-screen")
    page.wait_for_selector("#viewer .strip img")
    page.wait_for_function("document.querySelector('#viewer .strip input').max > 2")
    page.eval_on_selector("#viewer video", "video => video.pause()")
    page.focus("#viewer .strip input")
    page.keyboard.press("Home")
    page.keyboard.press("End")
    page.wait_for_function("document.querySelector('#viewer video').currentTime > 2")
    page.wait_for_function("document.querySelector('#viewer .strip img').naturalWidth === 1152")
    strip, viewer = (page.locator(name).bounding_box() for name in ("#viewer .strip", "#viewer"))
    assert strip["y"] + strip["height"] <= viewer["y"] + viewer["height"]  # a square video fits
    page.click("#viewer [data-do=trim]")
    page.wait_for_selector("#trim .act:not([disabled])")
    before = page.get_attribute("#results .thumb", "data-open")
    assert page.inner_text("#trim output") == "0.0 s – 2.1 s (2.1 s)"  # the whole video
    page.fill("#trim input >> nth=0", "0.5")
    page.fill("#trim input >> nth=1", "1.5")
    assert page.inner_text("#trim output") == "0.5 s – 1.5 s (1.0 s)"
    page.route("**/library/trim", lambda _: None)  # no answer yet
    page.click("#trim .act.strong")
    page.wait_for_selector("#trim .meter")
    page.click("#trim .act:has-text('Cancel')")
    page.wait_for_selector("#toast:has-text('Nothing was saved')")
    page.unroute("**/library/trim")
    page.click("#stage [data-do=trim]")
    page.wait_for_selector("#trim .act.strong:not([disabled])")
    page.click("#trim .act.strong")
    page.wait_for_selector(f"#results .thumb >> nth=0 >> :scope:not([data-open='{before}'])")


def test_sound_has_a_waveform_and_repeats(used_page: Any) -> None:
    page = used_page
    choose(page, "stable_audio_open")
    make(page, "calm piano", ".player .bars.played path", duration=3, steps=1)
    assert page.inner_text("#stage .sound-title") == "calm piano"
    page.click("#stage .player [aria-label=Loop]")
    page.focus("#stage .scrubber input")
    page.keyboard.press("End")
    page.click("#stage .player .play")
    sound = "document.querySelector('#stage audio')"
    page.wait_for_function(f"!{sound}.paused && {sound}.currentTime < 1")  # again from the start
    page.evaluate("window.comfy.refreshStage()")
    assert not page.evaluate(f"{sound}.paused")
    page.click("#stage .player [aria-label=Pause]")
    page.set_viewport_size(PHONE)
    page.get_by_role("tab", name="Library").click()
    page.click(".library .thumb[data-kind=audio] >> nth=0")
    page.wait_for_selector("#viewer .bars.played path", state="attached")
    covered = page.evaluate(
        """() => ["#viewer .close", "#viewer .step-back", "#viewer .step-on"].filter((name) => {
          const [a, b] = [name, "#viewer .sounds"].map((one) =>
            document.querySelector(one).getBoundingClientRect());
          const beside = a.right <= b.left || b.right <= a.left;
          const above = a.bottom <= b.top || b.bottom <= a.top;
          return a.width && !beside && !above;
        })"""
    )
    assert covered == []


def test_3d_model_turns_without_webgl_and_without_the_internet(
    used_page: Any, tmp_path: Path
) -> None:
    page = used_page
    page.evaluate(
        """() => {
          const context = HTMLCanvasElement.prototype.getContext;
          window.withWebgl = context;
          HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
            return kind.includes("webgl") ? null : context.call(this, kind, ...more);
          };
        }"""
    )
    page.emulate_media(reduced_motion="no-preference")
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    picture = tmp_path / "fox.png"
    Image.new("RGB", (64, 64), "teal").save(picture)
    choose(page, "hunyuan3d_v2")
    page.set_input_files("[data-upload=image]", picture)
    page.wait_for_selector(".upload.filled[data-upload-kind=image] img")
    page.click("#generate")
    page.wait_for_selector("#stage .turntable.ready", timeout=60_000)
    shown = "document.querySelector('#stage .turntable .views').style.backgroundPosition"
    before = page.evaluate(shown)
    page.wait_for_function(f"{shown} !== '{before}'")  # by itself
    page.focus("#stage .turntable input")
    page.keyboard.press("Home")
    first = page.evaluate(shown)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(shown) != first
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    assert page.evaluate(shown) == first  # it stays where it was put
    page.wait_for_selector("#results .thumb img")  # the poster
    assert hosts <= {urlsplit(page.url).netloc, ""}
    page.emulate_media(reduced_motion=MOTION)
    page.evaluate("() => { HTMLCanvasElement.prototype.getContext = window.withWebgl; }")
