"""The answers of the endpoints for programs as models: the output schemas of the MCP tools."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["OUTPUTS"]


class ErrorAnswer(BaseModel):
    """Why a job failed."""

    message: str
    hint: str


class FileAnswer(BaseModel):
    """A result of a job."""

    id: int
    kind: str = Field(description="image, video, audio or another kind")
    preview: bool = Field(description="the last preview of a job that was stopped")
    filename: str
    media_type: str
    size_bytes: int
    width: int | None
    height: int | None
    prompt: str
    seed: int | None
    url: str = Field(description="address of the unmodified file")


class JobAnswer(BaseModel):
    """The state of a job."""

    job: str = Field(description="id of the job, for the tools job and cancel")
    group: str | None = Field(description="id of its group of jobs, for the same tools")
    phase: str = Field(description="queued, loading, running, saving, succeeded, failed, …")
    done: bool
    progress: float = Field(description="percent")
    step: int | None
    steps: int | None
    queue_position: int | None
    starts_in_s: float | None
    run_s: float | None
    eta_s: float | None
    iteration: int | None
    iterations: int | None
    text: str | None
    paused: bool
    server_deaths: int
    elapsed_s: float
    error: ErrorAnswer | None
    files: list[FileAnswer]
    texts: list[str]
    notices: list[str] = Field(default=[], description="values that were rounded")


class TrimAnswer(BaseModel):
    """The progress of a cut, and at the end its file."""

    job: str | None = Field(description="id of the job of the new file")
    phase: str
    done: bool
    progress: float = Field(description="percent")
    files: list[FileAnswer]


class StateAnswer(BaseModel):
    """The state of a job, with the fields of "generate", or of a group of jobs."""

    model_config = ConfigDict(extra="allow")

    job: str | None = None
    group: str | None
    phase: str | None = None
    jobs: list[str] = Field(default=[], description="the jobs of a group")
    done: bool
    paused: bool
    files: list[FileAnswer]


class ParameterAnswer(BaseModel):
    """A parameter of a preset."""

    id: str
    label: str
    role: str | None
    default: Any = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    choices: Any = None


class PresetAnswer(BaseModel):
    """A preset."""

    id: str
    title: str
    description: str
    kind: str
    task: str
    ready: bool | None = Field(description="whether it can run now; null while unknown")
    lack: str | None = Field(description="what it needs to run")
    takes_loras: bool
    takes_controlnets: bool
    takes_references: bool
    parameters: list[ParameterAnswer]


class PresetsAnswer(BaseModel):
    """All presets."""

    result: list[PresetAnswer]


class EnhanceAnswer(BaseModel):
    """A richer prompt."""

    prompt: str
    negative: str | None
    original: str
    source: str = Field(description="a language model, or the built-in rules")
    reason: str | None


class CancelAnswer(BaseModel):
    """Whether a job was cancelled."""

    cancelled: bool


class PauseAnswer(BaseModel):
    """Whether the queue is paused."""

    paused: bool
    everyone: bool


OUTPUTS: dict[str, type[BaseModel]] = {
    "generate": JobAnswer,
    "run_workflow": JobAnswer,
    "extend": JobAnswer,
    "trim": TrimAnswer,
    "enhance": EnhanceAnswer,
    "presets": PresetsAnswer,
    "job": StateAnswer,
    "cancel": CancelAnswer,
    "pause": PauseAnswer,
    "resume": PauseAnswer,
}
"""The model of each tool's answer, by name."""
