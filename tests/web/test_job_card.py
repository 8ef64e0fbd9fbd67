from __future__ import annotations

import dataclasses
import doctest
from pathlib import Path

import pytest

from comfy_ui.storage.records import JobError, Phase, Snapshot
from comfy_ui.web.components import job_card
from comfy_ui.web.components.thumbnails import gallery
from tests.web.support import Page, item

RUNNING = Snapshot(
    job_id="j",
    phase=Phase.RUNNING,
    progress=41.6,
    step=10,
    steps=24,
    eta_s=6.2,
    preview=b"\xff\xd8",
)


def test_job_card_doctests_pass() -> None:
    assert doctest.testmod(job_card).failed == 0


def test_job_card_differs_in_text_and_class_for_each_phase() -> None:
    pages = {
        phase: Page(
            job_card.job_card(Snapshot(job_id="j", phase=phase, error=JobError("why", "do")))
        )
        for phase in Phase
    }
    assert (
        len({page.text for page in pages.values()}) >= len(Phase) - 1
    )  # failed and lost: same words
    assert len({page.elements[0][1]["class"] for page in pages.values()}) == len(Phase)


def test_job_card_of_a_running_job_shows_step_percentage_time_and_preview() -> None:
    page = Page(job_card.job_card(RUNNING, ratio=1.5))
    assert "Step 10 of 24" in page.text
    assert "7 s left" in page.text
    assert "41%" in page.text
    assert page.all("img")[0]["src"] == "data:image/jpeg;base64,/9g="
    assert page.all(role="progressbar")[0]["aria-valuenow"] == "42"
    assert page.elements[0][1]["data-job"] == "j"


def test_job_card_of_a_stopped_job_without_preview_shows_a_message() -> None:
    stopped = Snapshot(job_id="j", phase=Phase.CANCELLED)
    page = Page(job_card.job_card(stopped))
    assert "Stopped before anything was saved" in page.text
    assert page.all(role="progressbar") == []


def test_job_card_of_a_stopped_job_keeps_the_preview_and_offers_the_last_result() -> None:
    stopped = Snapshot(job_id="j", phase=Phase.CANCELLED, preview=RUNNING.preview)
    for has_results in (False, True):
        page = Page(job_card.job_card(stopped, has_results=has_results))
        assert len(page.all("img")) == 1
        assert "Stopped" in page.text
        assert len(page.all("button", data_do="last-result")) == has_results


def test_job_card_announces_phases_and_quarters_only() -> None:
    def spoken(progress: float) -> str:
        html = job_card.job_card(dataclasses.replace(RUNNING, progress=progress))
        return html.split('role="status">')[1].split("<")[0]

    assert spoken(26) == spoken(49) == "Drawing, 25 percent"
    assert spoken(50) == "Drawing, 50 percent"


def test_job_card_of_a_queued_job_shows_its_position() -> None:
    queued = Snapshot(
        job_id="j",
        phase=Phase.QUEUED,
        queue_position=2,
        queue_size=5,
        queue_own=1,
        others_own=3,
    )
    page = Page(job_card.job_card(queued))
    assert "2 of 5, 1 yours" in page.text
    assert "3 more waiting" in page.text
    assert "%" not in page.text


def test_error_card_shows_message_and_hint_and_folds_the_details() -> None:
    error = JobError("KSampler: <script>x</script>", "Use a smaller size.", "Traceback …")
    page = Page(job_card.error_card(error))
    assert not page.all("script")
    assert "KSampler: <script>x</script>" in page.text
    assert "Use a smaller size." in page.text
    assert page.all("details")
    assert "open" not in page.all("details")[0]
    assert page.all(role="alert")


def test_error_card_offers_a_retry_for_jobs_only() -> None:
    assert 'data-do="retry-job"' in job_card.error_card(JobError("x"), job_id="j")
    assert 'data-do="retry-job"' not in job_card.error_card(JobError("x"))


def test_error_card_without_details_has_no_fold() -> None:
    assert not Page(job_card.error_card(JobError("x"))).all("details")


@pytest.mark.parametrize(
    ("kind", "shown"),
    [
        ("image", {"tag": "img", "src": "files/7"}),
        ("video", {"tag": "video", "src": "files/7"}),
        ("audio", {"tag": "div", "data_sound": "7"}),
    ],
)
def test_result_card_shows_each_kind_and_downloads_the_original(
    kind: str, shown: dict[str, str]
) -> None:
    page = Page(job_card.result_card([item(kind=kind, filename="a b.png")]))
    assert page.all(**shown)
    (link,) = page.all("a")
    assert link["href"] == "files/7?download"
    assert link["download"] == "a b.png"


def test_result_card_offers_only_what_the_result_has() -> None:
    def offered(*ways: str, **changes: object) -> set[str | None]:
        page = Page(job_card.result_card([item(**changes)], ways=ways))
        return {a["data-what"] for a in page.all("button", data_send="recall")}

    assert offered("input", "upscale") == {"all", "seed", "prompt", "input", "upscale"}
    assert offered(seed=None, prompt="", kind="video") == {"all"}


def test_gallery_shows_thumbnails_and_no_originals() -> None:
    page = Page(gallery([item(id=3), item(id=2, thumbnail=None, kind="audio")]))
    assert [a["src"] for a in page.all("img")] == ["thumbs/3"]
    assert [a["data-open"] for a in page.all("button")] == ["3", "2"]


def test_gallery_shows_a_count_only_if_it_is_complete() -> None:
    results = [item(id=3), item(id=2)]
    assert Page(gallery(results)).text.startswith("Results2")
    page = Page(gallery(results, more=True))
    assert page.text.startswith("ResultsShow all")
    assert page.all("button", data_do="to-library")


def test_result_card_of_several_results_names_its_neighbors() -> None:
    results = [item(id=number) for number in (9, 8, 7)]
    page = Page(job_card.result_card(results, index=2))
    assert "3 of 3" in page.text
    assert page.all("img")[0]["src"] == "files/7"
    (canvas,) = page.all("div", data_shown="7")
    assert canvas["data-batch"] == "9 8 7"
    assert page.all("button", data_do="show-batch")
    assert not Page(job_card.result_card(results[:1])).all("button", data_do="show-batch")


def test_batch_card_shows_thumbnails_and_actions_on_all() -> None:
    results = [item(id=number, starred=True) for number in (9, 8, 7, 6)]
    page = Page(job_card.batch_card(results))
    assert [button["data-open"] for button in page.all("button", class_="thumb cell")] == [
        "9", "8", "7", "6",
    ]  # fmt: skip
    assert [image["src"] for image in page.all("img")] == [f"thumbs/{n}" for n in (9, 8, 7, 6)]
    assert page.all("a")[0]["href"] == "library/zip?ids=9,8,7,6"
    assert page.all("button", data_do="star-batch")[0]["aria-pressed"] == "true"
    assert not page.all("button", data_do="compare-batch")
    assert Page(job_card.batch_card(results[:2])).all("button", data_do="compare-batch")


def test_gallery_and_result_card_escape_hostile_names() -> None:
    evil = '"><img src=x onerror=alert(1)>'
    page = Page(
        gallery([item(prompt=evil, filename=evil)])
        + job_card.result_card([item(prompt=evil, filename=evil)])
    )
    assert not [a for a in page.all("img") if "onerror" in a]


def test_empty_card_offers_three_examples() -> None:
    page = Page(job_card.empty_card(["one", "two", "three", "four"]))
    assert [a["data-prompt"] for a in page.all("button")] == ["one", "two", "three"]
    assert gallery([]) == ""
    assert "Generate" in page.text


def test_texts_card_escapes_texts() -> None:
    assert "a <b>" in Page(job_card.texts_card(["a <b>"], job_id="j")).text


def test_result_card_of_an_unknown_kind_shows_the_file_name() -> None:
    page = Page(job_card.result_card([item(kind="file", path=Path("gone"), filename="x.glb")]))
    assert "x.glb" in page.text


def test_job_card_of_a_waiting_job_says_when_it_starts() -> None:
    queued = Snapshot(
        job_id="j", phase=Phase.QUEUED, queue_position=2, queue_size=5, starts_in_s=105.0
    )
    assert "Starts in about 2 min" in Page(job_card.job_card(queued)).text
    unknown = dataclasses.replace(queued, starts_in_s=None)
    assert "Starts" not in Page(job_card.job_card(unknown)).text


def test_job_card_of_a_loop_shows_its_pass_and_the_text_of_the_node() -> None:
    looping = dataclasses.replace(RUNNING, iteration=3, iterations=8, text="<b>12 splats</b>")
    page = Page(job_card.job_card(looping))
    assert "Pass 3 of 8" in page.text
    assert "<b>12 splats</b>" in page.text, "escaped"


def test_job_card_of_a_loading_model_shows_the_remaining_time() -> None:
    loading = dataclasses.replace(RUNNING, phase=Phase.LOADING, eta_s=100.0)
    assert "2 min left" in Page(job_card.job_card(loading)).text


@pytest.mark.parametrize(
    ("step", "steps", "kept"), [(12, 24, True), (2, 24, False), (None, None, False)]
)
def test_job_card_of_a_stopped_job_offers_to_keep_a_preview_of_later_steps(
    step: int | None, steps: int | None, kept: bool
) -> None:
    stopped = dataclasses.replace(RUNNING, phase=Phase.CANCELLED, step=step, steps=steps)
    page = Page(job_card.job_card(stopped))
    assert bool(page.all("button", data_do="keep-preview")) is kept
    assert ("Stopped at step 12" in page.text) is (step == 12)
