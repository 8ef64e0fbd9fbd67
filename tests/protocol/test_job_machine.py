"""State machine test: a correct server, an unreliable connection, and a job with a true verdict.

The server model behaves like ComfyUI (a job is in the queue or in the history and moves in one
step, though the entry may be five seconds late) and can restart. The connection drops, doubles,
reorders and delays frames, and adds foreign and broken ones. Each example is a list of moves; at
its end all frames are delivered, and the polls that ``poll_due`` schedules must find the end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, event, given, settings, strategies as st

from comfy_ui.errors import GenerationError
from comfy_ui.protocol.frames import parse_binary, parse_text
from comfy_ui.protocol.job import (
    RECHECK_S,
    CancelRequested,
    CancelSent,
    ConnectionLost,
    ConnectionRegained,
    JobState,
    PollFailed,
    PostAccepted,
    advance,
    cancel_due,
    new_job,
    poll_due,
)
from comfy_ui.protocol.messages import Message
from comfy_ui.protocol.outputs import Outputs
from comfy_ui.protocol.progress import Phase
from comfy_ui.protocol.queue_and_history import QueueAnswer
from tests.protocol import support
from tests.protocol.support import JOB

ENDINGS = ("execution_success", "execution_error", "execution_interrupted")
FRAMES = {
    **{
        planned_end: [*map(parse_text, support.run_frames(end=planned_end))]
        for planned_end in ENDINGS
    },
    "cached": [*map(parse_text, support.run_frames(cached=tuple(support.ORDER)))],
}
ENTRIES = {planned_end: support.history(planned_end) for planned_end in ENDINGS}
NOISE: tuple[Message, ...] = (
    *map(parse_text, support.run_frames(job=support.OTHER)),
    *map(parse_text, support.run_frames(job=support.OTHER, end="execution_error")),
    parse_text("{"),
    parse_text("[1]"),
    parse_text('{"type": "executing", "data": {"node": "3"}}'),
    parse_text('{"type": "executing", "data": {"node": null}}'),
    support.message_of("assets.added"),
    support.message_of("progress", value=math.nan, max=4, node="3"),
    parse_text('{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 3}}}}'),
    parse_binary(b"\x00\x00\x00\x01\x00\x00\x00\x01\xff\xd8"),
    parse_binary(b"\x00\x00"),
)

MOVES = (
    *("serve",) * 6,
    *("deliver",) * 6,
    *("run_on",) * 2,
    "drop",
    "double",
    "reorder",
    "noise",
    *("poll",) * 2,
    "poll_while_served",
    "history_alone",
    "poll_fails",
    "accept",
    "wait",
    "wait_long",
    "cancel",
    "cancel_sent",
    "lose",
    "regain",
    "regain_listening",
    "delete",
    "restart",
)


@dataclass
class World:
    """Model of the server, the connection and the job."""

    planned_end: str
    late_s: float
    listening: bool
    now: float = 0.0
    place: str = "pending"
    served: int = 0
    in_history_at: float = math.inf
    end: str = ""
    in_flight: list[Message] = field(default_factory=list)
    connected: bool = True
    polled: bool = False
    state: JobState = field(init=False)
    percent: float = 0.0

    def __post_init__(self) -> None:
        self.connected = self.listening
        self.state = new_job(JOB, now=0.0, graph=support.GRAPH, listening=self.listening)

    # -- the server

    def serve(self) -> None:
        """Let the server send its next frame."""
        if self.place == "pending":
            self.place = "running"
        if self.place != "running":
            return
        frames = FRAMES[self.planned_end]
        self._send(frames[self.served])
        self.served += 1
        if self.served == len(frames) - 1:  # only the node-less `executing` is left
            self._finish(self.planned_end)

    def _finish(self, planned_end: str) -> None:
        self.place, self.in_history_at = "history", self.now + self.late_s
        self.end = "execution_success" if planned_end == "cached" else planned_end
        self._send(FRAMES[planned_end][-1])

    def _send(self, message: Message) -> None:
        if self.connected:
            self.in_flight.append(message)

    def interrupt(self) -> None:
        if self.place == "pending":
            self.place = "gone"
        elif self.place == "running":
            self._send(FRAMES["execution_interrupted"][-2])
            self._finish("execution_interrupted")

    def queue(self) -> QueueAnswer:
        return {"pending": support.PENDING, "running": support.RUNNING}.get(
            self.place, support.ABSENT
        )

    def history(self) -> Any:
        visible = self.place == "history" and self.now >= self.in_history_at
        return ENTRIES[self.end] if visible else support.NOT_IN_HISTORY

    # -- the job

    def apply(self, event_: Any) -> None:
        before = self.state
        self.state = after = advance(before, event_, self.now)
        if before.final is not None:
            assert after is before, "a job ends once"
        percent = after.progress(self.now).progress
        assert self.percent <= percent <= 100
        assert (percent == 100) == (after.final is Phase.SUCCEEDED)
        self.percent = percent
        if before.final is None and after.final is not None:
            self.check_verdict()

    def check_verdict(self) -> None:
        """Check that the final phase of the job is the true one."""
        state = self.state
        verdict = state.verdict()
        match state.final:
            case Phase.SUCCEEDED:
                # The server may restart between the success message and this check.
                assert self.end in ("execution_success", "") and self.served  # noqa: PT018
                assert isinstance(verdict, Outputs)
                assert [f.filename for f in verdict.files] == [support.FILE["filename"]]
            case Phase.FAILED:
                assert self.planned_end == "execution_error"
            case Phase.CANCELLED:
                # Cancelling a job that was never seen running does not wait for a late entry.
                late = self.late_s > RECHECK_S and state.cancel_sent_at is not None
                asked = state.cancel_requested_at is not None
                gone = asked and (self.place == "gone" or (late and not state.running))
                assert gone or "execution_interrupted" in (self.end, self.planned_end)
            case Phase.LOST:
                assert self.place == "gone"
            case _:
                pytest.fail(f"{state.final} is no end")
        if state.final is not Phase.SUCCEEDED:
            assert isinstance(verdict, GenerationError)
            assert verdict.hint
            assert verdict.prompt_id == JOB

    def poll(self) -> None:
        if self.state.needs_queue:
            answer = self.queue()
            self.apply(answer)
            if answer.place != "absent":
                return
        self.apply(self.history())

    def move(self, name: str, number: int) -> None:
        self.now += 0.01
        in_flight = self.in_flight
        i = number % len(in_flight) if in_flight else 0
        match name:
            case "serve":
                self.serve()
            case "run_on":
                for _ in range(number % 24):
                    self.serve()
            case "deliver" if in_flight:
                for _ in range(number % 5 + 1):
                    if in_flight:
                        self.apply(in_flight.pop(0))
            case "drop" if in_flight:
                del in_flight[i]
            case "double" if in_flight:
                in_flight.append(in_flight[i])
            case "reorder" if in_flight:
                self.apply(in_flight.pop(i))
            case "noise":
                self.apply(NOISE[number % len(NOISE)])
            case "poll":
                self.poll()
            case "poll_while_served":
                self.apply(self.queue())
                for _ in range(number % 24):
                    self.serve()
                self.apply(self.history())
            case "history_alone":
                self.apply(self.history())
            case "poll_fails":
                self.apply(PollFailed())
            case "accept":
                self.apply(PostAccepted())
            case "wait":
                self.now += 0.3
            case "wait_long":
                self.now += 4.0
            case "cancel":
                self.apply(CancelRequested())
            case "cancel_sent" if cancel_due(self.state) <= self.now:
                self.interrupt()
                self.apply(CancelSent())
            case "lose":
                self.connected = False
                self.apply(ConnectionLost())
            case "regain":
                self.apply(ConnectionRegained())
            case "regain_listening" if self.listening:
                self.connected = True
                self.apply(ConnectionRegained(listening=True))
            case "delete" if self.place == "pending":
                self.place = "gone"
            case "restart":
                self.place = "gone"

    def settle(self) -> int:
        """Deliver and finish everything, and count the polls until the job ends."""
        while self.place in ("pending", "running"):
            self.serve()
        while self.in_flight:
            self.apply(self.in_flight.pop(0))
        polls = 0
        while (due := poll_due(self.state, self.now)) < math.inf:
            assert due >= self.now
            assert due - self.now < 10.001
            self.now = due + 1e-6
            self.poll()
            polls += 1
            assert polls < 100, "the job never ends"
        return polls


def _check_verdict(planned_end: str, late_s: float, listening: bool, moves: bytes) -> None:
    world = World(planned_end, late_s, listening)
    for move, number in zip(moves[::2], moves[1::2], strict=False):
        world.move(MOVES[move % len(MOVES)], number)
    world.settle()
    assert world.state.final is not None
    event(f"ends {world.state.final}")


@pytest.mark.slow
@pytest.mark.parametrize(
    "examples",
    [2000, pytest.param(50_000, marks=[pytest.mark.nightly, pytest.mark.timeout(3600)])],
)
def test_verdict_under_any_connection_faults_is_true(examples: int) -> None:
    check = given(
        planned_end=st.sampled_from([*FRAMES]),
        late_s=st.sampled_from([0.0, 0.0, 0.2, 5.0]),
        listening=st.booleans(),
        # Pairs of move and number. Drawn bytes shrink well but are often zero; drawn seeds are not.
        moves=st.binary(max_size=60)
        | st.builds(lambda seed: Random(seed).randbytes(100), st.integers(0, 2**63)),
    )(_check_verdict)
    settings(
        max_examples=examples,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )(check)()


def test_frames_of_model_include_every_message_type() -> None:
    message_types = {type(message) for messages in FRAMES.values() for message in messages}
    message_types |= {type(message) for message in NOISE}
    assert len(message_types) >= len(get_args(Message)) - 5  # types that jobs ignore
