"""Run one job: nodes in order, results cached from the last job, messages as ComfyUI sends them."""

from __future__ import annotations

import hashlib
import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..protocol.graph_cost import GraphCost
from .engine_folders import Folders
from .engine_queue import HistoryRecord, Running
from .fault_switches import Faults
from .http.sockets import PreviewPicture, Sockets
from .nodes import NODES, Context, OutputResult
from .nodes.node_base import InterruptedNodeError, OutOfDeviceMemoryError
from .nodes.value_nodes import loop_passes
from .prompt_validation import declared, is_link


@dataclass(slots=True)
class _Result:
    outputs: tuple[Any, ...]
    ui: dict[str, Any] | None = None


@dataclass(slots=True)
class Executor:
    """Executes jobs. Belongs to the worker thread."""

    folders: Folders
    sockets: Sockets
    step_s: float
    is_hasty: bool  # paints large images small and enlarges them
    current: tuple[str, str] | None = (
        None  # client and node in progress, for a socket that connects
    )
    _cached_results: dict[str, _Result] = field(default_factory=dict)

    def run(self, running: Running, specs: Mapping[str, Any], faults: Faults) -> HistoryRecord:
        job = _Job(self, running, specs, faults)
        entry = job.run()
        # Keep the results of this job only, to bound memory.
        self._cached_results = {
            sig: self._cached_results[sig]
            for sig in job.signatures.values()
            if sig in self._cached_results
        }
        return entry

    def forget(self) -> None:
        self._cached_results.clear()


class _Job:
    def __init__(
        self, executor: Executor, running: Running, specs: Mapping[str, Any], faults: Faults
    ) -> None:
        _, self.prompt_id, self.prompt, self.extra_data, self.targets = running.item
        self.client_id = self.extra_data.get("client_id") if self.extra_data else None
        self.executor = executor
        self.running = running
        self.specs = specs
        self.faults = faults
        self.cached_results = executor._cached_results  # noqa: SLF001 -- one unit: the job of its executor
        self.signatures: dict[str, str] = {}
        self.done: dict[str, _Result] = {}
        self.executed: list[str] = []
        self.states: dict[str, dict[str, Any]] = {}
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.node_id = ""
        self.display: dict[str, str] = {}  # nodes made at run time, by the one that shows them

    # -- messages

    def tell(self, event: str, data: dict[str, Any], *, broadcast: bool = False) -> None:
        """Send to this job's client. Without one, broadcast only what ComfyUI broadcasts."""
        if self.client_id is not None or broadcast:
            self.executor.sockets.post(event, data, self._sid())

    def _sid(self) -> str | None:
        return None if self.client_id is None else str(self.client_id)

    def milestone(self, event: str, *, broadcast: bool = False, **data: Any) -> None:
        """Send a message that the history keeps."""
        data |= {"prompt_id": self.prompt_id, "timestamp": int(time.time() * 1000)}
        self.messages.append((event, data))
        if self.faults.no_finish_message and event in _ENDS:
            return
        self.tell(event, data, broadcast=broadcast)

    def state(self, node_id: str, value: float, total: float, state: str) -> None:
        self.states[node_id] = {
            "value": value,
            "max": total,
            "state": state,
            "node_id": node_id,
            "prompt_id": self.prompt_id,
            "display_node_id": self._shown(node_id),
            "parent_node_id": None,
            "real_node_id": node_id,
        }
        data = {"prompt_id": self.prompt_id, "nodes": self.states}
        self.tell("progress_state", data, broadcast=True)

    # -- services for nodes (nodes.node_base.Host)

    def step(self, node_id: str, value: float, total: float, preview: bytes | None) -> None:
        self._step(node_id, value, total, PreviewPicture(preview) if preview else None)

    def picture(self, node_id: str, value: int, total: int, png: bytes) -> None:
        self._step(node_id, value, total, PreviewPicture(png, "image/png"))

    def _step(
        self, node_id: str, value: float, total: float, preview: PreviewPicture | None
    ) -> None:
        self.state(node_id, value, total, "running")
        self.executor.sockets.post_step(
            {"value": value, "max": total, "prompt_id": self.prompt_id, "node": node_id},
            preview,
            {
                "node_id": node_id,
                "prompt_id": self.prompt_id,
                "display_node_id": self._shown(node_id),
                "parent_node_id": None,
                "real_node_id": node_id,
            },
            self._sid(),
        )

    def text(self, node_id: str, text: str) -> None:
        self.executor.sockets.post_text(node_id, text, self.prompt_id, self._sid())

    def _shown(self, node_id: str) -> str:
        return self.display.get(node_id, node_id)

    def interrupted(self) -> bool:
        return self.running.interrupted

    def watched(self) -> bool:
        return self.executor.sockets.anybody(self._sid())

    # -- running

    def run(self) -> HistoryRecord:
        self.milestone("execution_start")
        try:
            for node_id in self.prompt:
                self._sign(node_id)
            cached = [n for n in self.prompt if self.signatures[n] in self.cached_results]
            self.milestone("execution_cached", nodes=cached)
            for target in self.targets:
                self._reach(target)
        except InterruptedNodeError:
            self.milestone(
                "execution_interrupted",
                broadcast=True,
                node_id=self.node_id,
                node_type=self.prompt[self.node_id]["class_type"],
                executed=self.executed,
            )
            status, completed = "error", False
        except Exception as error:  # noqa: BLE001 -- any exception of a node is the job's error
            self._failed(error)
            status, completed = "error", False
        else:
            if self.faults.missing_output:
                self._remove_files()  # before a client hears of them
            self.milestone("execution_success")
            status, completed = "success", True
        finally:
            self.executor.current = None
        results = {n: r for n, r in self.done.items() if r.ui is not None}
        return HistoryRecord(
            item=self.running.item,
            outputs={node_id: result.ui for node_id, result in results.items()},
            meta={node_id: _meta(node_id) for node_id in results},
            status={
                "status_str": status,
                "completed": completed,
                "messages": [list(message) for message in self.messages],
            },
            started_ms=self.running.started_ms,
        )

    def _remove_files(self) -> None:
        for result in self.done.values():
            for entries in (result.ui or {}).values():
                for entry in entries:
                    if isinstance(entry, dict) and "filename" in entry:
                        names = entry["type"], entry["subfolder"], entry["filename"]
                        self.executor.folders.inside(*names).unlink(missing_ok=True)

    def _failed(self, error: Exception) -> None:
        kind = type(error)
        name = getattr(error, "wire_name", None) or (
            kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"
        )
        node = self.prompt.get(self.node_id, {})
        self.milestone(
            "execution_error",
            node_id=self.node_id,
            node_type=node.get("class_type", ""),
            executed=self.executed,
            exception_message=f"{error}\n",
            exception_type=name,
            traceback=traceback.format_tb(error.__traceback__),
            current_inputs={
                key: [str(value)[:200]]
                for key, value in node.get("inputs", {}).items()
                if not is_link(value)
            },
            current_outputs=list(self.executed),
        )

    def _sign(self, node_id: str) -> str:
        """Hash everything that determines a node's result."""
        stack = [node_id]
        while stack:
            current = stack[-1]
            inputs = self.prompt[current].get("inputs", {})
            links = [v[0] for v in inputs.values() if self._follows(v)]
            missing = [n for n in links if n not in self.signatures]
            if current not in self.signatures and missing:
                if current in stack[:-1]:
                    self.signatures[current] = f"cycle:{current}"
                    stack.pop()
                else:
                    stack += missing
                continue
            stack.pop()
            if current in self.signatures:
                continue
            node = self.prompt[current]
            parts: list[Any] = [node["class_type"]]
            for name, value in sorted(inputs.items()):
                linked = [self.signatures[value[0]], value[1]] if self._follows(value) else value
                parts.append([name, linked])
            behaviour = NODES.get(node["class_type"])
            if behaviour is not None and behaviour.fingerprint is not None:
                parts.append(behaviour.fingerprint(self.executor.folders, inputs))
            text = json.dumps(parts, sort_keys=True, default=str)
            self.signatures[current] = hashlib.sha1(text.encode()).hexdigest()  # noqa: S324
        return self.signatures[node_id]

    def _follows(self, value: Any) -> bool:
        return is_link(value) and len(value) == 2 and value[0] in self.prompt

    def _reach(self, target: str) -> None:
        """Run ``target`` and its ancestors, depth first."""
        stack = [target]
        while stack:
            node_id = stack[-1]
            if node_id in self.done:
                stack.pop()
                continue
            if (cached_results := self.cached_results.get(self.signatures[node_id])) is not None:
                self.done[node_id] = cached_results
                if cached_results.ui is not None:
                    self._tell_executed(node_id, cached_results.ui)
                continue
            missing = self._missing(node_id)
            if missing:
                stack.append(missing[0])
                continue
            self._run_node(node_id)
            if self.prompt[node_id]["class_type"] == "StartLoop":
                self._run_passes(node_id)
            stack.pop()

    def _run_passes(self, start: str) -> None:
        """Run the body of a loop once for each pass, as nodes made at run time.

        As newer cores do, but without loops in loops and lists. The body's own nodes never run.
        """
        plan = GraphCost(self.prompt)
        body = [node_id for node_id, loops in plan.loops.items() if start in loops]
        end = next(
            node_id
            for node_id, node in self.prompt.items()
            if node["class_type"] == "EndLoop" and set(plan.sources[node_id]) & {*body, start}
        )
        inputs = _arguments(self._inputs(start))
        passes = loop_passes(inputs["mode"], inputs["more"])
        carried = self.done[start].outputs[4]
        for number, index in enumerate(passes):
            is_last = number == len(passes) - 1
            self.done[start] = _Result((index, number == 0, is_last, None, carried))
            self._run_made(f"{start}.0.0.iteration_{number}", start)
            for node_id in body:
                self._run_copy(f"{start}.0.0.{number}_{node_id}", node_id)
            carried = self._inputs(end).get("next_iteration_value")
            self._run_made(f"{start}.0.0.progress_{number}", start)
            self.text(start, f"Iteration {number + 1} / {len(passes)}")
        self._run_made(f"{start}.0.0.result", start)

    def _run_made(self, node_id: str, shown: str) -> None:
        """Report a node that a loop makes for itself."""
        self.display[node_id] = shown
        self.state(node_id, 0.0, 1.0, "running")
        self._tell_executing(node_id)
        self.state(node_id, 1.0, 1.0, "finished")

    def _run_copy(self, copy: str, node_id: str) -> None:
        self.display[copy] = node_id
        self.prompt = {**self.prompt, copy: self.prompt[node_id]}
        self._run_node(copy)
        self.done[node_id] = self.done[copy]

    def _links(self, node_id: str) -> dict[str, list[Any]]:
        node = self.prompt[node_id]
        spec = self.specs[node["class_type"]]
        names = [name for name, _, _ in declared(spec, node["inputs"])]
        inputs = node["inputs"]
        return {n: inputs[n] for n in names if n in inputs and is_link(inputs[n])}

    def _missing(self, node_id: str) -> list[str]:
        links = self._links(node_id)
        behaviour = NODES[self.prompt[node_id]["class_type"]]
        if behaviour.lazy is not None:
            lazy_inputs = behaviour.lazy(self._inputs(node_id))
            links = {name: link for name, link in links.items() if name in lazy_inputs}
        return [link[0] for link in links.values() if link[0] not in self.done]

    def _inputs(self, node_id: str) -> dict[str, Any]:
        """Collect the available values: literals, and outputs of nodes that have run."""
        node = self.prompt[node_id]
        values: dict[str, Any] = {}
        for name, declaration, _ in declared(self.specs[node["class_type"]], node["inputs"]):
            if name not in node["inputs"]:
                options = declaration[1] if len(declaration) > 1 else {}
                if "default" in options and "." not in name:
                    values[name] = options["default"]
                continue
            value = node["inputs"][name]
            if not is_link(value):
                values[name] = value
            elif value[0] in self.done:
                values[name] = self.done[value[0]].outputs[value[1]]
        return values

    def _run_node(self, node_id: str) -> None:
        class_type = self.prompt[node_id]["class_type"]
        self.node_id = node_id
        self.state(node_id, 0.0, 1.0, "running")
        if self.client_id is not None:
            self.executor.current = (str(self.client_id), node_id)
        self._tell_executing(node_id)
        context = Context(
            self,
            node_id,
            self.executor.folders,
            self.prompt,
            (self.extra_data or {}).get("extra_pnginfo") or {},
            step_s=self.executor.step_s,
            is_hasty=self.executor.is_hasty,
            ignore_interrupts=self.faults.ignore_interrupts,
            written_text=self.faults.written_text,
            partner_key=self.running.partner_key,
        )
        context.check()
        context.sleep(self.faults.node_s.get(class_type, 0.0))
        if self.faults.oom_at in (class_type, node_id):
            raise OutOfDeviceMemoryError(
                "Allocation on device 0 would exceed allowed memory. (out of memory)"
            )
        if self.faults.error_at in (class_type, node_id):
            raise RuntimeError("This node fails because a test requested it.")
        outcome = NODES[class_type].run(context, **_arguments(self._inputs(node_id)))
        if isinstance(outcome, OutputResult):
            result = _Result(outcome.outputs, outcome.ui or None)
        else:
            result = _Result(outcome)
        if result.ui is not None:
            self._tell_executed(node_id, result.ui)
        self.done[node_id] = result
        if node_id in self.signatures and class_type != "StartLoop":
            self.cached_results[self.signatures[node_id]] = result
        self.executed.append(node_id)
        total = self.states[node_id]["max"]
        self.state(node_id, total, total, "finished")

    def _tell_executing(self, node_id: str) -> None:
        shown = self._shown(node_id)
        self.tell(
            "executing", {"node": node_id, "display_node": shown, "prompt_id": self.prompt_id}
        )

    def _tell_executed(self, node_id: str, ui: dict[str, Any]) -> None:
        self.tell(
            "executed",
            {
                "node": node_id,
                "display_node": self._shown(node_id),
                "output": ui,
                "prompt_id": self.prompt_id,
            },
        )


_ENDS = frozenset({"execution_success", "execution_error", "execution_interrupted"})


def _meta(node_id: str) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "display_node": node_id,
        "parent_node": None,
        "real_node_id": node_id,
    }


def _arguments(inputs: dict[str, Any]) -> dict[str, Any]:
    """Collect dotted inputs, those of a chosen option, into one mapping called ``more``."""
    plain = {name: value for name, value in inputs.items() if "." not in name}
    dotted = {name: value for name, value in inputs.items() if "." in name}
    return plain | ({"more": dotted} if dotted else {})
