"""What a node is, and what it is given while it runs."""

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
    """A node cannot do what it was asked for; the message is for the person who asked."""


class OutOfDeviceMemoryError(NodeError):
    """Told to clients under the name that PyTorch's error has."""

    wire_name = "torch.OutOfMemoryError"


class InterruptedNodeError(Exception):
    """The job was interrupted."""


@dataclass(frozen=True, slots=True)
class Shown:
    """The result of an output node: what ``executed`` tells, and values for the nodes after it."""

    ui: dict[str, Any]
    outputs: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Node:
    """How one class runs.

    ``run(context, **inputs)`` returns a tuple of outputs or :class:`Shown`. ``fingerprint`` gives
    what else than its inputs decides on its result (the bytes of a file); ``complaint`` refuses
    values before queueing, for the inputs in ``checks`` in place of their choice list.
    ``lazy(inputs)`` names the linked inputs that are needed, given those that are there.
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
    """Register a function as what these classes run."""

    def register(run: Run) -> Run:
        for class_type in class_types:
            NODES[class_type] = Node(class_type, run, **options)
        return run

    return register


class Host(Protocol):
    """What the executor offers to nodes."""

    def step(self, node_id: str, value: float, total: float, preview: bytes | None) -> None: ...
    def picture(self, node_id: str, value: int, total: int, png: bytes) -> None: ...
    def text(self, node_id: str, text: str) -> None: ...
    def interrupted(self) -> bool: ...
    def watched(self) -> bool: ...


@dataclass(slots=True)
class Context:
    """The surroundings of one run of one node."""

    host: Host
    node_id: str
    folders: Folders
    prompt: dict[str, Any]
    extra_pnginfo: dict[str, Any]
    step_s: float = 0.0
    ignore_interrupts: bool = False
    _next_step_at: float = field(default_factory=time.monotonic)

    @property
    def metadata(self) -> dict[str, str]:
        """What is written into files: the prompt, and each key of ``extra_pnginfo``, as JSON."""
        texts = {"prompt": json.dumps(self.prompt)}
        return texts | {key: json.dumps(value) for key, value in self.extra_pnginfo.items()}

    @property
    def watched(self) -> bool:
        """Whether anybody would see a preview."""
        return self.host.watched()

    def check(self) -> None:
        """Raises :class:`InterruptedNodeError` once the job was interrupted."""
        if not self.ignore_interrupts and self.host.interrupted():
            raise InterruptedNodeError

    def step(self, value: float, total: float, preview: Image.Image | None = None) -> None:
        """Report a finished step, then keep the engine's pace."""
        self.check()
        self.host.step(self.node_id, value, total, _jpeg(preview) if preview else None)
        self.pace()

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
    """The bytes of the file that an input names: overwriting it makes the node run again."""

    def fingerprint(folders: Folders, inputs: dict[str, Any]) -> str:
        path = folders.find(str(inputs.get(name, "")))
        return hashlib.sha1(path.read_bytes()).hexdigest() if path else ""  # noqa: S324

    return fingerprint


def must_exist(name: str, what: str) -> Callable[[Folders, dict[str, Any]], tuple[str, str] | None]:
    """Refuses before queueing when the file that an input names is not there."""

    def complaint(folders: Folders, inputs: dict[str, Any]) -> tuple[str, str] | None:
        value = inputs.get(name)
        if isinstance(value, list) or folders.find(str(value)) is not None:
            return None
        return name, f"Invalid {what} file: {value}"

    return complaint


def reads(name: str, what: str) -> dict[str, Any]:
    """The options of ``@node`` for a class that reads a file."""
    return {
        "fingerprint": fingerprint_of(name),
        "complaint": must_exist(name, what),
        "checks": frozenset({name}),
    }
