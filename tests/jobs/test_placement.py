"""Which server gets which job, as plain decisions."""

from __future__ import annotations

from typing import Any

from comfy_ui.jobs.placement import LOADING_S, ServerOffer, ServerPool, offer_of, remaining_s
from comfy_ui.jobs.updates import first_snapshot
from comfy_ui.protocol.object_info import NodeRegistry
from comfy_ui.storage.records import Job
from tests.jobs.support import a_job


def job(model: str | None = None, *, node: str = "Sampler", cost_s: float = 10.0) -> Job:
    inputs = {"ckpt_name": model} if model else {}
    return a_job(graph={"1": {"class_type": node, "inputs": inputs}}, cost_s=cost_s)


def offer(*models: str, nodes: tuple[str, ...] = ("Sampler",), **more: Any) -> ServerOffer:
    return ServerOffer(classes=frozenset(nodes), models=frozenset(models), **more)


def fleet(**offers: ServerOffer) -> ServerPool:
    made = ServerPool(offers)
    for name, told in offers.items():
        made.update(name, told)
    return made


def test_idle_servers_get_one_job_each() -> None:
    both = fleet(a=offer(), b=offer())
    line = [job(), job()]
    assert both.select("a", line, {}, 2) == line[:1]
    assert both.select("b", line, {}, 2) == line[1:]


def test_the_only_server_gets_them_all_in_order() -> None:
    line = [job(), job("x.safetensors", node="Unheard")]
    assert ServerPool().select("a", line, {}, 2) == line


def test_a_server_gets_nothing_that_it_lacks_a_node_or_a_model_for() -> None:
    both = fleet(a=offer(), b=offer("x.safetensors", nodes=("Sampler", "Other")))
    line = [job(node="Other"), job("x.safetensors")]
    assert both.select("a", line, {}, 2) == []
    assert both.select("b", line, {}, 2) == line


def test_the_shortest_wait_wins() -> None:
    both = fleet(a=offer(), b=offer(foreign=1))
    line = [job()]
    assert both.select("b", line, {}, 1) == []
    assert both.select("b", line, {"a": 60.0}, 1) == line


def test_a_server_with_the_model_loaded_is_worth_a_short_wait() -> None:
    both = fleet(a=offer("x.safetensors"), b=offer("x.safetensors"))
    line = [job("x.safetensors")]
    both.assign("b", line[0])
    assert both.select("a", line, {"b": LOADING_S - 1}, 1) == []
    assert both.select("a", line, {"b": LOADING_S + 1}, 1) == line


def test_what_waits_for_a_busy_server_is_counted_before_the_next_is_placed() -> None:
    both = fleet(a=offer("x.safetensors"), b=offer())
    line = [job("x.safetensors", cost_s=100.0), job()]
    assert both.select("b", line, {}, 2) == line[1:]


def test_a_server_that_is_away_is_left_out_unless_nobody_else_can() -> None:
    both = fleet(a=offer(), b=offer("x.safetensors", online=False))
    plain, special = job(), job("x.safetensors")
    assert both.select("b", [plain], {"a": 500.0}, 1) == []
    assert both.select("b", [special], {}, 1) == [special]
    assert both.select("a", [special], {}, 1) == []


def test_nothing_is_given_before_the_server_told_what_it_has() -> None:
    both = ServerPool(["a", "b"])
    both.update("a", offer())
    line = [job(node="Other")]
    assert both.select("b", line, {}, 1) == []
    assert both.select("a", line, {}, 1) == []  # b may have it
    both.update("b", offer())
    assert both.select("a", line, {}, 1) == line  # nobody has: its refusal says so


def test_a_worker_that_was_left_gets_the_job_again_only_when_its_copy_is_gone() -> None:
    both = fleet(a=offer(), b=offer())
    line = [job()]
    assert both.has_alternative("a", line[0])
    both.exclude("a", line[0].id)
    assert both.select("a", line, {"b": 500.0}, 1) == []
    assert not both.has_alternative("b", line[0])
    both.allow("a", line[0].id)
    assert both.has_alternative("b", line[0])


def test_an_overdue_job_is_not_taken_for_nearly_done() -> None:
    running = a_job(cost_s=10.0, started_at=0.0)
    shown = first_snapshot(running)
    assert remaining_s(running, shown, 4.0) == 6.0
    assert remaining_s(running, shown, 100.0) == 50.0
    assert remaining_s(a_job(cost_s=7.0), None, 5.0) == 7.0


def test_an_offer_is_read_from_the_node_list() -> None:
    raw = {
        "Loader": {"input": {"required": {"ckpt_name": [["a.safetensors", "none"]]}}},
        "Newer": {"input": {"required": {"m": ["COMBO", {"options": ["b.gguf"]}]}}},
    }
    told = offer_of(NodeRegistry(raw))
    assert told.classes == {"Loader", "Newer"}
    assert told.models == {"a.safetensors", "b.gguf"}
