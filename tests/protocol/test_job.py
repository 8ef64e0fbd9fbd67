"""One rule a test. What happens when rules meet is in test_job_machine.py."""

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
from comfy_ui.protocol.frames import parse_binary
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
from tests.protocol.support import ABSENT, FILE, JOB, NOT_IN_HISTORY, PENDING, RUNNING, feed, say

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


def test_a_run_heard_in_full_ends_with_its_files_and_without_a_poll() -> None:
    state = feed(job(), *support.run_frames(), now=1.0, pause=0.01)
    assert state.final is Phase.SUCCEEDED
    assert filenames(state) == [FILE["filename"]]
    assert state.polled_at is None
    assert poll_due(state, 99.0) == math.inf
    assert state.progress(99.0).progress == 100


def test_success_without_all_outputs_waits_for_the_history() -> None:
    frames = [frame for frame in support.run_frames() if '"executed"' not in frame]
    state = feed(job(), *frames, now=1.0)
    assert state.final is None
    assert poll_due(state, 1.0) == 1.0
    assert not state.needs_queue
    state = feed(state, NOT_IN_HISTORY, support.history(), now=1.1)
    assert filenames(state) == [FILE["filename"]]


def test_outputs_that_come_after_the_word_of_success_still_end_it() -> None:
    frames = support.run_frames()
    told = [frame for frame in frames if '"executed"' in frame and '"output"' in frame]
    others = [frame for frame in frames if frame not in told]
    assert feed(job(), *others, *told, now=1.0).final is Phase.SUCCEEDED


def test_a_job_once_off_the_socket_takes_its_files_from_the_history() -> None:
    state = feed(job(), ConnectionLost(), ConnectionRegained(listening=True), now=0.5)
    state = feed(state, *support.run_frames(), now=1.0)
    assert state.final is None
    more = {"filename": "y.png", "subfolder": "", "type": "output"}
    state = feed(state, support.history(outputs={"9": {"images": [FILE, more]}}), now=1.1)
    assert filenames(state) == [FILE["filename"], "y.png"]


def test_a_node_that_saves_in_the_middle_of_the_graph_is_waited_for() -> None:
    graph = {**support.GRAPH, "10": {"class_type": "Ending", "inputs": {"images": ["9", 0]}}}
    frames = [support.executed(node="10", output={"text": ["done"]}), say("execution_success")]
    assert feed(job(graph=graph), *frames, now=1.0).final is None
    assert feed(job(graph=graph), support.executed(), *frames, now=1.0).final is Phase.SUCCEEDED


def test_without_a_graph_the_history_is_read() -> None:
    assert feed(job(graph=None), *support.run_frames(), now=1.0).final is None


def test_a_node_that_raised_fails_the_job_with_all_that_was_said() -> None:
    state = feed(job(), *support.run_frames(end="execution_error"), now=1.0)
    error = state.verdict()
    assert isinstance(error, GenerationFailedError)
    assert error.message == "VAEDecode: boom"
    assert (error.prompt_id, error.node_id, error.node_type) == (JOB, "8", "VAEDecode")
    assert (error.exception_type, error.traceback) == ("ValueError", ("line 1", "line 2"))
    assert error.hint
    assert not error.retryable


def test_a_failure_names_the_node_as_its_author_did() -> None:
    said = say("execution_error", node_id="3", node_type="KSampler", exception_message=" bad \n")
    error = feed(job(), said, now=1.0).verdict()
    assert isinstance(error, GenerationFailedError)
    assert error.node_title == "Paint it"
    assert error.message == "Paint it: bad"


def test_a_failure_without_a_word_is_still_a_sentence() -> None:
    error = feed(job(), say("execution_error"), now=1.0).verdict()
    assert isinstance(error, GenerationFailedError)
    assert error.message == "ComfyUI: the run failed without a message."


def test_a_failed_job_keeps_what_it_had_made() -> None:
    state = feed(
        job(listening=False),
        ABSENT,
        support.history("execution_error", outputs={"9": {"images": [FILE]}}),
        now=1.0,
    )
    assert state.final is Phase.FAILED
    assert [file.filename for file in state.outputs().files] == [FILE["filename"]]


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory."),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("RuntimeError", "MPS backend out of memory (MPS allocated: 1 GB)"),
        ("RuntimeError", "[enforce fail] DefaultCPUAllocator: not enough memory: you tried"),
        ("MemoryError", ""),
    ],
)
def test_lack_of_memory_is_an_error_of_its_own(kind: str, said: str) -> None:
    message = say("execution_error", node_id="3", exception_type=kind, exception_message=said)
    error = feed(job(), message, now=1.0).verdict()
    assert isinstance(error, OutOfMemoryError)
    assert "smaller" in error.hint


def test_other_errors_are_no_lack_of_memory() -> None:
    assert not is_out_of_memory(ExecutionError(JOB, exception_message="memory of a fox"))


def test_an_interruption_by_somebody_else_is_a_cancelled_job() -> None:
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
def test_the_history_alone_tells_how_it_ended(end: str, final: Phase) -> None:
    assert feed(job(listening=False), ABSENT, support.history(end), now=1.0).final is final


def test_executing_nothing_means_over_and_not_good() -> None:
    state = feed(job(), say("executing", node=None), now=1.0)
    assert state.final is None
    assert poll_due(state, 1.0) == 1.0
    assert feed(state, support.history("execution_error"), now=1.1).final is Phase.FAILED


@pytest.mark.parametrize(
    "first",
    [
        say("execution_error"),
        say("execution_interrupted"),
        support.history(),
        support.history("execution_error"),
    ],
)
def test_nothing_changes_a_job_that_has_ended(first: Event) -> None:
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


def test_messages_of_other_jobs_change_nothing() -> None:
    state = job()
    frames = support.run_frames(job=support.OTHER)
    assert feed(state, *frames, now=1.0) is state


def test_the_verdict_of_an_open_job_is_none() -> None:
    assert job().verdict() is None


def test_temporary_files_are_given_only_when_asked_for() -> None:
    preview = {"9": {"images": [{**FILE, "type": "temp"}]}}
    state = feed(job(listening=False), ABSENT, support.history(outputs=preview), now=1.0)
    assert filenames(state) == []
    asked = state.verdict(include_temp=True)
    assert isinstance(asked, Outputs)
    assert len(asked.files) == 1


def test_files_come_in_the_order_of_the_graph_not_of_the_messages() -> None:
    graph = {
        **support.GRAPH,
        "2": {"class_type": "SaveImage", "inputs": {"images": ["8", 0]}},
    }
    late = support.executed(node="9", output={"images": [{**FILE, "filename": "nine.png"}]})
    early = support.executed(node="2", output={"images": [{**FILE, "filename": "two.png"}]})
    state = feed(job(graph=graph), early, late, say("execution_success"), now=1.0)
    assert filenames(state) == ["nine.png", "two.png"]


# ---- absence ---------------------------------------------------------------------------------


def test_a_job_in_neither_place_is_lost_after_a_grace_and_a_second_look() -> None:
    state = absent_until(feed(job(listening=False), RUNNING, now=1.0), 2.0)
    assert state.final is None
    assert absent_until(state, 2.0 + GRACE_S - 0.1).final is None
    lost = absent_until(state, 2.0 + GRACE_S)
    assert lost.final is Phase.LOST
    error = lost.verdict()
    assert isinstance(error, JobLostError)
    assert error.retryable
    assert "restarted" in error.message


def test_one_look_is_never_enough_however_late() -> None:
    assert absent_until(job(listening=False), 1e6).final is None


def test_an_entry_that_comes_late_is_waited_for() -> None:
    state = absent_until(feed(job(listening=False), RUNNING, now=1.0), 1.1, 2.0, 4.0, 6.0)
    assert feed(state, ABSENT, support.history(), now=6.1).final is Phase.SUCCEEDED


def test_each_look_at_the_history_needs_its_own_look_at_the_queue() -> None:
    state = feed(job(listening=False), *GONE, now=1.0)
    for now in range(2, 30):
        state = feed(state, NOT_IN_HISTORY, now=now)
    assert (state.final, state.absences) == (None, 1)


def test_an_empty_history_alone_says_nothing() -> None:
    state = job(listening=False)
    for now in range(100):
        state = feed(state, NOT_IN_HISTORY, now=now)
    assert state.final is None
    assert state.absences == 0


@pytest.mark.parametrize("trace", [RUNNING, PENDING, say("execution_start"), PostAccepted()])
def test_a_trace_of_the_job_clears_the_doubt(trace: Event) -> None:
    state = feed(absent_until(job(listening=False), 1.0, 2.0), trace, now=3.0)
    assert absent_until(state, 8.0).final is None
    assert state.absences == 0


def test_a_message_between_the_two_answers_makes_the_second_void() -> None:
    state = feed(job(), ABSENT, say("execution_start"), NOT_IN_HISTORY, now=1.0)
    assert state.absences == 0


def test_a_success_that_left_no_trace_is_lost_and_says_so() -> None:
    state = feed(job(), say("execution_success"), now=1.0)
    lost = absent_until(state, 1.1, 1.1 + GRACE_S)
    error = lost.verdict()
    assert isinstance(error, JobLostError)
    assert "output folder" in error.hint
    assert lost.progress(20.0).progress < 100


def test_a_success_that_left_no_trace_is_not_called_cancelled() -> None:
    state = feed(job(), say("execution_success"), CancelRequested(), CancelSent(), now=1.0)
    assert absent_until(state, 1.1, 1.1 + GRACE_S).final is Phase.LOST


def test_an_end_that_the_history_does_not_know_makes_the_queue_be_read_again() -> None:
    state = feed(job(), say("executing", node=None), NOT_IN_HISTORY, now=1.0)
    assert state.needs_queue
    state = feed(state, RUNNING, now=9.0)
    assert (state.final, state.absences) == (None, 0)


# ---- the post --------------------------------------------------------------------------------


def test_a_post_without_an_answer_may_be_repeated_once_the_server_shows_no_trace() -> None:
    state = absent_until(job(listening=False, accepted=False), 1.0, 2.0)
    assert not state.may_resubmit
    state = absent_until(state, 3.0)
    assert state.may_resubmit
    again = feed(state, Resubmitted(), now=3.1)
    assert not again.may_resubmit
    assert absent_until(again, 3.1 + GRACE_S - 0.1).final is None


@pytest.mark.parametrize("trace", [RUNNING, PENDING, say("execution_start"), PostAccepted()])
def test_a_post_that_arrived_is_never_repeated(trace: Event) -> None:
    state = feed(job(accepted=False), trace, now=0.5)
    assert state.accepted
    assert not absent_until(state, 1.0, 4.0).may_resubmit


def test_a_post_that_never_arrived_ends_as_lost_and_says_so() -> None:
    lost = absent_until(job(accepted=False), 1.0, 1.0 + GRACE_S)
    error = lost.verdict()
    assert isinstance(error, JobLostError)
    assert "no trace" in error.message
    assert not lost.may_resubmit


def test_messages_may_come_before_the_answer_to_the_post() -> None:
    state = feed(job(accepted=False), *support.run_frames(), now=1.0)
    assert state.final is Phase.SUCCEEDED


# ---- cancelling ------------------------------------------------------------------------------


def test_a_wish_to_cancel_is_repeated_until_the_end_is_seen() -> None:
    state = feed(job(), say("execution_start"), now=1.0)
    assert cancel_due(state) == math.inf
    state = feed(state, CancelRequested(), now=2.0)
    assert state.phase is Phase.CANCELLING
    assert cancel_due(state) == 2.0
    state = feed(state, CancelSent(), now=2.1)
    assert cancel_due(state) == pytest.approx(3.1)
    state = feed(state, CancelSent(), CancelRequested(), now=3.1)
    assert cancel_due(state) == pytest.approx(4.1)
    ended = feed(state, say("execution_interrupted"), now=4.2)
    assert cancel_due(ended) == math.inf
    error = ended.verdict()
    assert isinstance(error, GenerationCancelledError)
    assert error.message == "The job was cancelled."


def test_a_second_wish_to_cancel_adds_nothing() -> None:
    state = feed(job(), CancelRequested(), now=1.0)
    assert feed(state, CancelRequested(), now=2.0) is state


def test_a_job_that_outran_the_cancellation_has_succeeded() -> None:
    state = feed(job(), CancelRequested(), CancelSent(), *support.run_frames(), now=1.0)
    assert state.final is Phase.SUCCEEDED


def test_a_job_deleted_while_it_waited_is_soon_known_to_be_cancelled() -> None:
    state = feed(feed(job(), PENDING, now=0.9), CancelRequested(), CancelSent(), now=1.0)
    assert poll_due(state, 1.0) == 1.0
    state = absent_until(state, 1.1, 1.4)
    assert state.final is Phase.CANCELLED


def test_a_running_job_that_vanishes_while_cancelling_gets_the_full_grace() -> None:
    state = feed(job(), RUNNING, CancelRequested(), CancelSent(), now=1.0)
    state = absent_until(state, 1.1, 1.4)
    assert state.final is None
    assert absent_until(state, 1.1 + GRACE_S).final is Phase.CANCELLED


def test_absence_before_the_server_was_told_to_stop_proves_no_deletion() -> None:
    state = feed(job(), PENDING, CancelRequested(), now=1.0)
    assert absent_until(state, 1.1, 1.4).final is None


# ---- phases and progress ---------------------------------------------------------------------


def test_the_phase_follows_the_job() -> None:
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


def test_the_place_in_the_queue_is_shown_until_it_runs() -> None:
    progress = feed(job(), PENDING, now=1.0).progress(1.0)
    assert (progress.queue_position, progress.queue_size) == (2, 3)
    progress = feed(job(), PENDING, say("execution_start"), now=1.0).progress(1.0)
    assert (progress.queue_position, progress.queue_size) == (None, None)


def test_a_stale_answer_does_not_put_a_running_job_back_into_the_queue() -> None:
    assert feed(job(), say("execution_start"), PENDING, now=1.0).phase is Phase.RUNNING


def test_a_lost_connection_shows_until_anything_gets_through() -> None:
    lost = feed(job(), say("execution_start"), ConnectionLost(), now=1.0)
    assert lost.phase is Phase.RECONNECTING
    assert feed(lost, RUNNING, now=1.1).phase is Phase.RUNNING
    assert feed(lost, ConnectionRegained(), now=1.1).phase is Phase.RUNNING
    failed = feed(lost, PollFailed(), now=1.1)
    assert failed.phase is Phase.RECONNECTING
    assert feed(failed, say("executing", node="3"), now=1.2).phase is Phase.RUNNING


def test_elapsed_time_counts_from_the_start_of_the_run_and_stops_at_its_end() -> None:
    state = job()
    assert state.progress(50.0).elapsed_s == 0
    state = feed(state, say("execution_start"), now=100.0)
    assert state.progress(103.0).elapsed_s == 3.0
    ended = feed(state, say("execution_error"), now=105.0)
    assert ended.progress(999.0).elapsed_s == 5.0
    assert ended.seconds() == 5.0


def test_the_servers_own_measure_of_the_run_is_preferred() -> None:
    state = feed(job(listening=False), ABSENT, support.history(), now=99.0)
    assert state.seconds() == 2.5
    assert job().seconds() is None


def test_a_polled_job_has_an_elapsed_time_from_when_it_was_seen_to_run() -> None:
    state = feed(job(listening=False), PENDING, now=1.0)
    state = feed(state, RUNNING, now=5.0)
    assert state.progress(7.0).elapsed_s == 2.0


PREVIEW = parse_binary(struct.pack(">II", 1, 1) + b"\xff\xd8anonymous")


def test_a_preview_without_a_name_belongs_to_the_job_that_runs() -> None:
    waiting = feed(job(), PREVIEW, now=1.0)
    assert waiting.progress(1.0).preview is None
    running = feed(job(), say("execution_start"), PREVIEW, now=1.0)
    assert running.progress(1.0).preview == b"\xff\xd8anonymous"
    over = feed(job(), say("execution_start"), say("executing", node=None), PREVIEW, now=1.0)
    assert over.progress(1.0).preview is None


def test_the_newest_preview_wins() -> None:
    header = b'{"prompt_id": "%s", "node_id": "3", "image_type": "image/png"}' % JOB.encode()
    named = parse_binary(struct.pack(">II", 4, len(header)) + header + b"named")
    progress = feed(job(), say("execution_start"), PREVIEW, named, now=1.0).progress(1.0)
    assert (progress.preview, progress.preview_type) == (b"named", "image/png")


def test_what_names_no_job_is_no_trace_of_it() -> None:
    """Previews of other people's jobs must not keep a lost one alive for ever."""
    state = feed(job(), say("execution_start"), ConnectionLost(), now=1.0)
    for now in range(2, 20):
        state = feed(state, PREVIEW, *GONE, PREVIEW, now=float(now))
    assert state.final is Phase.LOST


def test_the_node_told_on_connecting_is_taken_for_a_job_known_to_run() -> None:
    told = say("executing", job=None, node="3")
    assert feed(job(), told, now=1.0).progress(1.0).node is None
    progress = feed(job(), RUNNING, told, now=1.0).progress(1.0)
    assert (progress.node, progress.node_title) == ("3", "Paint it")


def test_an_end_without_a_name_ends_nobody() -> None:
    state = feed(job(), say("execution_start"), say("executing", job=None, node=None), now=1.0)
    assert state.over_at is None


def test_a_job_of_somebody_else_learns_its_graph_from_the_queue() -> None:
    state = new_job(JOB, now=0.0, accepted=True)
    state = feed(state, RUNNING, say("executing", node="3"), now=1.0)
    assert state.progress(1.0).node_title == "Paint it"


def test_a_wholly_cached_job_says_so() -> None:
    frames = support.run_frames(cached=tuple(support.ORDER))
    state = feed(job(), *frames, now=1.0)
    assert state.final is Phase.SUCCEEDED
    assert state.cached
    assert filenames(state) == [FILE["filename"]]
    assert not feed(job(), *support.run_frames(), now=1.0).cached


def test_a_wholly_cached_job_says_so_by_its_history_too() -> None:
    body = support.history_body()
    body[JOB]["status"]["messages"][1][1]["nodes"] = support.ORDER
    assert feed(job(listening=False), ABSENT, read_history(body, JOB), now=1.0).cached


# ---- polling ---------------------------------------------------------------------------------


def polls(state: JobState, answer: Callable[[float], Event], *, until: float) -> list[float]:
    """When a shell that obeys ``poll_due`` asks."""
    asked: list[float] = []
    now = 0.0
    while (now := poll_due(state, now)) < until:
        asked.append(now)
        state = advance(state, answer(now), now)
    return asked


def test_a_job_without_a_socket_is_asked_for_at_once_then_ever_slower() -> None:
    asked = polls(job(listening=False), lambda _: PENDING, until=60.0)
    pauses = [b - a for a, b in pairwise(asked)]
    assert asked[0] == 0
    assert asked[1] <= 0.005
    assert pauses == sorted(pauses) or max(pauses) == pytest.approx(0.5)
    assert max(pauses) <= 0.5 + 1e-9
    assert len([t for t in asked if t > 10.0]) <= 2 * 50 + 1
    for i, pause in enumerate(pauses):
        assert pause <= max(0.0031, 0.21 * asked[i + 1]), "an end is seen 20 % late at most"


def test_a_job_that_starts_is_watched_closely_again() -> None:
    asked = polls(job(listening=False), lambda now: PENDING if now < 30 else RUNNING, until=32.0)
    first = next(t for t in asked if t >= 30)
    assert sum(first <= t < first + 0.1 for t in asked) > 5


def test_a_live_socket_is_only_guarded_against_silence() -> None:
    state = feed(job(), say("execution_start"), now=1.0)
    assert poll_due(state, 1.0) == 1.0 + WATCHDOG_S
    state = feed(state, say("executing", node="3"), now=5.0)
    assert poll_due(state, 5.0) == 5.0 + WATCHDOG_S
    state = feed(state, RUNNING, now=16.0)
    assert poll_due(state, 16.0) == 18.0, "while it stays silent, every two seconds"


def test_a_queue_that_moved_makes_a_waiting_job_ask_for_its_place_but_not_at_once() -> None:
    status = say("status", job=None, status={"exec_info": {"queue_remaining": 3}})
    state = feed(job(), status, now=0.1)
    assert poll_due(state, 0.1) == 1.0
    state = feed(state, PENDING, status, now=1.0)
    assert poll_due(state, 1.0) > 2.0, "the same length again says nothing new"
    running = feed(job(), say("execution_start"), now=0.1)
    assert feed(running, status, now=0.1) is running
    assert poll_due(feed(job(), status, say("execution_start"), now=0.1), 0.1) > 10.0


def test_a_job_in_doubt_is_asked_for_soon_even_with_a_live_socket() -> None:
    doubted = feed(feed(job(), say("execution_start"), now=1.0), *GONE, now=2.0)
    assert poll_due(doubted, 2.0) < 3.0
    unknown = feed(job(accepted=False), *GONE, now=2.0)
    assert poll_due(unknown, 2.0) < 3.0
    assert poll_due(job(accepted=False), 30.0) == 30.0


def test_a_lost_or_new_socket_makes_it_ask_at_once() -> None:
    state = feed(job(), say("execution_start"), RUNNING, now=1.0)
    lost = feed(state, ConnectionLost(), now=2.0)
    assert poll_due(lost, 2.0) == 2.0
    lost = feed(lost, RUNNING, now=2.1)
    regained = feed(lost, ConnectionRegained(listening=True), now=3.0)
    assert poll_due(regained, 3.0) == 3.0
    assert poll_due(feed(regained, RUNNING, now=3.1), 3.1) == 10.0


def test_a_job_queued_under_an_old_client_id_is_followed_by_polling_alone() -> None:
    state = feed(job(), ConnectionLost(), ConnectionRegained(), now=2.0)
    asked = polls(feed(state, RUNNING, now=2.0), lambda _: RUNNING, until=20.0)
    assert len(asked) > 20


def test_a_server_that_cannot_be_asked_is_asked_less_and_less() -> None:
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


def test_cancelling_does_not_flood_the_server() -> None:
    state = feed(job(), say("execution_start"), CancelRequested(), now=0.0)
    asked = []
    now = 0.0
    while now < 30.0:
        if cancel_due(state) <= now:
            state = feed(state, CancelSent(), now=now)
        now = min(poll_due(state, now), cancel_due(state))
        if poll_due(state, now) <= now:
            asked.append(now)
            state = feed(state, RUNNING, now=now)
    assert len([t for t in asked if t > 10]) <= 2 * 20 + 1


# ---- deaf sockets ----------------------------------------------------------------------------


def test_a_socket_silent_about_a_running_job_is_deaf() -> None:
    state = feed(job(), RUNNING, now=1.0)
    assert not is_deaf(state, 5.0)
    assert is_deaf(state, 1.0 + WATCHDOG_S)
    assert not is_deaf(feed(state, say("execution_start"), now=2.0), 99.0)


def test_a_socket_silent_until_the_history_told_the_end_was_deaf() -> None:
    assert is_deaf(feed(job(), ABSENT, support.history(), now=12.0), 12.0)
    assert not is_deaf(feed(job(listening=False), ABSENT, support.history(), now=1.0), 12.0)
    assert not is_deaf(feed(job(), *support.run_frames(), now=1.0), 99.0)


def test_a_lost_job_says_nothing_about_the_socket() -> None:
    lost = absent_until(feed(job(), RUNNING, now=1.0), 2.0, 2.0 + GRACE_S)
    assert lost.final is Phase.LOST
    assert not is_deaf(lost, 99.0)


def test_a_waiting_job_says_nothing_about_the_socket() -> None:
    assert not is_deaf(feed(job(), PENDING, now=1.0), 1000.0)


def test_a_new_socket_gets_its_own_chance() -> None:
    state = feed(job(), say("execution_start"), ConnectionLost(), now=1.0)
    state = feed(state, ConnectionRegained(listening=True), now=50.0)
    assert not is_deaf(state, 51.0)
    assert is_deaf(state, 50.0 + WATCHDOG_S)
