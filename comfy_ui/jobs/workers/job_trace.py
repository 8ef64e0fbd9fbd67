"""The spans of a job between its request and ComfyUI, in the trace that the request began.

``comfyui.request`` (the request until the job is stored) is the parent of ``comfyui.queue`` (from
then until a worker claims the job) and of ``comfyui.job`` (everything that the worker does), which
is the parent of the client's spans. The worker may be another process: the context of the request
is stored with the job.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ... import telemetry
from ...storage.records import Job


@contextmanager
def recorded(job: Job, server: str, *, new: bool) -> Iterator[Callable[[str], None]]:
    """Record the wait of a claimed job, if it is ``new``, and what happens inside of the block.

    Yields what sets the outcome of the job.
    """
    if not telemetry.is_on():
        yield lambda _: None
        return
    attributes = {"comfyui.job_id": job.id, "comfyui.server": server}
    parent = job.traceparent
    if new:
        submitted_ns = int(job.created_at * 1e9)
        with telemetry.span(
            "comfyui.queue",
            attributes,
            current=False,
            traceparent=parent,
            start_ns=submitted_ns,
        ):
            pass
    with telemetry.span("comfyui.job", attributes, traceparent=parent) as span:
        yield lambda outcome: span.set_attribute("comfyui.outcome", outcome)
