"""Rules of the job state machine one by one; test_job_machine.py combines them."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from comfy_ui.errors import (
    GenerationCancelledError,
    GenerationFailedError,
    JobLostError,
    OutOfMemoryError,
)
from comfy_ui.protocol.frames import parse_binary, parse_text
from comfy_ui.protocol.job import (
    GRACE_S,
    CancelRequested,
    CancelSent,
    ConnectionLost,
    ConnectionRegained,
    Event,
    JobState,
    PollFailed,
    PostAccepted,
    Resubmitted,
    advance,
    cancel_due,
    is_deaf,
    new_job,
    poll_due,
)
from comfy_ui.protocol.job_state import is_out_of_memory
from comfy_ui.protocol.messages import ExecutionError
from comfy_ui.protocol.outputs import Outputs
from comfy_ui.protocol.polling import WATCHDOG_S
from comfy_ui.protocol.progress import Phase
from comfy_ui.protocol.queue_and_history import read_history
from tests.protocol import support
from tests.protocol.support import (
    ABSENT,
    FILE,
    JOB,
    NOT_IN_HISTORY,
    PENDING,
    RUNNING,
    feed,
    message_of,
)

GONE = (ABSENT, NOT_IN_HISTORY)


def job(*, listening: bool = True, accepted: bool = True, **options: Any) -> JobState:
    options.setdefault("graph", support.GRAPH)
    return new_job(JOB, now=0.0, listening=listening, accepted=accepted, **options)


def absent_until(state: JobState, *times: float) -> JobState:
    for now in times:
        state = feed(state, *GONE, now=now)
    return state


def filenames(state: JobState) -> list[str]:
    verdict = state.verdict()
    assert isinstance(verdict, Outputs)
    return [file.filename for file in verdict.files]


# ---- ends ------------------------------------------------------------------------------------


def test_advance_complete_run_succeeds_with_files_without_poll() -> None:
    state = feed(job(), *support.run_frames(), now=1.0, pause=0.01)
    assert state.final is Phase.SUCCEEDED
    assert filenames(state) == [FILE["filename"]]
    assert state.polled_at is None
    assert poll_due(state, 99.0) == math.inf
    assert state.progress(99.0).progress == 100


def test_advance_success_with_missing_outputs_waits_for_history() -> None:
    frames = [frame for frame in support.run_frames() if '"executed"' not in frame]
    state = feed(job(), *frames, now=1.0)
    assert state.final is None
    assert poll_due(state, 1.0) == 1.0
    assert not state.needs_queue
    state = feed(state, NOT_IN_HISTORY, support.history(), now=1.1)
    assert filenames(state) == [FILE["filename"]]


def test_advance_outputs_after_success_message_complete_job() -> None:
    frames = support.run_frames()
    output_frames = [frame for frame in frames if '"executed"' in frame and '"output"' in frame]
    others = [frame for frame in frames if frame not in output_frames]
    assert feed(job(), *others, *output_frames, now=1.0).final is Phase.SUCCEEDED


def test_advance_after_connection_loss_takes_files_from_history() -> None:
    state = feed(job(), ConnectionLost(), ConnectionRegained(listening=True), now=0.5)
    state = feed(state, *support.run_frames(), now=1.0)
    assert state.final is None
    more = {"filename": "y.png", "subfolder": "", "type": "output"}
    state = feed(state, support.history(outputs={"9": {"images": [FILE, more]}}), now=1.1)
    assert filenames(state) == [FILE["filename"], "y.png"]


def test_advance_save_node_inside_graph_is_awaited() -> None:
    graph = {**support.GRAPH, "10": {"class_type": "Ending", "inputs": {"images": ["9", 0]}}}
    frames = [
        support.executed(node="10", output={"text": ["done"]}),
        message_of("execution_success"),
    ]
    assert feed(job(graph=graph), *frames, now=1.0).final is None
    assert feed(job(graph=graph), support.executed(), *frames, now=1.0).final is Phase.SUCCEEDED


def test_advance_success_without_graph_waits_for_history() -> None:
    assert feed(job(graph=None), *support.run_frames(), now=1.0).final is None


def test_verdict_execution_error_has_node_exception_and_traceback() -> None:
    state = feed(job(), *support.run_frames(end="execution_error"), now=1.0)
    error = state.verdict()
    assert isinstance(error, GenerationFailedError)
    assert error.message == "VAEDecode: boom"
    assert (error.prompt_id, error.node_id, error.node_type) == (JOB, "8", "VAEDecode")
    assert (error.exception_type, error.traceback) == ("ValueError", ("line 1", "line 2"))
    assert error.hint
    assert not error.retryable


def test_verdict_execution_error_uses_node_title() -> None:
    failure = message_of(
        "execution_error", node_id="3", node_type="KSampler", exception_message=" bad \n"
    )
    error = feed(job(), failure, now=1.0).verdict()
    assert isinstance(error, GenerationFailedError)
    assert error.node_title == "Paint it"
    assert error.message == "Paint it: bad"


def test_verdict_execution_error_without_message_has_default_text() -> None:
    error = feed(job(), message_of("execution_error"), now=1.0).verdict()
    assert isinstance(error, GenerationFailedError)
    assert error.message == "ComfyUI: the run failed without a message."


def test_outputs_of_failed_job_keep_finished_files() -> None:
    state = feed(
        job(listening=False),
        ABSENT,
        support.history("execution_error", outputs={"9": {"images": [FILE]}}),
        now=1.0,
    )
    assert state.final is Phase.FAILED
    assert [file.filename for file in state.outputs().files] == [FILE["filename"]]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory."),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 1 GB)"),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
        ("MemoryError", ""),
    ],
)
def test_verdict_out_of_memory_is_out_of_memory_error(kind: str, text: str) -> None:
    message = message_of(
        "execution_error", node_id="3", exception_type=kind, exception_message=text
    )
    error = feed(job(), message, now=1.0).verdict()
    assert isinstance(error, OutOfMemoryError)
    assert "smaller" in error.hint


def test_verdict_full_disk_at_server_has_its_own_hint() -> None:
    text = "[Errno 28] No space left on device: 'output/a.png'"
    message = message_of("execution_error", node_id="9", exception_message=text)
    error = feed(job(), message, now=1.0).verdict()
    assert isinstance(error, GenerationFailedError)
    assert "disk of the ComfyUI server is full" in error.hint


def test_is_out_of_memory_other_error_is_false() -> None:
    assert not is_out_of_memory(ExecutionError(JOB, exception_message="memory of a fox"))


def test_verdict_unrequested_interruption_is_cancelled() -> None:
    state = feed(job(), *support.run_frames(end="execution_interrupted"), now=1.0)
    error = state.verdict()
    assert state.final is Phase.CANCELLED
    assert isinstance(error, GenerationCancelledError)
    assert "interrupted at the server" in error.message


@pytest.mark.parametrize(
    ("end", "final"),
    [
        ("execution_success", Phase.SUCCEEDED),
        ("execution_error", Phase.FAILED),
        ("execution_interrupted", Phase.CANCELLED),
    ],
)
def test_advance_history_alone_decides_final_phase(end: str, final: Phase) -> None:
    assert feed(job(listening=False), ABSENT, support.history(end), now=1.0).final is final


def test_advance_executing_null_node_waits_for_history() -> None:
    state = feed(job(), message_of("executing", node=None), now=1.0)
    assert state.final is None
    assert poll_due(state, 1.0) == 1.0
    assert feed(state, support.history("execution_error"), now=1.1).final is Phase.FAILED


@pytest.mark.parametrize(
    "first",
    [
        message_of("execution_error"),
        message_of("execution_interrupted"),
        support.history(),
        support.history("execution_error"),
    ],
)
def test_advance_final_job_ignores_all_events(first: Event) -> None:
    ended = feed(job(listening=False), first, now=1.0)
    assert ended.final is not None
    events: list[Event | str] = [
        *support.run_frames(),
        *support.run_frames(end="execution_error"),
        RUNNING,
        *GONE,
        support.history("execution_interrupted"),
        CancelRequested(),
        CancelSent(),
        ConnectionLost(),
        ConnectionRegained(),
        PollFailed(),
        Resubmitted(),
        PostAccepted(),
    ]
    assert feed(ended, *events, now=2.0) is ended


def test_advance_messages_of_other_jobs_change_nothing() -> None:
    state = job()
    frames = support.run_frames(job=support.OTHER)
    assert feed(state, *frames, now=1.0) is state


def test_verdict_of_unfinished_job_is_none() -> None:
    assert job().verdict() is None


def test_verdict_temporary_files_need_include_temp() -> None:
    preview = {"9": {"images": [{**FILE, "type": "temp"}]}}
    state = feed(job(listening=False), ABSENT, support.history(outputs=preview), now=1.0)
    assert filenames(state) == []
    with_temp = state.verdict(include_temp=True)
    assert isinstance(with_temp, Outputs)
    assert len(with_temp.files) == 1


def test_verdict_files_follow_graph_order() -> None:
    graph = {
        **support.GRAPH,
        "2": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
    }
    late = support.executed(node="9", output={"images": [{**FILE, "filename": "nine.png"}]})
    early = support.executed(node="2", output={"images": [{**FILE, "filename": "two.png"}]})
    state = feed(job(graph=graph), early, late, message_of("execution_success"), now=1.0)
    assert filenames(state) == ["nine.png", "two.png"]


# ---- absence ---------------------------------------------------------------------------------


def test_advance_job_absent_after_grace_and_second_poll_is_lost() -> None:
    state = absent_until(feed(job(listening=False), RUNNING, now=1.0), 2.0)
    assert state.final is None
    assert absent_until(state, 2.0 + GRACE_S - 0.1).final is None
    lost = absent_until(state, 2.0 + GRACE_S)
    assert lost.final is Phase.LOST
    error = lost.verdict()
    assert isinstance(error, JobLostError)
    assert error.retryable
    assert "restarted" in error.message


def test_advance_single_absence_never_loses_job() -> None:
    assert absent_until(job(listening=False), 1e6).final is None


def test_advance_late_history_entry_within_grace_succeeds() -> None:
    state = absent_until(feed(job(listening=False), RUNNING, now=1.0), 1.1, 2.0, 4.0, 6.0)
    assert feed(state, ABSENT, support.history(), now=6.1).final is Phase.SUCCEEDED


def test_advance_absence_needs_queue_and_history_poll() -> None:
    state = feed(job(listening=False), *GONE, now=1.0)
    for now in range(2, 30):
        state = feed(state, NOT_IN_HISTORY, now=now)
    assert (state.final, state.absences) == (None, 1)


def test_advance_empty_history_alone_is_no_absence() -> None:
    state = job(listening=False)
    for now in range(100):
        state = feed(state, NOT_IN_HISTORY, now=now)
    assert state.final is None
    assert state.absences == 0


@pytest.mark.parametrize("trace", [RUNNING, PENDING, message_of("execution_start"), PostAccepted()])
def test_advance_sign_of_job_resets_absences(trace: Event) -> None:
    state = feed(absent_until(job(listening=False), 1.0, 2.0), trace, now=3.0)
    assert absent_until(state, 8.0).final is None
    assert state.absences == 0


def test_advance_message_between_queue_and_history_voids_absence() -> None:
    state = feed(job(), ABSENT, message_of("execution_start"), NOT_IN_HISTORY, now=1.0)
    assert state.absences == 0


def test_advance_success_without_history_is_lost_with_output_folder_hint() -> None:
    state = feed(job(), message_of("execution_success"), now=1.0)
    lost = absent_until(state, 1.1, 1.1 + GRACE_S)
    error = lost.verdict()
    assert isinstance(error, JobLostError)
    assert "output folder" in error.hint
    assert lost.progress(20.0).progress < 100


def test_advance_success_without_history_is_lost_despite_cancel() -> None:
    state = feed(job(), message_of("execution_success"), CancelRequested(), CancelSent(), now=1.0)
    assert absent_until(state, 1.1, 1.1 + GRACE_S).final is Phase.LOST


def test_advance_end_missing_from_history_needs_queue_again() -> None:
    state = feed(job(), message_of("executing", node=None), NOT_IN_HISTORY, now=1.0)
    assert state.needs_queue
    state = feed(state, RUNNING, now=9.0)
    assert (state.final, state.absences) == (None, 0)


# ---- posting ---------------------------------------------------------------------------------


def test_may_resubmit_unanswered_post_after_absence_is_true_once() -> None:
    state = absent_until(job(listening=False, accepted=False), 1.0, 2.0)
    assert not state.may_resubmit
    state = absent_until(state, 3.0)
    assert state.may_resubmit
    again = feed(state, Resubmitted(), now=3.1)
    assert not again.may_resubmit
    assert absent_until(again, 3.1 + GRACE_S - 0.1).final is None


@pytest.mark.parametrize("trace", [RUNNING, PENDING, message_of("execution_start"), PostAccepted()])
def test_may_resubmit_accepted_post_is_false(trace: Event) -> None:
    state = feed(job(accepted=False), trace, now=0.5)
    assert state.accepted
    assert not absent_until(state, 1.0, 4.0).may_resubmit


def test_verdict_post_never_arrived_is_lost_with_message() -> None:
    lost = absent_until(job(accepted=False), 1.0, 1.0 + GRACE_S)
    error = lost.verdict()
    assert isinstance(error, JobLostError)
    assert "no trace" in error.message
    assert not lost.may_resubmit


def test_advance_messages_before_post_response_are_applied() -> None:
    state = feed(job(accepted=False), *support.run_frames(), now=1.0)
    assert state.final is Phase.SUCCEEDED


# ---- cancelling ------------------------------------------------------------------------------


def test_cancel_due_repeats_until_job_ends() -> None:
    state = feed(job(), message_of("execution_start"), now=1.0)
    assert cancel_due(state) == math.inf
    state = feed(state, CancelRequested(), now=2.0)
    assert state.phase is Phase.CANCELLING
    assert cancel_due(state) == 2.0
    state = feed(state, CancelSent(), now=2.1)
    assert cancel_due(state) == pytest.approx(3.1)
    state = feed(state, CancelSent(), CancelRequested(), now=3.1)
    assert cancel_due(state) == pytest.approx(4.1)
    ended = feed(state, message_of("execution_interrupted"), now=4.2)
    assert cancel_due(ended) == math.inf
    error = ended.verdict()
    assert isinstance(error, GenerationCancelledError)
    assert error.message == "The job was cancelled."


def test_advance_second_cancel_request_changes_nothing() -> None:
    state = feed(job(), CancelRequested(), now=1.0)
    assert feed(state, CancelRequested(), now=2.0) is state


def test_advance_job_finished_before_cancellation_succeeds() -> None:
    state = feed(job(), CancelRequested(), CancelSent(), *support.run_frames(), now=1.0)
    assert state.final is Phase.SUCCEEDED


def test_advance_cancelled_pending_job_ends_after_short_absence() -> None:
    state = feed(feed(job(), PENDING, now=0.9), CancelRequested(), CancelSent(), now=1.0)
    assert poll_due(state, 1.0) == 1.0
    state = absent_until(state, 1.1, 1.4)
    assert state.final is Phase.CANCELLED


def test_advance_cancelled_running_job_gets_full_grace() -> None:
    state = feed(job(), RUNNING, CancelRequested(), CancelSent(), now=1.0)
    state = absent_until(state, 1.1, 1.4)
    assert state.final is None
    assert absent_until(state, 1.1 + GRACE_S).final is Phase.CANCELLED


def test_advance_absence_before_cancel_sent_is_no_cancellation() -> None:
    state = feed(job(), PENDING, CancelRequested(), now=1.0)
    assert absent_until(state, 1.1, 1.4).final is None


# ---- phases and progress ---------------------------------------------------------------------


def test_phase_follows_messages_of_run() -> None:
    state = job()
    seen = [state.phase]
    for message in support.run_frames():
        state = feed(state, message, now=1.0)
        if state.phase is not seen[-1]:
            seen.append(state.phase)
    assert seen == [
        Phase.QUEUED,
        Phase.RUNNING,
        Phase.LOADING,
        Phase.RUNNING,
        Phase.SAVING,
        Phase.SUCCEEDED,
    ]


def test_progress_queue_position_is_cleared_when_job_runs() -> None:
    progress = feed(job(), PENDING, now=1.0).progress(1.0)
    assert (progress.queue_position, progress.queue_size) == (2, 3)
    progress = feed(job(), PENDING, message_of("execution_start"), now=1.0).progress(1.0)
    assert (progress.queue_position, progress.queue_size) == (None, None)


def test_advance_stale_queue_answer_keeps_job_running() -> None:
    assert feed(job(), message_of("execution_start"), PENDING, now=1.0).phase is Phase.RUNNING


def test_phase_reconnecting_lasts_until_next_event() -> None:
    lost = feed(job(), message_of("execution_start"), ConnectionLost(), now=1.0)
    assert lost.phase is Phase.RECONNECTING
    assert feed(lost, RUNNING, now=1.1).phase is Phase.RUNNING
    assert feed(lost, ConnectionRegained(), now=1.1).phase is Phase.RUNNING
    failed = feed(lost, PollFailed(), now=1.1)
    assert failed.phase is Phase.RECONNECTING
    assert feed(failed, message_of("executing", node="3"), now=1.2).phase is Phase.RUNNING


def test_phase_while_server_is_silent_stays_the_same() -> None:
    running = feed(job(), message_of("execution_start"), now=1.0)
    silent = feed(running, PollFailed(silent=True), ConnectionLost(silent=True), now=100.0)
    assert silent.phase is Phase.RUNNING
    assert poll_due(silent, 100.0) < 101.0
    assert feed(silent, PollFailed(), now=102.0).phase is Phase.RECONNECTING
    assert feed(job(), PENDING, PollFailed(silent=True), now=1.0).phase is Phase.QUEUED
    lost = feed(running, ConnectionLost(), PollFailed(silent=True), now=1.1)
    assert lost.phase is Phase.RECONNECTING


def test_progress_elapsed_runs_from_start_to_end_of_run() -> None:
    state = job()
    assert state.progress(50.0).elapsed_s == 0
    state = feed(state, message_of("execution_start"), now=100.0)
    assert state.progress(103.0).elapsed_s == 3.0
    ended = feed(state, message_of("execution_error"), now=105.0)
    assert ended.progress(999.0).elapsed_s == 5.0
    assert ended.seconds() == 5.0


def test_seconds_prefers_server_timestamps() -> None:
    state = feed(job(listening=False), ABSENT, support.history(), now=99.0)
    assert state.seconds() == 2.5
    assert job().seconds() is None


def test_progress_elapsed_of_polled_job_starts_when_seen_running() -> None:
    state = feed(job(listening=False), PENDING, now=1.0)
    state = feed(state, RUNNING, now=5.0)
    assert state.progress(7.0).elapsed_s == 2.0


PREVIEW = parse_binary(struct.pack(">II", 1, 1) + b"\xff\xd8anonymous")


def test_advance_anonymous_preview_belongs_to_running_job() -> None:
    waiting = feed(job(), PREVIEW, now=1.0)
    assert waiting.progress(1.0).preview is None
    running = feed(job(), message_of("execution_start"), PREVIEW, now=1.0)
    assert running.progress(1.0).preview == b"\xff\xd8anonymous"
    over = feed(
        job(), message_of("execution_start"), message_of("executing", node=None), PREVIEW, now=1.0
    )
    assert over.progress(1.0).preview is None


def test_advance_newest_preview_replaces_older() -> None:
    header = b'{"prompt_id": "%s", "node_id": "3", "image_type": "image/png"}' % JOB.encode()
    named = parse_binary(struct.pack(">II", 4, len(header)) + header + b"named")
    progress = feed(job(), message_of("execution_start"), PREVIEW, named, now=1.0).progress(1.0)
    assert (progress.preview, progress.preview_type) == (b"named", "image/png")


def test_advance_anonymous_preview_is_no_sign_of_job() -> None:
    """Previews of other jobs must not keep a lost job alive."""
    state = feed(job(), message_of("execution_start"), ConnectionLost(), now=1.0)
    for now in range(2, 20):
        state = feed(state, PREVIEW, *GONE, PREVIEW, now=float(now))
    assert state.final is Phase.LOST


def test_advance_anonymous_executing_applies_to_running_job_only() -> None:
    anonymous = message_of("executing", job=None, node="3")
    assert feed(job(), anonymous, now=1.0).progress(1.0).node is None
    progress = feed(job(), RUNNING, anonymous, now=1.0).progress(1.0)
    assert (progress.node, progress.node_title) == ("3", "Paint it")


def test_advance_anonymous_end_is_ignored() -> None:
    state = feed(
        job(), message_of("execution_start"), message_of("executing", job=None, node=None), now=1.0
    )
    assert state.over_at is None


def test_advance_job_without_graph_takes_it_from_queue() -> None:
    state = new_job(JOB, now=0.0, accepted=True)
    state = feed(state, RUNNING, message_of("executing", node="3"), now=1.0)
    assert state.progress(1.0).node_title == "Paint it"


def test_cached_after_fully_cached_run_is_true() -> None:
    frames = support.run_frames(cached=tuple(support.ORDER))
    state = feed(job(), *frames, now=1.0)
    assert state.final is Phase.SUCCEEDED
    assert state.cached
    assert filenames(state) == [FILE["filename"]]
    assert not feed(job(), *support.run_frames(), now=1.0).cached


def test_cached_from_history_of_fully_cached_run_is_true() -> None:
    body = support.history_body()
    body[JOB]["status"]["messages"][1][1]["nodes"] = support.ORDER
    assert feed(job(listening=False), ABSENT, read_history(body, JOB), now=1.0).cached


# ---- polling ---------------------------------------------------------------------------------


def polls(state: JobState, answer: Callable[[float], Event], *, until: float) -> list[float]:
    """Return the times at which a caller that follows ``poll_due`` polls."""
    polled_at_s: list[float] = []
    now = 0.0
    while (now := poll_due(state, now)) < until:
        polled_at_s.append(now)
        state = advance(state, answer(now), now)
    return polled_at_s


def test_poll_due_without_socket_starts_at_once_and_slows_down() -> None:
    polled_at_s = polls(job(listening=False), lambda _: PENDING, until=60.0)
    pauses = [b - a for a, b in pairwise(polled_at_s)]
    assert polled_at_s[0] == 0
    assert polled_at_s[1] <= 0.005
    assert pauses == sorted(pauses) or max(pauses) == pytest.approx(0.5)
    assert max(pauses) <= 0.5 + 1e-9
    assert len([t for t in polled_at_s if t > 10.0]) <= 2 * 50 + 1
    for i, pause in enumerate(pauses):
        assert pause <= max(0.0031, 0.21 * polled_at_s[i + 1]), "an end is seen 20 % late at most"


def test_poll_due_when_job_starts_polls_quickly_again() -> None:
    polled_at_s = polls(
        job(listening=False), lambda now: PENDING if now < 30 else RUNNING, until=32.0
    )
    first = next(t for t in polled_at_s if t >= 30)
    assert sum(first <= t < first + 0.1 for t in polled_at_s) > 5


def test_poll_due_with_live_socket_polls_only_after_silence() -> None:
    state = feed(job(), message_of("execution_start"), now=1.0)
    assert poll_due(state, 1.0) == 1.0 + WATCHDOG_S
    state = feed(state, message_of("executing", node="3"), now=5.0)
    assert poll_due(state, 5.0) == 5.0 + WATCHDOG_S
    state = feed(state, RUNNING, now=16.0)
    assert poll_due(state, 16.0) == 18.0, "while it stays silent, every two seconds"


def test_poll_due_queue_change_schedules_delayed_poll_of_waiting_job() -> None:
    status = message_of("status", job=None, status={"exec_info": {"queue_remaining": 3}})
    state = feed(job(), status, now=0.1)
    assert poll_due(state, 0.1) == 1.0
    state = feed(state, PENDING, status, now=1.0)
    assert poll_due(state, 1.0) > 2.0, "the same length again says nothing new"
    running = feed(job(), message_of("execution_start"), now=0.1)
    assert feed(running, status, now=0.1) is running
    assert poll_due(feed(job(), status, message_of("execution_start"), now=0.1), 0.1) > 10.0


def test_poll_due_doubtful_job_polls_soon_despite_live_socket() -> None:
    doubted = feed(feed(job(), message_of("execution_start"), now=1.0), *GONE, now=2.0)
    assert poll_due(doubted, 2.0) < 3.0
    unknown = feed(job(accepted=False), *GONE, now=2.0)
    assert poll_due(unknown, 2.0) < 3.0
    assert poll_due(job(accepted=False), 30.0) == 30.0


def test_poll_due_connection_change_polls_at_once() -> None:
    state = feed(job(), message_of("execution_start"), RUNNING, now=1.0)
    lost = feed(state, ConnectionLost(), now=2.0)
    assert poll_due(lost, 2.0) == 2.0
    lost = feed(lost, RUNNING, now=2.1)
    regained = feed(lost, ConnectionRegained(listening=True), now=3.0)
    assert poll_due(regained, 3.0) == 3.0
    assert poll_due(feed(regained, RUNNING, now=3.1), 3.1) == 10.0


def test_poll_due_job_of_old_client_id_keeps_polling() -> None:
    state = feed(job(), ConnectionLost(), ConnectionRegained(), now=2.0)
    polled_at_s = polls(feed(state, RUNNING, now=2.0), lambda _: RUNNING, until=20.0)
    assert len(polled_at_s) > 20


def test_poll_due_failed_polls_back_off_exponentially() -> None:
    state = job(listening=False)
    pauses = []
    now = 0.0
    for _ in range(10):
        state = feed(state, PollFailed(), now=now)
        pauses.append(poll_due(state, now) - now)
        now += pauses[-1]
    assert pauses[0] == 0.25
    assert pauses == sorted(pauses)
    assert pauses[-1] == 5.0
    assert poll_due(feed(state, ConnectionRegained(), now=now - 3), now - 3) == now - 3
    assert poll_due(feed(state, RUNNING, now=now), now) < now + 0.01


def test_poll_due_while_cancelling_limits_poll_rate() -> None:
    state = feed(job(), message_of("execution_start"), CancelRequested(), now=0.0)
    polled_at_s = []
    now = 0.0
    while now < 30.0:
        if cancel_due(state) <= now:
            state = feed(state, CancelSent(), now=now)
        now = min(poll_due(state, now), cancel_due(state))
        if poll_due(state, now) <= now:
            polled_at_s.append(now)
            state = feed(state, RUNNING, now=now)
    assert len([t for t in polled_at_s if t > 10]) <= 2 * 20 + 1


# ---- deaf sockets ----------------------------------------------------------------------------


def test_is_deaf_silent_socket_of_running_job_is_true() -> None:
    state = feed(job(), RUNNING, now=1.0)
    assert not is_deaf(state, 5.0)
    assert is_deaf(state, 1.0 + WATCHDOG_S)
    assert not is_deaf(feed(state, message_of("execution_start"), now=2.0), 99.0)


def test_is_deaf_silent_socket_of_finished_job_is_true() -> None:
    assert is_deaf(feed(job(), ABSENT, support.history(), now=12.0), 12.0)
    assert not is_deaf(feed(job(listening=False), ABSENT, support.history(), now=1.0), 12.0)
    assert not is_deaf(feed(job(), *support.run_frames(), now=1.0), 99.0)


def test_is_deaf_lost_job_is_false() -> None:
    lost = absent_until(feed(job(), RUNNING, now=1.0), 2.0, 2.0 + GRACE_S)
    assert lost.final is Phase.LOST
    assert not is_deaf(lost, 99.0)


def test_is_deaf_waiting_job_is_false() -> None:
    assert not is_deaf(feed(job(), PENDING, now=1.0), 1000.0)


def test_is_deaf_after_reconnect_restarts_watchdog() -> None:
    state = feed(job(), message_of("execution_start"), ConnectionLost(), now=1.0)
    state = feed(state, ConnectionRegained(listening=True), now=50.0)
    assert not is_deaf(state, 51.0)
    assert is_deaf(state, 50.0 + WATCHDOG_S)


@pytest.mark.parametrize("end", ["execution_success", "execution_error"])
def test_run_is_measured_alike_however_often_it_is_asked_for(end: str) -> None:
    often = seldom = job(graph=support.GRAPH)
    values = []
    for number, text in enumerate(support.run_frames(end=end, cached=("5",))):
        message, now = parse_text(text), float(number)
        often, seldom = advance(often, message, now), advance(seldom, message, now)
        values.append(often.progress(now).progress)
    assert seldom.run.unread
    assert seldom.phase is often.phase
    assert (seldom.cached, seldom.seconds()) == (often.cached, often.seconds())
    assert seldom.run.unread, "neither needs the measured run"
    assert seldom.measurements() == often.measurements()
    assert seldom.tracker.fractions == often.tracker.fractions
    assert seldom.tracker.cached == {"5"}
    assert values == sorted(values)
    assert (seldom.progress(99.0).progress == 100) is (end == "execution_success")


def test_run_that_no_caller_asks_for_keeps_few_messages_and_one_preview() -> None:
    state = job(graph=support.GRAPH)
    for step in range(200):
        message = support.snapshot({"3": ("running", step % 20 + step / 400, 20)})
        state = advance(state, parse_text(message), float(step))
        assert len(state.run.unread) <= 32
    state = advance(state, PREVIEW, 300.0)
    assert state.run.unread == ()
    assert state.preview() is not None
