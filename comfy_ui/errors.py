"""Every error this package raises, in one tree.

::

    ComfyHeadlessError  (also named ComfyUIError)
    ├── ComfyUIConnectionError         the server cannot be reached or answers nonsense
    │   ├── ComfyUIOfflineError        nothing answers at that address
    │   ├── AuthenticationError        401 or 403: the server wants a login or a key
    │   └── CircuitOpenError           refused here, without asking: the server failed too often
    ├── ServerRejectedError            the server answered a request with an error status
    ├── GenerationError                a job was accepted and did not end well
    │   ├── GenerationFailedError      a node raised
    │   │   └── OutOfMemoryError       … because the device ran out of memory
    │   ├── GenerationTimeoutError     not finished in the time the caller allowed
    │   ├── GenerationCancelledError   interrupted or deleted, by anyone
    │   └── JobLostError               the server no longer knows the job
    ├── OutputMissingError             the job is good, but a file it names is gone or cut short
    ├── ValidationError                the request is wrong; nothing was sent or queued
    │   ├── InvalidWorkflowError       problems, per node
    │   │   ├── MissingNodesError      node classes that the server does not have
    │   │   └── MissingModelsError     model files that the server does not have
    │   ├── UnknownPresetError         no preset of that name
    │   └── InvalidAddressError        not an address of a ComfyUI server
    ├── StorageError                   this machine's disk or database refused
    ├── ModelDownloadError             a model file could not be fetched from its publisher
    ├── LanguageModelError             the model that writes prompts gave nothing usable
    └── MissingFeatureError            an optional dependency is not installed

Every error carries ``message`` (what happened), ``hint`` (what to do about it) and
``retryable`` (whether the same call may succeed later without any change).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a workflow, found here or told by the server.

    ``kind`` is ComfyUI's own error type where it has one (``value_not_in_list``,
    ``required_input_missing``, …), else one of ours (``missing_node``, ``missing_model``, …).
    """

    kind: str
    message: str
    hint: str = ""
    node: str | None = None
    node_title: str | None = None
    class_type: str | None = None
    input: str | None = None
    severity: Severity = "error"
    extra: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        where = self.node_title or self.class_type
        if where and self.node is not None:
            where = f"{where} (node {self.node})"
        text = f"{where}: {self.message}" if where else self.message
        return f"{text} {self.hint}".strip() if self.hint else text


@dataclass(frozen=True, slots=True)
class MissingModel:
    """A model file that a workflow needs. ``folder`` is the folder below ComfyUI's ``models/``."""

    folder: str
    filename: str
    url: str | None = None
    size_bytes: int | None = None
    license: str | None = None
    gated: bool = False
    sha256: str | None = None


class ComfyHeadlessError(Exception):
    """Base of every error of this package."""

    default_hint: ClassVar[str] = ""
    default_retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.retryable = self.default_retryable if retryable is None else retryable

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


ComfyUIError = ComfyHeadlessError


class ComfyUIConnectionError(ComfyHeadlessError):
    """The server cannot be reached, or what answers is not a ComfyUI."""

    default_hint = "Check the address and that ComfyUI is running there."
    default_retryable = True


class ComfyUIOfflineError(ComfyUIConnectionError):
    """Nothing answers at that address."""

    default_hint = "Start ComfyUI, or set COMFYUI_URL to the address where it runs."


class AuthenticationError(ComfyUIConnectionError):
    """The server, or a proxy before it, wants credentials (401, 403)."""

    default_hint = "Set COMFYUI_TOKEN, or pass token= or headers= to the client."
    default_retryable = False


class CircuitOpenError(ComfyUIConnectionError):
    """Refused without asking the server: it failed too often just now."""

    default_hint = "Retrying automatically."

    def __init__(self, message: str, *, retry_after_s: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ServerRejectedError(ComfyHeadlessError):
    """The server answered a request with an error status that has no class of its own."""

    def __init__(
        self, message: str, *, status: int, hint: str = "", retryable: bool | None = None
    ) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.status = status


class GenerationError(ComfyHeadlessError):
    """A job that the server had accepted did not end with a result."""

    def __init__(
        self,
        message: str,
        *,
        prompt_id: str | None = None,
        hint: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.prompt_id = prompt_id


class GenerationFailedError(GenerationError):
    """A node raised. What the server told of it is in the attributes."""

    default_hint = "See the node's message for the reason."

    def __init__(
        self,
        message: str,
        *,
        prompt_id: str | None = None,
        node_id: str | None = None,
        node_type: str | None = None,
        node_title: str | None = None,
        exception_type: str | None = None,
        traceback: Sequence[str] = (),
        hint: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, prompt_id=prompt_id, hint=hint, retryable=retryable)
        self.node_id = node_id
        self.node_type = node_type
        self.node_title = node_title
        self.exception_type = exception_type
        self.traceback = tuple(traceback)


class OutOfMemoryError(GenerationFailedError):
    """The device ran out of memory."""

    default_hint = (
        "Use a smaller size or batch, fewer frames or a smaller model, "
        "or free the server's memory (Status → Free memory) and try again."
    )


class GenerationTimeoutError(GenerationError):
    """The job is not finished in the time allowed. It goes on at the server."""

    default_hint = "Wait again with wait_for_completion(prompt_id), or cancel(prompt_id)."
    default_retryable = True


class GenerationCancelledError(GenerationError):
    """The job was interrupted or deleted, by this client or by somebody else."""

    default_hint = "Queue it again if this was not intended."


class JobLostError(GenerationError):
    """The server no longer knows the job: it was restarted, or the entry was deleted."""

    default_hint = "Queue it again: the server kept nothing."
    default_retryable = True


class OutputMissingError(ComfyHeadlessError):
    """The job succeeded, but a file it names is not there, or did not arrive whole."""

    default_hint = (
        "Run it again with another seed or file name prefix: "
        "ComfyUI answers an unchanged workflow with the old, now missing, file."
    )


class ValidationError(ComfyHeadlessError):
    """The request itself is wrong. Nothing was queued."""


class InvalidWorkflowError(ValidationError):
    """The workflow cannot run as it is; ``problems`` says why, node by node."""

    default_hint = "Mend the inputs named, then queue it again."

    def __init__(self, message: str, *, problems: Iterable[Problem] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class MissingNodesError(InvalidWorkflowError):
    """The workflow uses node classes that the server does not have."""

    default_hint = "Install the node packs named, or update ComfyUI, then restart it."

    def __init__(
        self,
        message: str,
        *,
        class_types: Iterable[str] = (),
        problems: Iterable[Problem] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, problems=problems, hint=hint)
        self.class_types = tuple(class_types)


class MissingModelsError(InvalidWorkflowError):
    """The workflow needs model files that the server does not have."""

    default_hint = "Put the files named into ComfyUI's models folder, then try again."

    def __init__(
        self,
        message: str,
        *,
        models: Iterable[MissingModel] = (),
        problems: Iterable[Problem] = (),
        hint: str = "",
    ) -> None:
        super().__init__(message, problems=problems, hint=hint)
        self.models = tuple(models)


class UnknownPresetError(ValidationError):
    """No preset of that name."""


class InvalidAddressError(ValidationError):
    """Not an address at which a ComfyUI server could be."""

    default_hint = "Give it as http://HOST:PORT, for instance http://192.168.1.100:8188."


class StorageError(ComfyHeadlessError):
    """This machine's disk or database refused."""

    default_hint = "Free some disk space, or choose another folder with --data-dir."


class ModelDownloadError(ComfyHeadlessError):
    """A model file could not be fetched from its publisher."""

    default_hint = "Fetch it by hand and put it into ComfyUI's models folder."


class LanguageModelError(ComfyHeadlessError):
    """The language model that writes prompts could not be asked, or gave nothing usable.

    ``status`` is the HTTP status where there was one, ``retry_after_s`` what the server asked
    for with a 429 or 503.
    """

    default_hint = "The built-in rules work without it."

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        hint: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.status = status
        self.retry_after_s = retry_after_s


class MissingFeatureError(ComfyHeadlessError):
    """An optional dependency is not installed; ``feature`` names the extra."""

    def __init__(self, message: str, *, feature: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.feature = feature


def closest(name: str, known: Iterable[str]) -> str:
    """A hint naming the known word closest to ``name``, or listing a few of them.

    >>> closest("sdlx", ["sdxl", "sd15"])
    "Did you mean 'sdxl'?"
    """
    words = sorted(known)
    near = difflib.get_close_matches(name, words, n=1, cutoff=0.5)
    if near:
        return f"Did you mean '{near[0]}'?"
    if not words:
        return ""
    shown = ", ".join(words[:12]) + (", …" if len(words) > 12 else "")
    return f"Known: {shown}."
