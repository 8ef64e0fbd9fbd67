"""The trace of a job through web, queue, worker and ComfyUI, over the local queue."""

from __future__ import annotations

from comfy_ui.jobs.job_service import JobService
from comfy_ui.storage.records import Phase
from tests.job_traces import TREE, JobTraces
from tests.jobs.support import end_of, submit_sleepy


async def test_trace_of_a_job_is_one_tree_from_the_request_to_comfyui(
    service: JobService, job_traces: JobTraces
) -> None:
    with job_traces.request():
        job = await submit_sleepy(service, nonce=1)
    assert (await end_of(service, job)).phase is Phase.SUCCEEDED
    assert await job_traces.tree() == TREE
    assert job_traces.attributes("comfyui.job")["comfyui.outcome"] == "succeeded"
    assert job_traces.attributes("comfyui.queue")["comfyui.job_id"] == job.id


async def test_trace_of_a_repeated_job_is_another_tree(
    service: JobService, job_traces: JobTraces
) -> None:
    job = await submit_sleepy(service, nonce=1)
    await end_of(service, job)
    await job_traces.tree()
    job_traces.clear()
    again = await service.repeat(job.id, job.user_id)
    await end_of(service, again)
    assert await job_traces.tree() == TREE["web request"]
    assert job_traces.attributes("comfyui.job")["comfyui.job_id"] == again.id
