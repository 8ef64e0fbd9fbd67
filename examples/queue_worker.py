"""A worker for a queue of your own: cancellation, one trace for each task, no lost jobs.

    python examples/queue_worker.py < tasks.jsonl

Each line is {"id": "…", "workflow": "sd15", "values": {…}} or {"cancel": "…"}, and each answer is a
line on stdout. A task that the queue delivers again, because its worker died, has
"redelivered": true: its job is followed if ComfyUI has it. With OTEL_EXPORTER_OTLP_ENDPOINT set,
every task is a span with its jobs below it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from opentelemetry import trace

from comfy_ui import ComfyHeadlessError, ComfyWSClient, GenerationCancelledError, setup_telemetry

tracer = trace.get_tracer("queue_worker")


def answer(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)


def job_of(task_id: str) -> str:
    """The same task always has the same prompt_id, so nothing runs twice."""
    return str(uuid5(NAMESPACE_URL, task_id))


async def work(client: ComfyWSClient, task: dict[str, Any]) -> None:
    prompt_id = job_of(task["id"])
    with tracer.start_as_current_span("task", attributes={"task.id": task["id"]}):
        try:
            if task.get("redelivered"):
                result = await client.resume(prompt_id, task["workflow"], values=task["values"])
            else:
                await client.queue_prompt(
                    task["workflow"], values=task["values"], prompt_id=prompt_id
                )
                result = await client.wait_for_completion(prompt_id)
        except GenerationCancelledError:
            answer(id=task["id"], state="cancelled")
        except ComfyHeadlessError as error:
            answer(id=task["id"], state="failed", error=str(error), retry=error.retryable)
        else:
            files = [file.filename for file in result.files]
            answer(id=task["id"], state="done", files=files, seed=result.seed)


async def lines() -> AsyncIterator[dict[str, Any]]:
    while line := await asyncio.to_thread(sys.stdin.readline):
        yield json.loads(line)


async def main() -> None:
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        setup_telemetry(service_name="queue-worker")
    async with ComfyWSClient() as client, asyncio.TaskGroup() as tasks:
        async for task in lines():
            if "cancel" in task:
                tasks.create_task(client.cancel(job_of(task["cancel"])))
            else:
                tasks.create_task(work(client, task))


if __name__ == "__main__":
    asyncio.run(main())
