"""The exceptions this package raises.

::

    ComfyHeadlessError  (also named ComfyUIError)
    ├── ComfyUIConnectionError         the server is unreachable or is not ComfyUI
    │   ├── ComfyUIOfflineError        nothing answers at the address
    │   ├── AuthenticationError        401 or 403: the server requires a login or a key
    │   └── CircuitOpenError           not sent: the server failed repeatedly
    ├── ServerRejectedError            the server answered a request with an error status
    ├── GenerationError                an accepted job did not succeed
    │   ├── GenerationFailedError      a node raised an exception
    │   │   └── OutOfMemoryError       the device ran out of memory
    │   ├── GenerationTimeoutError     not finished within the caller's timeout
    │   ├── GenerationCancelledError   interrupted or deleted
    │   └── JobLostError               the server has lost the job
    ├── OutputMissingError             a file of a finished job is gone or truncated
    ├── ValidationError                the request is invalid; nothing was queued
    │   ├── InvalidWorkflowError       the workflow has problems, listed by node
    │   │   ├── MissingNodesError      node classes missing on the server
    │   │   └── MissingModelsError     model files missing on the server
    │   ├── UnknownPresetError         no preset with that name
    │   ├── SpendingError              a user without that right ran a paid workflow
    │   ├── WorkLimitError             a file or workflow takes too much time or memory
    │   ├── UnknownModelError          no model file with that name, or several
    │   │   └── UnknownLoraError       no LoRA with that name, or several
    │   └── InvalidAddressError        not a valid server address
    ├── StorageError                   the local disk or database failed
    ├── ModelDownloadError             a model file could not be downloaded
    ├── EngineError                    comfy-ui's own ComfyUI could not be installed or started
    │   └── InstallCancelledError      its installation was cancelled
    ├── LanguageModelError             the language model failed or returned nothing usable
    └── MissingFeatureError            an optional dependency is not installed

Every error carries ``message`` (what happened), ``hint`` (what to do about it) and
``retryable`` (whether the same call may succeed later).
"""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem with a workflow, found by our checks or reported by the server.

    ``kind`` is ComfyUI's error type where it has one (``value_not_in_list``,
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
    """Base class of all errors of this package."""

    default_hint: ClassVar[str] = ""
    default_retryable: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", retryable: bool | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint
        self.retryable = self.default_retryable if retryable is None else retryable

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own calls the class with args alone, and some classes need more.
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]  # no stub


ComfyUIError = ComfyHeadlessError


class ComfyUIConnectionError(ComfyHeadlessError):
    """The server is unreachable, or it is not a ComfyUI server."""

    silent: bool = False
    """Whether the server took the connection, then sent nothing, as while it loads a model."""
    default_hint = "Check the address and that ComfyUI is running there."
    default_retryable = True


def is_silence(error: BaseException | None) -> bool:
    """Whether a server accepted the connection and then sent nothing."""
    return isinstance(error, ComfyUIConnectionError) and error.silent


class ComfyUIOfflineError(ComfyUIConnectionError):
    """Nothing answers at the address."""

    default_hint = "Start ComfyUI, or set COMFYUI_URL to the address where it runs."


class AuthenticationError(ComfyUIConnectionError):
    """The server, or a proxy in front of it, requires credentials (401, 403)."""

    default_hint = "Set COMFYUI_URL and COMFYUI_TOKEN, or pass token= or headers= to the client."
    default_retryable = False


class CircuitOpenError(ComfyUIConnectionError):
    """The request was not sent: the server failed repeatedly. See ``retry_after_s``."""

    default_hint = "Retrying automatically."

    def __init__(self, message: str, *, retry_after_s: float = 0.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ServerRejectedError(ComfyHeadlessError):
    """The server answered with an error status that no other class covers.

    ``retry_after_s`` is the wait that the server asked for, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        hint: str = "",
        retryable: bool | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=hint, retryable=retryable)
        self.status = status
        self.retry_after_s = retry_after_s

    @property
    def is_full(self) -> bool:
        """Whether the server takes no more jobs now; a later post may succeed."""
        return self.status == 429


class GenerationError(ComfyHeadlessError):
    """An accepted job did not succeed."""

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
    """A node raised an exception; the attributes hold the server's report of it."""

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
    """The job did not finish in time. It keeps running, unless ``cancel_on_exit`` or
    ``job_timeout`` cancels it."""

    default_hint = "Wait again with wait_for_completion(prompt_id), or cancel(prompt_id)."
    default_retryable = True


class GenerationCancelledError(GenerationError):
    """The job was interrupted or deleted, by this client or another one."""

    default_hint = "Queue it again if this was not intended."


class JobLostError(GenerationError):
    """The server has lost the job: it restarted, or the job was deleted there.

    ``finished``: the job had run to its end, so its files may be in ComfyUI's output folder.
    """

    default_hint = "Queue it again: the server kept nothing."
    default_retryable = True

    def __init__(
        self,
        message: str,
        *,
        prompt_id: str | None = None,
        finished: bool = False,
        hint: str = "",
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message, prompt_id=prompt_id, hint=hint, retryable=retryable)
        self.finished = finished


class OutputMissingError(ComfyHeadlessError):
    """A file of a finished job is missing on the server, or arrived truncated."""

    default_hint = (
        "Run it again with another seed or file name prefix: "
        "for an unchanged workflow, ComfyUI returns the old file, which is missing."
    )


class ValidationError(ComfyHeadlessError):
    """The request is invalid. Nothing was queued."""


class InvalidWorkflowError(ValidationError):
    """The workflow cannot run; ``problems`` lists the reasons by node."""

    default_hint = "Fix the inputs named, then queue it again."

    def __init__(self, message: str, *, problems: Iterable[Problem] = (), hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class MissingNodesError(InvalidWorkflowError):
    """The workflow uses node classes missing on the server."""

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
    """The workflow needs model files missing on the server."""

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
    """No preset has that name."""


class SpendingError(ValidationError):
    """The workflow has partner nodes, which cost credits, and the user may not spend any."""

    default_hint = "Ask an admin of this app to run it, or for the right to run paid workflows."


class WorkLimitError(ValidationError):
    """A file or workflow takes too much time or memory to read."""


class UnknownModelError(ValidationError):
    """The server has no model file with that name, or several. ``name`` is as it was written."""

    def __init__(self, message: str, *, name: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.name = name


class UnknownLoraError(UnknownModelError):
    """The server has no LoRA with that name, or several."""


class InvalidAddressError(ValidationError):
    """The text is not a valid server address."""

    default_hint = "Write it as http://HOST:PORT, for example http://192.168.1.100:8188."


class StorageError(ComfyHeadlessError):
    """The local disk or database failed."""

    default_hint = "Free some disk space, or choose another folder with --data-dir."


class ModelDownloadError(ComfyHeadlessError):
    """A model file could not be downloaded from its publisher."""

    default_hint = "Download it manually and put it into ComfyUI's models folder."


class EngineError(ComfyHeadlessError):
    """The ComfyUI that comfy-ui manages could not be installed, started or updated."""


class InstallCancelledError(EngineError):
    """The installation was cancelled. What was fetched is kept."""

    default_hint = "Start it again to continue."


class LanguageModelError(ComfyHeadlessError):
    """The language model for prompts failed, or returned nothing usable.

    ``status`` is the HTTP status, if any; ``retry_after_s`` is the wait that a 429 or 503 asked
    for.
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
    """An optional dependency is not installed; ``feature`` names the extra or the package."""

    def __init__(self, message: str, *, feature: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.feature = feature


_NAMES_IN_HINT = 3


def closest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the known name closest to ``name``, or with the few that are nearest.

    >>> closest("sdlx", ["sdxl", "sd15"])
    "Did you mean 'sdxl'?"
    >>> closest("qq", ["a", "b", "c", "d", "e"])
    'Known: a, b, c and 2 more.'
    """
    words = sorted(known)
    near = difflib.get_close_matches(name, words, n=1, cutoff=0.5)
    if near:
        return f"Did you mean '{near[0]}'?"
    if not words:
        return ""
    if len(words) <= _NAMES_IN_HINT + 1:
        return f"Known: {', '.join(words)}."
    words.sort(key=lambda word: -difflib.SequenceMatcher(None, word, name).quick_ratio())
    ranked = words[:_NAMES_IN_HINT]
    return f"Known: {', '.join(ranked)} and {len(words) - len(ranked)} more."
