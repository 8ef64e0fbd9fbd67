"""The state of a running engine: folders, queue, sockets, and the worker thread."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal

from PIL import Image

from .engine_folders import Folders
from .engine_queue import PromptQueue, QueueItem
from .executor import Executor
from .fault_switches import Faults
from .http.sockets import Sockets
from .node_specs import object_info
from .nodes import NODES
from .prompt_validation import Rules, ValidationResult, problem, validate

Core = Literal["0.33.0", "0.3.64"]
SECRETS = ("api_key_comfy_org", "auth_token_comfy_org")
_HASTY_STEP_S: Final = 0.05
"""To paint 512² in full takes 0.1 to 0.25 s: longer than a few steps of this length or less."""


@dataclass(frozen=True, slots=True)
class Accepted:
    prompt_id: str
    number: float
    node_errors: dict[str, Any]


class RefusedError(Exception):
    """A prompt was refused; ``body`` is the response."""

    def __init__(self, error: dict[str, Any], node_errors: dict[str, Any] | None = None) -> None:
        super().__init__(error["message"])
        self.body = {"error": error, "node_errors": node_errors or {}}


class Engine:
    """One run of the engine, from start to stop."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        folders: Folders,
        step_s: float,
        core: Core,
        faults: Faults,
    ) -> None:
        self.folders = folders
        self.core: Core = core
        self.faults = faults
        self.sockets = Sockets(loop)
        self.queue = PromptQueue(on_change=self._queue_changed)
        self.logs: deque[dict[str, str]] = deque(maxlen=300)
        self.executor = Executor(folders, self.sockets, step_s, is_hasty=step_s <= _HASTY_STEP_S)
        self._partner_keys: dict[str, str] = {}
        self._forget_results = threading.Event()
        self._worker = threading.Thread(target=self._work, name="demo-worker", daemon=True)

    @property
    def modern(self) -> bool:
        """Whether it behaves like a newer core than 0.3.64."""
        return self.core != "0.3.64"

    def start(self) -> None:
        self.log("Starting the demo engine")
        self.object_info()  # read now, so that the first job does not wait for it
        Image.init()
        self._worker.start()

    def stop(self) -> None:
        """Stop the worker and interrupt its job."""
        self.queue.close()
        self._worker.join(timeout=10)

    # -- queries

    def object_info(self) -> dict[str, dict[str, Any]]:
        return object_info(self.folders, core=self.core, test_nodes=self.faults.test_nodes)

    def history(self) -> dict[str, Any]:
        if self.faults.history_evicted:
            return {}
        return {key: e.public() for key, e in self.queue.history(time.monotonic()).items()}

    def features(self, max_upload_bytes: int) -> dict[str, Any]:
        features: dict[str, Any] = {
            "supports_preview_metadata": True,
            "max_upload_size": max_upload_bytes,
        }
        if self.modern:
            features |= {"assets": False, "node_replacements": True}
        if self.faults.text_metadata:
            features["supports_progress_text_metadata"] = True
        return features

    def status(self) -> dict[str, Any]:
        return {"status": {"exec_info": {"queue_remaining": self.queue.remaining()}}}

    def log(self, line: str) -> None:
        entry = {"t": datetime.now(UTC).replace(tzinfo=None).isoformat(), "m": line + "\n"}
        self.logs.append(entry)
        self.sockets.post_log(entry)

    # -- accepting jobs

    def accept(self, body: Any) -> Accepted:
        """Validate and queue the body of ``POST /prompt``.

        Raises:
            RefusedError: the prompt is invalid; carries the response body.
            Exception: the body is malformed; the server then answers 500, as ComfyUI does.
        """
        self.log("got prompt")
        if "prompt" not in body:
            raise RefusedError(problem("no_prompt", "No prompt provided", "No prompt provided"))
        number = self._number(body)
        prompt = body["prompt"]
        prompt_id = self._prompt_id(body)
        verdict = self._validate(prompt, body.get("partial_execution_targets"))
        extra_data = self._extra_data(body)
        if verdict.error is not None:
            raise RefusedError(verdict.error, verdict.node_errors)
        item: QueueItem = (number, prompt_id, prompt, extra_data, verdict.outputs)
        if key := (body.get("extra_data") or {}).get("api_key_comfy_org"):
            self._partner_keys[prompt_id] = str(key)
        self.queue.put(item)
        return Accepted(prompt_id, number, verdict.node_errors)

    def _number(self, body: dict[str, Any]) -> float:
        if "number" in body:
            return float(body["number"])
        return self.queue.number(front=bool(body.get("front")))

    def _prompt_id(self, body: dict[str, Any]) -> str:
        if not self.modern:
            return str(body["prompt_id"]) if "prompt_id" in body else str(uuid.uuid4())
        prompt_id = body.get("prompt_id")
        if prompt_id is None:
            return str(uuid.uuid4())
        if not is_canonical_uuid(prompt_id):
            raise RefusedError(
                problem(
                    "invalid_prompt_id",
                    "prompt_id must be a canonical lowercase UUID",
                    f"received {prompt_id!r}",
                )
            )
        return str(prompt_id)

    def _validate(self, prompt: Any, targets: list[str] | None) -> ValidationResult:
        rules = Rules(
            specs=self.object_info(),
            custom=self._complaint,
            skips=lambda class_type: NODES[class_type].checks,
            check_new_combos=self.modern,
            name_cycles=self.modern,
        )
        return validate(prompt, rules, targets=targets)

    def _complaint(self, class_type: str, inputs: dict[str, Any]) -> tuple[str, str] | None:
        check = NODES[class_type].complaint
        return check(self.folders, inputs) if check is not None else None

    def _extra_data(self, body: dict[str, Any]) -> Any:
        extra_data = body.get("extra_data", {})
        if self.modern:
            extra_data = {k: v for k, v in extra_data.items() if k not in SECRETS}
            extra_data["create_time"] = int(time.time() * 1000)
        if "client_id" in body:
            extra_data["client_id"] = body["client_id"]
        return extra_data

    def free(self, *, forget_results: bool) -> None:
        if forget_results:
            self._forget_results.set()

    # -- running jobs

    def _log_death(self) -> None:
        """Log a traceback in pieces, as Python writes it and ComfyUI's log keeps it."""
        for piece in ("Exception in thread ", "Thread-1 (prompt_worker)", ":"):
            self.log(piece)

    def _work(self) -> None:
        """Run one job after the other, until the queue closes or the worker dies."""
        while (running := self.queue.take()) is not None:
            if self.faults.dead_worker or running.item[3] is None:
                # as recorded on 0.3.64: extra_data null kills the worker, but HTTP keeps working
                self._log_death()
                return
            if self._forget_results.is_set():
                self._forget_results.clear()
                self.executor.forget()
            item = running.item
            running.partner_key = self._partner_keys.pop(item[1], "")
            started = time.monotonic()
            entry = self.executor.run(running, self.object_info(), self.faults)
            if isinstance(item[3], dict):
                public = {k: v for k, v in item[3].items() if k not in SECRETS}
                entry.item = (*item[:3], public, item[4])
            entry.visible_at = time.monotonic() + self.faults.history_late_s
            self.queue.done(entry)
            self._say_over(item)
            self.log(f"Prompt executed in {time.monotonic() - started:.2f} seconds")

    def _say_over(self, item: QueueItem) -> None:
        client_id = item[3].get("client_id") if item[3] else None
        if client_id is not None and not self.faults.no_finish_message:
            over = {"node": None, "prompt_id": item[1]}
            self.sockets.post("executing", over, str(client_id))

    def _queue_changed(self) -> None:
        self.sockets.post("status", self.status())


def is_canonical_uuid(text: Any) -> bool:
    try:
        return isinstance(text, str) and str(uuid.UUID(text)) == text
    except ValueError:
        return False
