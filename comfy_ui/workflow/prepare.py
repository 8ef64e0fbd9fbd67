"""The pipeline: from a source and values to a graph that a server can run.

The page, the API, the command line and the clients all call :func:`prepare`. It is pure: presets,
wildcards, ``/object_info``, the current time and the random numbers are arguments.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from ..errors import InvalidWorkflowError, Problem, ValidationError
from ..protocol.object_info import NodeRegistry
from .checks.allow_list import check_allowed
from .checks.graph_checks import check_workflow, error_for
from .checks.requirements import preset_problems
from .conditioning.control_nodes import insert_controlnets
from .conditioning.control_values import parse_controlnets, resolve_controlnets
from .conditioning.picture_values import PICTURE_VALUES
from .conditioning.reference_nodes import insert_references
from .conditioning.reference_values import parse_references
from .controls import Control, apply_values, find_controls, named_values
from .fields.field_types import FILE_ROLES
from .fields.param_values import resolve_values, rounding_notices
from .filename_prefix import fill_prefixes
from .graph import AnyGraph, Graph
from .load import Workflow, load_workflow
from .loras.lora_slots import find_lora_slots, insert_loras
from .loras.lora_tags import find_lora_tags, lora_tags, reads_lora_tags, remove_lora_tags
from .loras.lora_values import active_loras, lora_files, merge_loras
from .model_files import family_of, model_files
from .presets.graph_builder import build_graph
from .presets.preset_from_workflow import models_of
from .presets.preset_store import Presets
from .presets.schema import ModelRequirement, Param, Preset
from .prompt_arrays import prompt_arrays
from .wildcards import PROMPT_ROLES, ExpandedValues, expand_values, has_wildcards

__all__ = [
    "PreparedGraph",
    "Source",
    "file_values",
    "prepare",
    "prompt_values",
    "settable_values",
    "source_problems",
    "value_notices",
]

Source: TypeAlias = "str | Preset | Workflow | Mapping[str, Any]"
"""A preset's id, a preset, a loaded workflow, or a workflow as JSON data in either format."""


@dataclass(frozen=True, slots=True)
class PreparedGraph:
    """A graph in API format and the values in it.

    ``values`` are those of the job: every param of a preset, or the set controls of a workflow,
    with wildcards expanded. ``templates`` are the prompts before expansion, by name. ``problems``
    are those of the graph on the server, empty without ``object_info``. ``controls`` are those of a
    workflow with values. ``notices`` name the values that differ from the given ones, such as a
    rounded width.
    """

    graph: Graph
    values: dict[str, Any] = field(default_factory=dict)
    templates: dict[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    preset: Preset | None = None
    editor: dict[str, Any] | None = None
    controls: tuple[Control, ...] = ()
    notices: tuple[str, ...] = ()

    @property
    def error(self) -> InvalidWorkflowError | None:
        """Return an error with ``problems``; None if a server can run the graph."""
        return error_for(self.problems)

    def require_runnable(self) -> None:
        """Raise InvalidWorkflowError (or a subclass) if a server cannot run the graph."""
        if self.error is not None:
            raise self.error


def prepare(
    source: Source,
    values: Mapping[str, Any],
    *,
    presets: Presets,
    object_info: Sequence[NodeRegistry] = (),
    wildcards: Mapping[str, Sequence[str]] | None = None,
    uploads: Container[str] = (),
    guest_uploads: frozenset[str] | None = None,
    now: datetime | None = None,
    rng: random.Random | None = None,
) -> PreparedGraph:
    """Build the graph of a source with these values.

    Args:
        source: what to run; an id is looked up in ``presets``.
        values: a preset's values, see :func:`.param_values.resolve_values`, or those of a
            workflow's controls, named as in :func:`.apply_values`.
        presets: the known presets; those that ship also supply the URLs of missing model files.
        object_info: the servers' registries, the preferred server first. A preset uses the model
            files that a server has, so the graph is built for the first server that can run it,
            else for the first. If empty, the graph is not checked.
        wildcards: the lines of each wildcard, see :func:`.wildcards.expand_wildcards`.
        uploads: names of input files that exist although ``object_info`` may not list them yet.
        guest_uploads: set for users who may only run presets: the graph must be one that the
            preset can produce, and its input files must be among these.
        now: the time for ``%date%`` in file name prefixes; None leaves prefixes unchanged.
        rng: draws random seeds.

    Raises:
        UnknownPresetError: no preset has that id.
        ValidationError: a value is unknown, out of range, not among the choices, or missing.
        InvalidWorkflowError: the workflow cannot be converted, or a guest may not run it.
    """
    loaded = _loaded(source, presets)
    lines = {} if wildcards is None else wildcards  # its truth value would list a folder
    first: PreparedGraph | ValidationError | None = None
    for registry in object_info or (None,):
        try:
            built = _build(loaded, values, registry, wildcards=lines, guest=guest_uploads, rng=rng)
            prepared = _checked(built, registry, presets, uploads)
        except ValidationError as error:
            first = first or error
            continue
        if prepared.error is None:
            first = prepared
            break
        first = first or prepared
    if isinstance(first, ValidationError):
        raise first
    assert first is not None  # noqa: S101 -- the loop runs at least once
    if now is None:
        return first
    return replace(first, graph=fill_prefixes(first.graph, now))


def value_notices(preset: Preset, values: Mapping[str, Any]) -> list[str]:
    """Describe what a preset changes in the values: rounded numbers, tags in negative prompts."""
    return [
        *rounding_notices(preset, values),
        *_negative_tags(preset.params, values, preset.graph),
        *_array_notices(preset.params, values),
    ]


def settable_values(
    source: Source, object_info: NodeRegistry, *, presets: Presets
) -> tuple[Param | Control, ...]:
    """Return the settable values of a source: a preset's params or a workflow's controls.

    Raises:
        UnknownPresetError: no preset has that id.
        InvalidWorkflowError: the workflow cannot be converted.
    """
    loaded = _loaded(source, presets)
    if isinstance(loaded, Preset):
        return loaded.params
    return (*find_controls(loaded.to_graph(object_info), object_info, loaded.editor),)


def file_values(
    source: Preset | Workflow, names: Iterable[str], object_info: NodeRegistry
) -> set[str]:
    """Return those of the names of values that take a file.

    Raises:
        ValidationError: a name is unknown or ambiguous.
    """
    return _values_with_roles(source, names, object_info, FILE_ROLES)


def prompt_values(
    source: Preset | Workflow, names: Iterable[str], object_info: NodeRegistry
) -> set[str]:
    """Return those of the names of values that are prompts, positive or negative.

    Raises:
        ValidationError: a name is unknown or ambiguous.
    """
    return _values_with_roles(source, names, object_info, PROMPT_ROLES)


def _values_with_roles(
    source: Preset | Workflow,
    names: Iterable[str],
    object_info: NodeRegistry,
    roles: Container[str],
) -> set[str]:
    if isinstance(source, Workflow) and source.preset is not None:
        source = source.preset
    if isinstance(source, Preset):
        return {one.id for one in source.params if one.role in roles} & {*names}
    graph = source.to_graph(object_info)
    controls = find_controls(graph, object_info, source.editor)
    return {
        name for name in names if named_values(graph, controls, {name: None})[0][0].role in roles
    }


def source_problems(
    source: Source,
    object_info: NodeRegistry,
    *,
    presets: Presets,
    variant: str | None = None,
) -> list[Problem]:
    """Return what a server lacks to run a source, regardless of values.

    Raises:
        UnknownPresetError: no preset has that id.
        InvalidWorkflowError: the workflow cannot be converted, for the reasons in ``problems``.
    """
    loaded = _loaded(source, presets)
    if isinstance(loaded, Preset):
        return preset_problems(loaded, object_info, variant=variant, shipped=presets.shipped)
    models = models_of(loaded.editor or {})
    return check_workflow(
        loaded.to_graph(object_info), object_info, models=models, shipped=presets.shipped
    )


def _loaded(source: Source, presets: Presets) -> Preset | Workflow:
    if isinstance(source, str):
        return presets.require(source)
    if isinstance(source, Mapping):
        return load_workflow(source)
    if isinstance(source, Workflow) and source.preset is not None:
        return source.preset
    return source


def _build(
    source: Preset | Workflow,
    values: Mapping[str, Any],
    registry: NodeRegistry | None,
    *,
    wildcards: Mapping[str, Sequence[str]],
    guest: frozenset[str] | None,
    rng: random.Random | None,
) -> PreparedGraph:
    if isinstance(source, Preset):
        return _build_preset(source, values, registry, wildcards=wildcards, guest=guest, rng=rng)
    if guest is not None:
        raise ValidationError("Only presets can be run here.")
    graph = source.to_graph(registry)
    if not values:
        return PreparedGraph(graph, editor=source.editor)
    if registry is None:
        raise InvalidWorkflowError(
            "Values cannot be set in a workflow without the server's node list.",
            hint="Pass object_info.",
        )
    controls = find_controls(graph, registry, source.editor)
    shared = {"loras", *PICTURE_VALUES} - {control.id for control in controls}
    loras = values.get("loras") if "loras" in shared else None
    controlnets = values.get("controlnets") if "controlnets" in shared else None
    references = values.get("references") if "references" in shared else None
    values = {name: value for name, value in values.items() if name not in shared}
    named, values = named_values(graph, controls, values)
    settables = [*named, *(control for control in controls if control not in named)]
    expanded = expand_values(values, settables, wildcards, rng=rng)
    texts, loras = _take_lora_tags(expanded, settables, graph, loras, registry)
    graph = apply_values(graph, settables, texts.values, rng=rng)
    slots = find_lora_slots(graph, registry)
    if active_loras(loras) and not slots:
        raise ValidationError("This workflow takes no LoRAs, as it loads no model.")
    insert_loras(graph, slots, loras)
    family = next(filter(None, map(family_of, model_files(graph))), "")
    added = {
        "loras": loras,
        "controlnets": resolve_controlnets(parse_controlnets(controlnets), registry, family),
        "references": parse_references(references),
    }
    insert_controlnets(graph, added["controlnets"], registry, family)
    insert_references(graph, added["references"], registry, family)
    return PreparedGraph(
        graph,
        {**texts.values, **{name: entries for name, entries in added.items() if entries}},
        texts.templates,
        editor=source.editor,
        controls=(*settables,),
        notices=(
            *_negative_tags(settables, expanded.values, graph),
            *_array_notices(settables, expanded.values),
        ),
    )


def _build_preset(
    preset: Preset,
    values: Mapping[str, Any],
    registry: NodeRegistry | None,
    *,
    wildcards: Mapping[str, Sequence[str]],
    guest: frozenset[str] | None,
    rng: random.Random | None,
) -> PreparedGraph:
    expanded = _preset_texts(preset, values, wildcards, rng)
    texts, loras = _take_lora_tags(
        expanded, preset.params, preset.graph, expanded.values.get("loras"), registry
    )
    job_values = {**texts.values, "loras": loras}
    complete = resolve_values(preset, job_values, object_info=registry, rng=rng)
    graph = build_graph(preset, complete, object_info=registry)
    if guest is not None and (refused := check_allowed(graph, preset, guest)):
        raise InvalidWorkflowError(str(refused[0]), problems=refused)
    notices = (*value_notices(preset, {**values, **expanded.values}),)
    return PreparedGraph(graph, complete, texts.templates, preset=preset, notices=notices)


def _preset_texts(
    preset: Preset,
    values: Mapping[str, Any],
    wildcards: Mapping[str, Sequence[str]],
    rng: random.Random | None,
) -> ExpandedValues:
    """Expand the wildcards in the values and in default prompts."""
    defaults = {
        param.id: param.default
        for param in preset.params
        if param.role in PROMPT_ROLES
        and isinstance(param.default, str)
        and (has_wildcards(param.default) or any(find_lora_tags(param.default)))
        and values.get(param.id) is None
    }
    return expand_values({**values, **defaults}, preset.params, wildcards, rng=rng)


def _take_lora_tags(
    texts: ExpandedValues,
    settables: Iterable[Param | Control],
    graph: AnyGraph,
    loras: Any,
    registry: NodeRegistry | None,
) -> tuple[ExpandedValues, list[dict[str, Any]]]:
    """Return the prompts without LoRA tags, and the job's LoRAs with those of the tags.

    The tags stay in the text if a node of the graph applies them.
    """
    names = () if reads_lora_tags(graph) else _prompt_names(settables, PROMPT_ROLES)
    prompts = {name: text for name in names if isinstance(text := texts.values.get(name), str)}
    tags = [
        lora
        for name in _prompt_names(settables, ("prompt",))
        if name in prompts
        for lora in lora_tags(prompts[name])
    ]
    plain = {name: remove_lora_tags(text) for name, text in prompts.items()}
    merged = merge_loras(loras, tags, lora_files(registry))
    return ExpandedValues({**texts.values, **plain}, texts.templates), merged


def _negative_tags(
    settables: Iterable[Param | Control], values: Mapping[str, Any], graph: AnyGraph
) -> list[str]:
    """Name the LoRAs in negative prompts, which have no effect there."""
    if reads_lora_tags(graph):
        return []
    texts = [str(values.get(name) or "") for name in _prompt_names(settables, ("negative",))]
    names = dict.fromkeys(tag.name for text in texts for tag in find_lora_tags(text))
    if not names:
        return []
    return [f"LoRA tags have no effect in the negative prompt: {', '.join(names)}."]


def _array_notices(settables: Iterable[Param | Control], values: Mapping[str, Any]) -> list[str]:
    """Name the arrays in prompts: one job cannot stand for several."""
    texts = [str(values.get(name) or "") for name in _prompt_names(settables, PROMPT_ROLES)]
    sources = dict.fromkeys(array.source for text in texts for array in prompt_arrays(text))
    return [
        f"{source} is sent as text; expand_arrays() makes a prompt of each entry."
        for source in sources
    ]


def _prompt_names(settables: Iterable[Param | Control], roles: Container[str]) -> list[str]:
    return [one.id for one in settables if one.role in roles]


def _checked(
    built: PreparedGraph, registry: NodeRegistry | None, presets: Presets, uploads: Container[str]
) -> PreparedGraph:
    if registry is None:
        return built
    models: tuple[ModelRequirement, ...] = (
        built.preset.all_models() if built.preset else (*models_of(built.editor or {}),)
    )
    problems = check_workflow(
        built.graph, registry, uploads=uploads, models=models, shipped=presets.shipped
    )
    return replace(built, problems=tuple(problems))
