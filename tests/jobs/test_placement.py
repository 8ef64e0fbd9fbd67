"""The choice of a server for each job, as pure decisions."""

from __future__ import annotations

from typing import Any

from comfy_ui.jobs.placement import LOADING_S, ServerOffer, ServerPool, offer_of, remaining_s
from comfy_ui.jobs.updates import first_snapshot
from comfy_ui.protocol.durations import Measurement, NodeDurations, ShapeKey
from comfy_ui.protocol.graph_cost import GraphCost
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.storage.records import Job
from tests.jobs.support import a_job


def job(model: str | None = None, *, node: str = "Sampler", cost_s: float = 10.0) -> Job:
    inputs = {"ckpt_name": model} if model else {}
    return a_job(graph={"1": {"class_type": node, "inputs": inputs}}, cost_s=cost_s)


def offer(*models: str, nodes: tuple[str, ...] = ("Sampler",), **more: Any) -> ServerOffer:
    return ServerOffer(classes=frozenset(nodes), models=frozenset(models), **more)


def pool_of(**offers: ServerOffer) -> ServerPool:
    pool = ServerPool(offers)
    for name, server_offer in offers.items():
        pool.update(name, server_offer)
    return pool


def test_select_idle_servers_get_one_job_each() -> None:
    both = pool_of(a=offer(), b=offer())
    queue = [job(), job()]
    assert both.select("a", queue, {}, 2) == queue[:1]
    assert both.select("b", queue, {}, 2) == queue[1:]


def test_select_only_server_gets_all_jobs_in_order() -> None:
    queue = [job(), job("x.safetensors", node="Unheard")]
    assert ServerPool().select("a", queue, {}, 2) == queue


def test_select_server_without_node_or_model_gets_no_job() -> None:
    both = pool_of(a=offer(), b=offer("x.safetensors", nodes=("Sampler", "Other")))
    queue = [job(node="Other"), job("x.safetensors")]
    assert both.select("a", queue, {}, 2) == []
    assert both.select("b", queue, {}, 2) == queue


def test_select_server_with_shortest_wait_gets_job() -> None:
    both = pool_of(a=offer(), b=offer(foreign=1))
    queue = [job()]
    assert both.select("b", queue, {}, 1) == []
    assert both.select("b", queue, {"a": 60.0}, 1) == queue


def test_select_indifferent_gives_an_idle_server_what_another_ends_a_little_sooner() -> None:
    queue = [job(cost_s=10.0)]
    durations = {"a": learned(queue[0], 10.9), "b": learned(queue[0], 10.0)}
    both = ServerPool(durations, durations=durations)
    for name in durations:
        both.update(name, offer())
    assert both.select("a", queue, {}, 1) == []
    both.indifferent_s = 1.0
    assert both.select("a", queue, {}, 1) == queue
    assert both.left("a", queue, {}, 1) == {}
    assert both.select("b", queue, {}, 1) == queue
    assert both.select("a", queue, {"a": 0.05}, 1) == [], "the other one would start it sooner"


def test_select_waits_briefly_for_server_with_loaded_model() -> None:
    both = pool_of(a=offer("x.safetensors"), b=offer("x.safetensors"))
    queue = [job("x.safetensors")]
    both.assign("b", queue[0])
    assert both.select("a", queue, {"b": LOADING_S - 1}, 1) == []
    assert both.select("a", queue, {"b": LOADING_S + 1}, 1) == queue


def test_select_counts_jobs_waiting_for_busy_server() -> None:
    both = pool_of(a=offer("x.safetensors"), b=offer())
    queue = [job("x.safetensors", cost_s=100.0), job()]
    assert both.select("b", queue, {}, 2) == queue[1:]


def test_select_offline_server_counts_only_as_last_resort() -> None:
    both = pool_of(a=offer(), b=offer("x.safetensors", online=False))
    plain, special = job(), job("x.safetensors")
    assert both.select("b", [plain], {"a": 500.0}, 1) == []
    assert both.select("b", [special], {}, 1) == [special]
    assert both.select("a", [special], {}, 1) == []


def test_select_waits_for_first_offer_of_every_server() -> None:
    both = ServerPool(["a", "b"])
    both.update("a", offer())
    queue = [job(node="Other")]
    assert both.select("b", queue, {}, 1) == []
    assert both.select("a", queue, {}, 1) == []  # b may have it
    both.update("b", offer())
    assert both.select("a", queue, {}, 1) == queue  # neither has it


def test_select_excluded_server_gets_job_again_after_allow() -> None:
    both = pool_of(a=offer(), b=offer())
    queue = [job()]
    assert both.has_alternative("a", queue[0])
    both.exclude("a", queue[0].id)
    assert both.select("a", queue, {"b": 500.0}, 1) == []
    assert not both.has_alternative("b", queue[0])
    both.allow("a", queue[0].id)
    assert both.has_alternative("b", queue[0])


def test_remaining_s_overdue_job_is_not_almost_done() -> None:
    running = a_job(started_at=0.0)
    shown = first_snapshot(running)
    assert remaining_s(running, shown, 4.0, cost_s=10.0) == 6.0
    assert remaining_s(running, shown, 100.0, cost_s=10.0) == 50.0
    assert remaining_s(a_job(), None, 5.0, cost_s=7.0) == 7.0


def learned(one: Job, seconds: float) -> NodeDurations:
    durations = NodeDurations()
    shape = GraphCost(one.graph).shapes["1"]
    durations.learn({ShapeKey(shape, cold=False): Measurement(seconds)})
    return durations


def test_select_server_that_is_done_first_gets_job() -> None:
    queue = [job()]
    durations = {"slow": learned(queue[0], 90.0), "fast": learned(queue[0], 5.0)}
    both = ServerPool(durations, durations=durations)
    for name in durations:
        both.update(name, offer())
    assert both.select("slow", queue, {"fast": 60.0}, 1) == []
    assert both.select("fast", queue, {"fast": 60.0}, 1) == queue
    assert both.select("slow", queue, {"fast": 89.0}, 1) == queue


def test_estimates_add_up_what_is_before_each_job() -> None:
    queue = [job(), job(), job("x.safetensors", node="Elsewhere")]
    pool = ServerPool(["a"], durations={"a": learned(queue[0], 20.0)})
    pool.update("a", offer())
    estimates = pool.estimates(queue, {"a": 7.0})
    assert [estimates[one.id].starts_in_s for one in queue] == [7.0, 27.0, 47.0]
    assert estimates[queue[0].id].run_s == 20.0


def test_cost_s_before_anything_is_learned_is_that_of_the_preset() -> None:
    one = job("x.safetensors", cost_s=12.0)
    pool = ServerPool(["a"], durations={"a": NodeDurations()})
    assert pool.cost_s("a", one) == 12.0
    assert pool.cost_s("a", one, loaded=False) == 12.0 + LOADING_S


def test_cost_s_at_unknown_server_is_what_other_servers_take() -> None:
    one = job(cost_s=40.0)
    durations = {"new": NodeDurations(), "old": learned(one, 2.0)}
    pool = ServerPool(durations, durations=durations)
    for name in durations:
        pool.update(name, offer())
    assert pool.cost_s("new", one) == 2.0
    assert pool.select("new", [one], {"old": 1.0}, 1) == [one]
    assert pool.estimate(one.id, [one], {"old": 1.0}).run_s is None  # not learned there


def test_offer_of_reads_nodes_and_models_from_object_info() -> None:
    raw = {
        "Loader": {"input": {"required": {"ckpt_name": [["a.safetensors", "none"]]}}},
        "Newer": {"input": {"required": {"m": ["COMBO", {"options": ["b.gguf"]}]}}},
    }
    server_offer = offer_of(NodeRegistry(raw))
    assert server_offer.classes == {"Loader", "Newer"}
    assert server_offer.models == {"a.safetensors", "b.gguf"}


def test_server_pool_jobs_of_a_server_that_runs_several_at_a_time_start_sooner() -> None:
    queue = [a_job(cost_s=30.0) for _ in range(4)]
    pool = ServerPool(["a"])
    pool.update("a", ServerOffer(parallel_jobs=3))
    starts_s = [pool.estimates(queue, {"a": 30.0})[job.id].starts_in_s for job in queue]
    assert starts_s == [10.0, 20.0, 30.0, 40.0]
