"""Batches: many workflows, a few at a time, with their results as they arrive."""

from __future__ import annotations

import asyncio
import math
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import AbstractContextManager, ExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from ..errors import ComfyHeadlessError, GenerationTimeoutError, ValidationError
from ..protocol.job import JobState
from .callbacks import OnResult, await_callback, call_back
from .submission import check_prompt_id
from .tracking.tracked_job import JobChanges, TrackedJob
from .workflow_source import WorkflowSource

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A workflow of a batch; ``prompt_id`` None: generate one."""

    index: int
    workflow: WorkflowSource
    prompt_id: str | None = None


class Followed:
    """A job of a batch that a blocking client waits for, inside the context ``wait``."""

    def __init__(
        self, job: TrackedJob, wait: AbstractContextManager[None], *, longest_run_s: float | None
    ) -> None:
        self.job, self.changes = job, JobChanges(job)
        self.longest_run_s = longest_run_s
        self.wait = ExitStack()
        self.wait.enter_context(wait)

    @property
    def deadline(self) -> float:
        """When its run takes too long; infinity before it starts."""
        started_at = self.job.state.started_at if self.job.state.running else None
        if started_at is None or self.longest_run_s is None:
            return math.inf
        return started_at + self.longest_run_s


def batch_jobs(
    workflows: Iterable[WorkflowSource], prompt_ids: Sequence[str] | None, *, resume: bool
) -> Iterator[BatchJob]:
    """Number the workflows and give them their ids.

    Raises:
        ValidationError: the ids are not one canonical UUID for each workflow, all different; or
            there is a single workflow instead of several.
    """
    if isinstance(workflows, str | bytes | Mapping):
        raise ValidationError(
            "That is one workflow, not several.", hint="Pass a list, or call run(workflow)."
        )
    if prompt_ids is None:
        if resume:
            raise ValidationError(
                "resume=True needs prompt_ids.", hint="Pass the ids of the interrupted batch."
            )
        return (BatchJob(index, workflow) for index, workflow in enumerate(workflows))
    workflows = [*workflows]
    if len({*map(check_prompt_id, prompt_ids)}) != len(workflows) or len(prompt_ids) != len(
        workflows
    ):
        raise ValidationError(
            f"{len(workflows)} workflows need as many different prompt_ids, not {len(prompt_ids)}."
        )
    return (
        BatchJob(index, workflow, prompt_id)
        for index, (workflow, prompt_id) in enumerate(zip(workflows, prompt_ids, strict=True))
    )


def run_in_turn(
    jobs: Iterator[BatchJob],
    start: Callable[[BatchJob], Followed],
    advance: Callable[[Sequence[Followed]], None],
    finish: Callable[[Followed], T],
    *,
    concurrency: int,
    clock: Callable[[], float],
) -> Iterator[tuple[int, T | ComfyHeadlessError]]:
    """Run a batch in one thread.

    Args:
        jobs: the batch.
        start: queues a job.
        advance: polls the jobs, and waits a little if none has changed.
        finish: returns the result of a job that is settled or late, or raises.
        concurrency: the largest number of jobs at a time.
        clock: the time of the deadlines.
    """
    followed: dict[int, Followed] = {}
    outcomes: list[tuple[int, T | ComfyHeadlessError]] = []
    try:
        while True:
            # Refill before yielding, so that the server works while the caller does.
            while len(followed) < max(1, concurrency) and (job := next(jobs, None)):
                try:
                    followed[job.index] = start(job)
                except ComfyHeadlessError as error:
                    outcomes.append((job.index, error))
            yield from outcomes
            outcomes = []
            if not followed:
                return
            advance([*followed.values()])
            now = clock()
            over = [i for i, one in followed.items() if one.job.settled or one.deadline <= now]
            for index in over:
                one = followed.pop(index)
                try:
                    with one.wait:
                        outcomes.append((index, finish(one)))
                except ComfyHeadlessError as error:
                    outcomes.append((index, error))
    except BaseException as error:
        for one in followed.values():
            one.wait.__exit__(type(error), error, error.__traceback__)
        raise


async def run_at_once(
    jobs: Iterator[BatchJob], run: Callable[[BatchJob], Awaitable[T]], *, concurrency: int
) -> AsyncGenerator[tuple[int, T | ComfyHeadlessError], None]:
    """Run a batch in ``concurrency`` tasks, which do not wait for the caller."""
    outcomes: asyncio.Queue[tuple[int, T | ComfyHeadlessError] | None] = asyncio.Queue()

    async def work() -> None:
        for job in jobs:
            try:
                outcome: T | ComfyHeadlessError = await run(job)
            except ComfyHeadlessError as error:
                outcome = error
            outcomes.put_nowait((job.index, outcome))

    tasks = [asyncio.create_task(work()) for _ in range(max(1, concurrency))]
    all_done = asyncio.gather(*tasks)
    all_done.add_done_callback(lambda _: outcomes.put_nowait(None))
    try:
        while (pair := await outcomes.get()) is not None:
            yield pair
        await all_done  # raises what is no error of a job
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(all_done, *tasks, return_exceptions=True)


@asynccontextmanager
async def limit_run(
    job: TrackedJob, longest_run_s: float | None, cancel: Callable[[TrackedJob], object] | None
) -> AsyncGenerator[None, None]:
    """End the block with GenerationTimeoutError when the job runs too long; ``cancel`` it then."""
    if longest_run_s is None:
        yield
        return
    loop = asyncio.get_running_loop()

    def observe(_: JobState, state: JobState, __: float) -> None:
        if state.running and limit.when() is None:
            limit.reschedule(loop.time() + longest_run_s)

    try:
        async with asyncio.timeout(None) as limit:
            job.observers.append(observe)
            try:
                observe(job.state, job.state, 0.0)
                yield
            finally:
                job.observers.remove(observe)
    except TimeoutError:
        if not limit.expired():
            raise
        if cancel is not None:
            cancel(job)
        raise ran_too_long(job, longest_run_s) from None


def ran_too_long(job: TrackedJob, longest_run_s: float) -> GenerationTimeoutError:
    """The error of a job that exceeds ``job_timeout``."""
    return GenerationTimeoutError(
        f"The job ran for more than {longest_run_s:g} s and was cancelled.",
        hint="Allow more with job_timeout=, or run it outside the batch.",
        prompt_id=job.prompt_id,
    )


def collect(
    outcomes: Iterator[tuple[int, T | ComfyHeadlessError]], on_result: OnResult[T] | None
) -> list[T | ComfyHeadlessError]:
    """Call ``on_result`` for each outcome as it arrives; return all in the order of the jobs."""
    by_index: dict[int, T | ComfyHeadlessError] = {}
    for index, outcome in outcomes:
        by_index[index] = outcome
        if on_result is not None:
            call_back("on_result", on_result, index, outcome)
    return [by_index[index] for index in sorted(by_index)]


async def collect_async(
    outcomes: AsyncGenerator[tuple[int, T | ComfyHeadlessError], None],
    on_result: OnResult[T] | None,
) -> list[T | ComfyHeadlessError]:
    """Do what :func:`collect` does for an async batch."""
    by_index: dict[int, T | ComfyHeadlessError] = {}
    async with aclosing(outcomes):
        async for index, outcome in outcomes:
            by_index[index] = outcome
            if on_result is not None:
                await await_callback("on_result", on_result, index, outcome)
    return [by_index[index] for index in sorted(by_index)]
