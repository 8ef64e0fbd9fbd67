from __future__ import annotations

import pytest

from comfy_ui.jobs.updates import first_snapshot
from comfy_ui.protocol._replace import fast_replace
from comfy_ui.protocol.progress import Phase
from comfy_ui.scale.shared_queue import queue_progress
from comfy_ui.scale.shared_queue.queue_progress import ProgressReader, ProgressWriter
from tests.jobs.support import a_job
from tests.scale.postgres_server import new_app_database

pytestmark = pytest.mark.usefixtures("postgres")


async def test_read_returns_each_change_once_and_previews_of_shown_jobs_only() -> None:
    seen, hidden = (
        fast_replace(first_snapshot(a_job()), phase=Phase.RUNNING, progress=9.0, preview=b"x")
        for _ in range(2)
    )
    prompt_ids = {seen.job_id: "p", hidden.job_id: "q"}
    async with new_app_database() as database:
        writer, reader = ProgressWriter(), ProgressReader()
        writer.put("p", seen)
        writer.put("q", hidden)
        await writer.save(database)
        reports = await reader.read(database, {seen.job_id}, prompt_ids)
        previews = {r.job_id: r.progress.preview for r in reports if r.progress}
        assert previews == {seen.job_id: b"x", hidden.job_id: None}
        assert await reader.read(database, {seen.job_id}, prompt_ids) == []
        writer.put("p", fast_replace(seen, progress=10.0))
        await writer.save(database)
        (report,) = await reader.read(database, {seen.job_id}, prompt_ids)
        assert report.progress
        assert (report.progress.progress, report.progress.preview) == (10.0, None)
        writer.put("p", fast_replace(seen, progress=11.0))
        await writer.save(database)
        assert await reader.read(database, {seen.job_id}, {seen.job_id: "another run"}) == []


async def test_save_writes_the_newest_preview_after_the_pause_and_no_large_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(queue_progress, "MAX_PREVIEW_BYTES", 3)
    first = fast_replace(first_snapshot(a_job()), preview=b"1")
    writer = ProgressWriter()
    async with new_app_database() as database:

        async def preview() -> bytes:
            await writer.save(database)
            (row,) = await database.fetch("SELECT preview FROM job_progress")
            return bytes(row["preview"])

        writer.put("p", first)
        assert await preview() == b"1"
        monkeypatch.setattr(queue_progress, "PREVIEW_S", 1e6)
        writer.put("p", fast_replace(first, preview=b"2"))
        assert await preview() == b"1"
        monkeypatch.setattr(queue_progress, "PREVIEW_S", 0.0)
        assert await preview() == b"2"
        writer.put("p", fast_replace(first, preview=b"long"))
        assert await preview() == b"2"
