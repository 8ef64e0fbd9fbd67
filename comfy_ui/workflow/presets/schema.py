"""The schema of presets: a TOML sidecar beside an API-format graph.

A preset is two files, ``NAME.json`` (the graph) and ``NAME.toml`` (everything else, described
here). The sidecar's keys are the fields of :class:`Preset` other than ``id`` (the file's name),
``graph`` and ``thumbnail``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from ...errors import ValidationError
from ...protocol.object_info import NodeRegistry
from ..conditioning.control_nodes import takes_controlnets
from ..conditioning.picture_values import PICTURE_VALUES
from ..conditioning.reference_nodes import ReferenceMethod, reference_method
from ..fields.field_types import FIELD_TYPES, NUMBER_ROLES, Role, usual
from ..graph import Graph, NodeLink, classes, is_api_graph, literals
from ..loras.lora_slots import SlotEdge, find_lora_slots
from . import formula

Kind = Literal["image", "video", "audio", "text", "3d"]
Task = Literal[
    "t2i",
    "i2i",
    "inpaint",
    "outpaint",
    "edit",
    "control",
    "upscale",
    "t2v",
    "i2v",
    "video_upscale",
    "interpolate",
    "audio",
    "3d",
]
Value = str | int | float | bool

_FRAME_RULE = re.compile(r"(\d+)n\+(\d+)")
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ParamTarget(_Record):
    """An input that a param sets. ``"4.text"`` is short for node 4, input text."""

    node: str
    input: str
    transform: str | None = None
    """A formula over ``x``, the param's value, and ids of others: ``"x*fps+1"``."""

    @model_validator(mode="before")
    @classmethod
    def _from_short(cls, data: Any) -> Any:
        if isinstance(data, str):
            node, _, name = data.partition(".")
            return {"node": node, "input": name}
        return data


class Param(_Record):
    """One settable value of a preset.

    A sidecar has params in a table by id. ``role`` defaults to the id if that is a role's name,
    other keys to the role's defaults.
    """

    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    role: Role
    label: str
    targets: tuple[ParamTarget, ...] = ()
    default: Value | None = None
    group: str = "Main"
    order: int = 0
    advanced: bool = False
    hidden: bool = False
    """Not in the form; programs can still set it."""
    min: int | float | None = None
    max: int | float | None = None
    step: float | None = None
    choices: tuple[str, ...] | None = None
    choices_from: Literal["object_info"] | None = None
    """Use the server's list for the first target; ``choices``, if set, narrow it."""
    frame_rule: str | None = None
    """``"4n+1"``: the numbers of frames that the model supports."""
    optional: bool = False
    on_empty: Literal["keep", "drop_node"] = "keep"
    """What happens to the target nodes without a value: they can be removed."""
    help: str = ""

    @property
    def frames(self) -> tuple[int, int] | None:
        """The frame rule ``4n+1`` as ``(4, 1)``."""
        match = _FRAME_RULE.fullmatch(self.frame_rule) if self.frame_rule else None
        return (int(match[1]), int(match[2])) if match else None

    @field_validator("role")
    @classmethod
    def _known_role(cls, role: str) -> str:
        if role not in FIELD_TYPES:
            raise ValueError(f"there is no role '{role}'")
        return role

    @model_validator(mode="before")
    @classmethod
    def _as_usual(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = {"role": data.get("id"), **data}
        return {**usual(data["role"]), **data} if isinstance(data["role"], str) else data

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.frame_rule is not None and (self.frames is None or self.frames[0] == 0):
            raise ValueError(f"frame_rule '{self.frame_rule}' is not of the form '4n+1'")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        for target in self.targets:
            if target.transform is not None and self.role not in NUMBER_ROLES:
                raise ValueError(f"a transform needs a number, and role '{self.role}' is not one")
        return self


class PresetOutput(_Record):
    """A node whose files are results, and their media type."""

    node: str
    kind: Kind


class ModelRequirement(_Record):
    """A model file that the graph names. ``folder`` is the folder below ComfyUI's ``models/``."""

    folder: str
    filename: str
    url: Annotated[str, Field(pattern=r"^https://")] | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    size_bytes: Annotated[int, Field(gt=0)] | None = None
    """As published, possibly rounded."""
    gated: bool = False
    """Whether the publisher requires a login and consent before the download."""
    license: str | None = None
    alternatives: tuple[str, ...] = ()
    """Patterns (``*`` and ``?``) of equivalent local file names."""


class Size(_Record):
    """An image size that is offered by name."""

    label: str
    width: Annotated[int, Field(gt=0)]
    height: Annotated[int, Field(gt=0)]


class LoraSlot(_Record):
    """The links that LoRA loaders are inserted into."""

    model: tuple[str, int]
    clip: tuple[str, int] | None = None
    """If absent, LoRAs do not change the text encoder."""

    @property
    def edge(self) -> SlotEdge:
        """The slot for :func:`.lora_slots.insert_loras`."""
        return SlotEdge(NodeLink(*self.model), NodeLink(*self.clip) if self.clip else None)


class NodePatch(_Record):
    """A node that a variant adds, or the inputs it changes in an existing one."""

    class_type: str | None = None
    title: str | None = None
    inputs: dict[str, Any] = {}


class Variant(_Record):
    """Another way to run the same preset, for instance in four steps."""

    title: str
    description: str = ""
    defaults: dict[str, Value] = {}
    patch: dict[str, NodePatch] = {}
    remove: tuple[str, ...] = ()
    models: tuple[ModelRequirement, ...] = ()
    """Files needed besides those of the preset."""
    without: tuple[str, ...] = ()
    """File names of the preset's models that this variant does not need."""
    outputs: tuple[PresetOutput, ...] = ()
    """Its outputs, if they differ from the preset's."""
    min_comfyui: str | None = None
    vram_gb: float | None = None


class Profile(_Record):
    """Another name for the preset with some values set: ``ltx_quick``, a short LTX clip."""

    title: str
    description: str = ""
    values: dict[str, Value] = {}
    """Values of params, and optionally of ``variant``."""
    vram_gb: float | None = None


class Preset(_Record):
    """A graph with everything that a form and a server need to run it."""

    id: Annotated[str, Field(pattern=_NAME)]
    graph: Graph
    schema_version: Literal[1] = 1
    title: str
    description: str
    task: Task
    family: str
    order: int = 1000
    """The position in lists. The first image preset is the default."""
    tags: tuple[str, ...] = ()
    sample_prompts: tuple[str, ...] = ()
    params: tuple[Param, ...]
    outputs: Annotated[tuple[PresetOutput, ...], Field(min_length=1)]
    models: tuple[ModelRequirement, ...] = ()
    sizes: tuple[Size, ...] = ()
    custom_nodes: tuple[str, ...] = ()
    """Names of the required node packs besides ComfyUI's own nodes."""
    min_comfyui: str | None = None
    vram_gb: float | None = None
    """Recommended video memory; an estimate, as ComfyUI can offload to main memory."""
    license: str | None = None
    """The license of the models, if certain."""
    source: str | None = None
    """The source of the graph's settings."""
    base: dict[str, float] = {}
    """The base values for "quality", if not the defaults: steps, cfg, size (of a square)."""
    variants: dict[str, Variant] = {}
    profiles: dict[str, Profile] = {}
    lora_slots: tuple[LoraSlot, ...] = ()
    """If absent from the sidecar, found in the graph; an empty list means that it takes none."""
    controlnets: bool = True
    """False for a model that takes none of its family's ControlNets."""
    references: bool = True
    """False for a model that takes no reference images although its family does."""
    thumbnail: Path | None = None
    """The cover ``NAME.webp``, ``.png`` or ``.jpg`` beside the sidecar."""

    @property
    def kind(self) -> Kind:
        """The media type of its results."""
        return self.outputs[0].kind

    @property
    def node_classes(self) -> frozenset[str]:
        """The node classes that the graph uses, without variants."""
        return frozenset(classes(self.graph))

    @property
    def all_classes(self) -> frozenset[str]:
        """The node classes that the graph or a variant of it uses."""
        patches = (patch for variant in self.variants.values() for patch in variant.patch.values())
        return self.node_classes | {patch.class_type for patch in patches if patch.class_type}

    def param(self, key: str) -> Param | None:
        """Return the param with this id, or None."""
        return next((param for param in self.params if param.id == key), None)

    def by_role(self, role: Role) -> Param | None:
        """Return the first param with this role, or None."""
        return next((param for param in self.params if param.role == role), None)

    @property
    def size_params(self) -> tuple[Param, Param] | None:
        """The parameters of width and height; None unless there are both."""
        width, height = self.by_role("width"), self.by_role("height")
        return (width, height) if width and height else None

    @property
    def takes_controlnets(self) -> bool:
        """Whether ControlNets can be inserted into its graph."""
        return self.controlnets and takes_controlnets(self.graph, self.family)

    def reference_method(self, registry: NodeRegistry | None = None) -> ReferenceMethod | None:
        """Return how its model takes reference images, on that server; None if it does not."""
        return reference_method(self.graph, self.family, registry) if self.references else None

    def model_inputs(
        self, graph: Graph | None = None
    ) -> Iterator[tuple[ModelRequirement, str, str]]:
        """Yield the inputs that name model files: ``(requirement, node, input)``."""
        models = {model.filename: model for model in self.all_models()}
        for node, name, value in literals(self.graph if graph is None else graph):
            if isinstance(value, str) and value in models:
                yield models[value], node, name

    def all_models(self) -> tuple[ModelRequirement, ...]:
        """Return the models of the preset and of all its variants."""
        return (*self.models, *(m for variant in self.variants.values() for m in variant.models))

    @model_validator(mode="before")
    @classmethod
    def _params_by_id(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("params"), dict):
            params = [
                {"id": key, **param} if isinstance(param, dict) else param
                for key, param in data["params"].items()
            ]
            return {**data, "params": params}
        return data

    @model_validator(mode="before")
    @classmethod
    def _default_lora_slots(cls, data: Any) -> Any:
        if (
            not isinstance(data, dict)
            or "lora_slots" in data
            or not is_api_graph(data.get("graph"))
        ):
            return data
        slots = find_lora_slots(data["graph"])
        return {**data, "lora_slots": [slot._asdict() for slot in slots]}

    @model_validator(mode="after")
    def _check(self) -> Self:
        faults = list(_faults(self))
        if faults:
            raise ValueError("; ".join(faults))
        return self


def _faults(preset: Preset) -> Iterator[str]:
    """Yield the inconsistencies between a sidecar and its graph."""
    graph = preset.graph
    if not is_api_graph(graph):
        yield "the graph is not in API format"
        return
    ids = [param.id for param in preset.params]
    for twice in sorted({key for key in ids if ids.count(key) > 1}):
        yield f"two parameters have the id '{twice}'"
    for reserved in sorted(RESERVED & set(ids)):
        yield f"'{reserved}' cannot be the id of a parameter: it is reserved"
    patched = {node for variant in preset.variants.values() for node in variant.patch}
    for param in preset.params:
        if not param.targets:
            yield f"parameter '{param.id}' has no targets"
        for target in param.targets:
            yield from _target_faults(preset, param, target, patched)
    for output in preset.outputs:
        if output.node not in graph:
            yield f"the output node '{output.node}' is not in the graph"
    for slot in preset.lora_slots:
        for node, _ in filter(None, (slot.model, slot.clip)):
            if node not in graph:
                yield f"a LoRA slot names node '{node}', which is not in the graph"
    for name, variant in preset.variants.items():
        yield from _unknown(f"variant '{name}'", variant.defaults, ids)
        for node, patch in variant.patch.items():
            if node not in graph and patch.class_type is None:
                yield f"variant '{name}' adds node '{node}' without a class_type"
        for output in variant.outputs:
            if output.node not in graph and output.node not in variant.patch:
                yield f"variant '{name}' has node '{output.node}' as output, which does not exist"
        for node in variant.remove:
            if node not in graph:
                yield f"variant '{name}' removes node '{node}', which is not in the graph"
    for name, profile in preset.profiles.items():
        values = dict(profile.values)
        variant_name = values.pop("variant", None)
        if variant_name is not None and variant_name not in preset.variants:
            yield f"profile '{name}' names the variant '{variant_name}', which does not exist"
        yield from _unknown(f"profile '{name}'", values, ids)


def _target_faults(
    preset: Preset, param: Param, target: ParamTarget, patched: set[str]
) -> Iterator[str]:
    where = f"parameter '{param.id}'"
    if target.node not in preset.graph:
        if target.node not in patched:
            yield f"{where} writes to node '{target.node}', which is not in the graph"
    elif target.input not in preset.graph[target.node].get("inputs", {}):
        yield f"{where} writes to input '{target.input}', which node '{target.node}' does not set"
    if target.transform is not None:
        try:
            names = formula.parse(target.transform).names
        except ValidationError as error:
            yield f"{where}: {error.message}"
            return
        for name in sorted(names - {"x"}):
            other = preset.param(name)
            if other is None or other.role not in NUMBER_ROLES:
                yield f"{where}: '{target.transform}' uses '{name}', not a numeric parameter"


def _unknown(where: str, values: Mapping[str, Value], ids: list[str]) -> Iterator[str]:
    for key in values:
        if key not in ids:
            yield f"{where} sets '{key}', which is not a parameter"


RESERVED = frozenset(
    {
        "variant",
        "quality",
        "size",
        "loras",
        *PICTURE_VALUES,
        "preset",
        "preset_id",
        "object_info",
    }
)
"""Value names that every preset has, see ``param_values.resolve_values``."""
