"""Small jobs for the app itself: outside the queue and the library, such as a preview.

They go before all waiting jobs, are bounded in time, and leave the server's history.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from ...errors import ComfyHeadlessError
from ...protocol.outputs import Outputs, collect_outputs

if TYPE_CHECKING:
    from ..aio import ComfyWSClient
    from ..sync import ComfyClient

__all__ = ["call", "run_small_job"]

_HISTORY_TRIES: Final = 20
_HISTORY_POLL_S: Final = 0.1
_T = TypeVar("_T")


async def run_small_job(
    client: ComfyClient | ComfyWSClient,
    graph: Mapping[str, Any],
    *,
    timeout_s: float,
    start_s: float = 20.0,
) -> Outputs | None:
    """Run a graph before all waiting jobs and return its texts and files, temporary ones, too.

    Returns None if it has not begun after ``start_s``; it is withdrawn then. The job is cancelled
    with the task.

    Raises:
        GenerationTimeoutError: it took longer than ``timeout_s``.
        ComfyHeadlessError: as :meth:`.ComfyClient.run`.
    """
    prompt_id = await call(client.queue_prompt, graph, front=True)
    wait: Callable[..., Any] = client.wait_for_completion
    waiting = asyncio.create_task(
        call(wait, prompt_id, timeout=timeout_s, cancel_on_exit=True), name="small job"
    )
    try:
        await asyncio.wait([waiting], timeout=start_s)
        if not waiting.done() and await call(client.unqueue, prompt_id):
            return None
        result = await waiting
        for _ in range(_HISTORY_TRIES):  # ComfyUI announces the end before it writes the history
            if (entry := await call(client.history, prompt_id)) is not None:
                return collect_outputs(entry.outputs, include_temp=True)
            await asyncio.sleep(_HISTORY_POLL_S)
        return Outputs(files=tuple(result.files), texts=tuple(result.texts))
    finally:
        waiting.cancel()
        with suppress(ComfyHeadlessError):
            await call(client.forget, prompt_id)


async def call(method: Callable[..., _T | Awaitable[_T]], *args: Any, **options: Any) -> _T:
    """Call a method of either client without blocking the event loop."""
    if inspect.iscoroutinefunction(method):
        return cast(_T, await method(*args, **options))
    return cast(_T, await asyncio.to_thread(method, *args, **options))
