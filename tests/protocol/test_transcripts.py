"""Replay of every recorded WebSocket transcript: final phases and outputs."""

from __future__ import annotations

from itertools import pairwise

import pytest

from comfy_ui.errors import GenerationCancelledError, GenerationFailedError, JobLostError
from comfy_ui.protocol.job import JobState, advance, is_deaf, poll_due
from comfy_ui.protocol.outputs import Outputs
from comfy_ui.protocol.progress import Phase
from comfy_ui.protocol.queue_and_history import read_history
from tests.conftest import PROTOCOL
from tests.protocol import support

S, F, C = Phase.SUCCEEDED, Phase.FAILED, Phase.CANCELLED
SILENT = None  # the recording has no message and no response about its end
DELETED = Phase.LOST  # by another client: nothing refers to the job afterwards

# By file: the final phase of each job posted in it and the names of its outputs.
ENDS: dict[str, list[tuple[Phase | None, list[str]]]] = {
    "ws_01_txt2img_success": [(S, ["t2i_00011_.png"])],
    "ws_02_batch_of_3": [(S, ["t2ib_00007_.png", "t2ib_00008_.png", "t2ib_00009_.png"])],
    "ws_03_cached_rerun_then_changed_seed": [
        (S, ["t2i_00012_.png"]),
        (S, ["t2i_00012_.png"]),
        (S, ["t2i_00013_.png"]),
        (S, ["other_00001_.png"]),
    ],
    "ws_04_execution_error": [(F, ["before_err_00002_.png"]), (F, [])],
    "ws_05_interrupt_running": [
        (C, []),
        (C, []),
        (C, []),
        (S, ["empty_00006_.png"]),
        (C, []),
    ],
    "ws_06_delete_pending": [
        (S, ["slept_00002_.png"]),
        (DELETED, []),
        (S, ["empty_00007_.png"]),
        (S, ["slept_00003_.png"]),
        (DELETED, []),
        (DELETED, []),
    ],
    "ws_07_two_clients": [
        (S, ["t2i_00015_.png"]),
        (S, ["t2i_00016_.png"]),
        (SILENT, []),
        (SILENT, []),
    ],
    "ws_08_reconnect_same_client_id": [
        (S, ["slept_00004_.png"]),
        (S, ["slept_00005_.png"]),
        (S, ["slept_00006_.png"]),
    ],
    "ws_09_second_socket_same_client_id_while_first_open": [
        (S, ["slept_00007_.png"]),
        (SILENT, []),
    ],
    "ws_10_no_websocket_then_poll": [(S, ["slept_00009_.png"])],
    "ws_11_websocket_opened_after_queueing": [(S, ["slept_00010_.png"]), (SILENT, [])],
    "ws_12_feature_flags": [(S, [f"t2i_000{n}_.png"]) for n in (19, 20, 21, 22)],
    # The second and third send pictures over the socket, as frames of type 1 and of type 4.
    "ws_13_binary_types": [
        (S, ["ptext_00002_.png"]),
        (S, ["2_00001_.png", "2_00002_.png"]),
        (S, ["2_00001_.png", "2_00002_.png"]),
    ],
    "ws_14_outputs_of_each_kind": [
        (S, ["batch_00007_.png", "batch_00008_.png", "batch_00009_.png"]),
        (S, []),  # a preview: temp
        (S, ["hello 9801"]),
        (S, ["anim_00003_.webp"]),
        (S, ["apng_00002_.png"]),
        (S, ["lab_00003_.mp4"]),
        (S, ["lab_00003_.webm"]),
        (S, ["lab_00005_.flac"]),
        (S, ["lab_00006_.mp3"]),
        (S, ["lab_00003_.latent"]),
        (S, ["scaled_00001_.png"]),
    ],
    "ws_15_subgraph_expansion": [(S, ["expanded_00003_.png", "after_expand_00003_.png"])],
    "ws_16_order_number_front": [
        (S, [name])
        for name in (
            "slept_00011_.png",
            "empty_00012_.png",
            "empty_00013_.png",
            "empty_00010_.png",
            "empty_00009_.png",
            "empty_00014_.png",
            "empty_00011_.png",
            "slept_00012_.png",
            "empty_00015_.png",
        )
    ],
    "ws_17_status_race": [],
    "ws_18_post_vs_ws_race": [],
    "ws_19_client_that_does_not_read": [(SILENT, []), (S, ["empty_00389_.png"])],
    "ws_20_logs_subscription": [(S, ["empty_00001_.png"])],
}


def names(outputs: Outputs) -> list[str]:
    return [*(file.filename for file in outputs.files), *outputs.texts]


def settle(recording: support.Recording, job: str, expected: Phase | None) -> JobState:
    """Poll for jobs that messages left open, using the recorded history if there is one."""
    state = recording.jobs[job]
    now = 1000.0
    if state.over_at is not None and state.final is None:
        assert poll_due(state, now) == now, "an announced end is polled at once"
    body = {job: recording.histories[job]} if job in recording.histories else {}
    if not body and state.over_at is not None:
        body = support.history_body(
            job=job, outputs=recording.executed_outputs.get(job, {}), prompt=None
        )
    if body:
        state = advance(state, support.ABSENT, now)
        state = advance(state, read_history(body, job), now)
    elif expected is DELETED:
        for late in (0.0, 1.0, 7.0):
            state = advance(state, support.ABSENT, now + late)
            state = advance(state, support.NOT_IN_HISTORY, now + late)
    return state


@pytest.mark.parametrize("name", sorted(ENDS))
def test_recording_replay_ends_as_recorded(name: str) -> None:
    recording = support.Recording(PROTOCOL / f"{name}.json").replay()
    assert len(recording.jobs) == len(ENDS[name])
    for job, (phase, files) in zip(recording.jobs, ENDS[name], strict=True):
        state = settle(recording, job, phase)
        assert state.final == phase
        verdict = state.verdict()
        if phase is S:
            assert isinstance(verdict, Outputs)
            assert names(verdict) == files
            assert state.progress(2000).progress == 100
        else:
            expected_error = {
                F: GenerationFailedError,
                C: GenerationCancelledError,
                DELETED: JobLostError,
                SILENT: type(None),
            }[phase]
            assert isinstance(verdict, expected_error)
            assert names(state.outputs()) == files
            assert state.progress(2000).progress < 100
        assert all(a <= b for a, b in pairwise(recording.percentages[job]))


def test_recordings_are_all_replayed() -> None:
    assert {path.stem for path in support.recordings(PROTOCOL)} == set(ENDS)


def test_recording_instant_jobs_on_live_socket_need_no_poll() -> None:
    recording = support.Recording(PROTOCOL / "ws_16_order_number_front.json").replay()
    assert all(state.final is S and state.polled_at is None for state in recording.jobs.values())


def test_recording_expanding_node_needs_history() -> None:
    recording = support.Recording(PROTOCOL / "ws_15_subgraph_expansion.json").replay()
    (state,) = recording.jobs.values()
    assert state.final is None
    assert state.over_at is not None


def test_recording_previews_of_both_kinds_reach_their_jobs() -> None:
    recording = support.Recording(PROTOCOL / "ws_12_feature_flags.json").replay()
    assert recording.previews == 10
    for state in recording.jobs.values():
        progress = state.progress(0)
        assert progress.preview is not None
        assert progress.preview.startswith(b"\xff\xd8\xff")
        assert progress.preview_type == "image/jpeg"


def test_recording_job_on_silent_socket_receives_nothing() -> None:
    recording = support.Recording(
        PROTOCOL / "ws_09_second_socket_same_client_id_while_first_open.json"
    ).replay()
    state = list(recording.jobs.values())[1]
    assert state.heard_at is None


def test_recording_killed_server_loses_running_and_pending_jobs() -> None:
    recording = support.Recording(PROTOCOL / "server_killed_and_restarted.json").replay()
    running = recording.jobs["0e018fcc-1c29-41be-87ba-99a87e403e33"]
    pending = recording.jobs["de8b8fdb-5477-4af4-a58d-a952e6a1cf2e"]
    assert running.running
    assert not pending.running
    for state in (running, pending):
        assert state.final is None
        for late in (0.0, 3.0, 7.0):
            state = support.feed(  # noqa: PLW2901 -- the job moves on
                state, support.ABSENT, support.NOT_IN_HISTORY, now=100 + late
            )
        assert isinstance(state.verdict(), JobLostError)
        assert not is_deaf(state, 200)
