from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from comfy_ui.monitoring.app_metrics import AppMetrics
from comfy_ui.storage.records import JobError, JobStatus, QueueFigures
from tests.docs import DOCS
from tests.jobs.support import a_job

DASHBOARD: Path = DOCS / "use" / "grafana-dashboard.json"
PAGE: Path = DOCS / "use" / "monitoring.md"
FIGURES = QueueFigures({("waiting", ""): 3, ("running", "gpu"): 1}, 12.5, {"gpu": True, "b": False})
POOLS = {"queue": {"pool_size": 4, "pool_available": 1, "requests_wait_ms": 1500}}


def metrics_of_an_app() -> AppMetrics:
    return AppMetrics(presets={"sdxl"}, queue=lambda: FIGURES, pools=lambda: POOLS, pages=lambda: 7)


def samples(metrics: AppMetrics) -> dict[tuple[str, frozenset[str]], float]:
    return {
        (sample.name, frozenset(v for k, v in sample.labels.items() if k != "le")): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }


def ended(**fields: Any) -> Any:
    return a_job(server="gpu", created_at=100.0, started_at=104.0, finished_at=134.0, **fields)


def test_app_metrics_count_ended_jobs_with_their_wait_and_run_time() -> None:
    metrics = metrics_of_an_app()
    metrics.job_ended(ended(preset="sdxl", status=JobStatus.SUCCEEDED))
    metrics.job_ended(ended(preset="sdxl", status=JobStatus.SUCCEEDED))
    oom = JobError("CUDA is out of memory", kind="OutOfMemoryError")
    metrics.job_ended(ended(preset="sdxl", status=JobStatus.FAILED, error=oom))
    seen = samples(metrics)
    assert seen["comfy_ui_jobs_ended_total", frozenset({"gpu", "sdxl", "succeeded"})] == 2
    assert seen["comfy_ui_jobs_ended_total", frozenset({"gpu", "sdxl", "failed"})] == 1
    assert seen["comfy_ui_job_failures_total", frozenset({"gpu", "OutOfMemoryError"})] == 1
    assert seen["comfy_ui_job_wait_seconds_sum", frozenset({"gpu"})] == 12.0
    assert seen["comfy_ui_job_run_seconds_sum", frozenset({"gpu", "sdxl"})] == 60


def test_app_metrics_labels_hold_no_user_prompt_or_name_of_an_own_preset() -> None:
    metrics = metrics_of_an_app()
    error = JobError("secret message", kind="SecretError")
    secret = {"preset": "secret preset", "prompt": "a secret cat", "user_id": "login:secret"}
    for number in range(50):
        job = ended(**secret | {"preset": f"secret {number}"}, status=JobStatus.LOST, error=error)
        metrics.job_ended(job)
    text = metrics.text().decode()
    assert "secret" not in text.lower()
    assert samples(metrics)["comfy_ui_jobs_ended_total", frozenset({"gpu", "custom", "lost"})] == 50
    assert samples(metrics)["comfy_ui_job_failures_total", frozenset({"gpu", "other"})] == 50


def test_app_metrics_have_the_queue_pages_and_pools_of_the_moment() -> None:
    seen = samples(metrics_of_an_app())
    assert seen["comfy_ui_queue_jobs", frozenset({"waiting", ""})] == 3
    assert seen["comfy_ui_queue_jobs", frozenset({"running", "gpu"})] == 1
    assert seen["comfy_ui_queue_oldest_seconds", frozenset()] == 12.5
    assert seen["comfy_ui_server_online", frozenset({"gpu"})] == 1
    assert seen["comfy_ui_server_online", frozenset({"b"})] == 0
    assert seen["comfy_ui_pages_open", frozenset()] == 7
    assert seen["comfy_ui_database_connections", frozenset({"queue", "idle"})] == 1
    assert seen["comfy_ui_database_wait_seconds_total", frozenset({"queue"})] == 1.5


def test_dashboard_queries_name_existing_metrics_only() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    named = {name for query in queries for name in re.findall(r"comfy_ui_\w+", query)}
    known = metrics_of_an_app().names()
    assert len(queries) > 10
    assert named <= known, named - known


def test_monitoring_page_lists_every_metric() -> None:
    listed = set(re.findall(r"`(comfy_ui_\w+)`", PAGE.read_text(encoding="utf-8")))
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in metrics_of_an_app().names()}
    assert listed == bare
