"""The registry of node implementations, and the context in which they run."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..engine_folders import Folders

if TYPE_CHECKING:
    from PIL import Image

    from ..engine_folders import Folders

Run = Callable[..., Any]


class NodeError(RuntimeError):
    """A node cannot run with its inputs; the message is for the user."""


class OutOfDeviceMemoryError(NodeError):
    """Reported to clients with the name of PyTorch's error."""

    wire_name = "torch.OutOfMemoryError"


class UnableModelError(NodeError):
    """A model lacks what a node calls; reported as Python would."""

    wire_name = "AttributeError"


class InterruptedNodeError(Exception):
    """The job was interrupted."""


@dataclass(frozen=True, slots=True)
class OutputResult:
    """The result of an output node: the ``executed`` message's output, and the node's outputs."""

    ui: dict[str, Any]
    outputs: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """The implementation of one node class.

    ``run(context, **inputs)`` returns a tuple of outputs or :class:`OutputResult`. ``fingerprint``
    hashes what determines the result besides the inputs, such as a file; ``complaint`` refuses
    values before queueing, and replaces the choice list of the inputs in ``checks``.
    ``lazy(inputs)`` names the linked inputs that are required, based on the available ones.
    """

    class_type: str
    run: Run
    fingerprint: Callable[[Folders, dict[str, Any]], str] | None = None
    complaint: Callable[[Folders, dict[str, Any]], tuple[str, str] | None] | None = None
    checks: frozenset[str] = frozenset()
    lazy: Callable[[dict[str, Any]], set[str]] | None = None
    test_only: bool = False


NODES: dict[str, Node] = {}


def node(*class_types: str, **options: Any) -> Callable[[Run], Run]:
    """Register a function as the implementation of these classes."""

    def register(run: Run) -> Run:
        for class_type in class_types:
            NODES[class_type] = Node(class_type, run, **options)
        return run

    return register


class Host(Protocol):
    """The executor's interface for nodes."""

    def step(self, node_id: str, value: float, total: float, preview: bytes | None) -> None: ...
    def picture(self, node_id: str, value: int, total: int, png: bytes) -> None: ...
    def text(self, node_id: str, text: str) -> None: ...
    def interrupted(self) -> bool: ...
    def watched(self) -> bool: ...


@dataclass(slots=True)
class Context:
    """The context of one run of one node."""

    host: Host
    node_id: str
    folders: Folders
    prompt: dict[str, Any]
    extra_pnginfo: dict[str, Any]
    step_s: float = 0.0
    is_hasty: bool = False
    ignore_interrupts: bool = False
    written_text: str | None = None
    partner_key: str = ""
    _next_step_at: float = field(default_factory=time.monotonic)

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata for files: the prompt, and each key of ``extra_pnginfo``, as JSON."""
        texts = {"prompt": json.dumps(self.prompt)}
        return texts | {key: json.dumps(value) for key, value in self.extra_pnginfo.items()}

    @property
    def watched(self) -> bool:
        """Whether a client receives previews."""
        return self.host.watched()

    def check(self) -> None:
        """Raise :class:`InterruptedNodeError` if the job was interrupted."""
        if not self.ignore_interrupts and self.host.interrupted():
            raise InterruptedNodeError

    def step(self, value: float, total: float, preview: Image.Image | None = None) -> None:
        """Wait for the end of a step at the engine's pace, then report it, as ComfyUI does."""
        self.check()
        self.pace()
        self.host.step(self.node_id, value, total, _jpeg(preview) if preview else None)

    def pace(self, steps: float = 1.0) -> None:
        """Wait until that many steps' time has passed since the last wait."""
        if not self.step_s:
            return
        self._next_step_at = max(self._next_step_at + self.step_s * steps, time.monotonic())
        self.sleep(self._next_step_at - time.monotonic())

    def sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (remaining_s := until - time.monotonic()) > 0:
            self.check()
            time.sleep(min(remaining_s, 0.02))

    def picture(self, value: int, total: int, png: bytes) -> None:
        self.host.picture(self.node_id, value, total, png)

    def text(self, text: str) -> None:
        self.host.text(self.node_id, text)


def _jpeg(image: Image.Image) -> bytes:
    import io

    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def fingerprint_of(name: str) -> Callable[[Folders, dict[str, Any]], str]:
    """Return a fingerprint of an input's file, so that overwriting it runs the node again."""

    def fingerprint(folders: Folders, inputs: dict[str, Any]) -> str:
        path = folders.find(str(inputs.get(name, "")))
        return hashlib.sha1(path.read_bytes()).hexdigest() if path else ""  # noqa: S324

    return fingerprint


def must_exist(name: str, what: str) -> Callable[[Folders, dict[str, Any]], tuple[str, str] | None]:
    """Return a check, before queueing, that an input's file exists."""

    def complaint(folders: Folders, inputs: dict[str, Any]) -> tuple[str, str] | None:
        value = inputs.get(name)
        if isinstance(value, list) or folders.find(str(value)) is not None:
            return None
        return name, f"Invalid {what} file: {value}"

    return complaint


def reads(name: str, what: str) -> dict[str, Any]:
    """Return the options of ``@node`` for a class that reads a file."""
    return {
        "fingerprint": fingerprint_of(name),
        "complaint": must_exist(name, what),
        "checks": frozenset({name}),
    }
