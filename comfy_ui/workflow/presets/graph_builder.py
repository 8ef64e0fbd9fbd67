"""Build the graph of a preset from complete values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ValidationError, closest
from ...protocol.object_info import NodeRegistry
from ..conditioning.control_nodes import insert_controlnets
from ..conditioning.reference_nodes import insert_references
from ..fields.field_types import FILE_ROLES
from ..graph import Graph, copied, drop_node, literal
from ..loras.lora_slots import insert_loras
from ..model_files import find_model
from . import formula
from .schema import ModelRequirement, Preset, Profile, Variant

ObjectInfo = NodeRegistry | Mapping[str, Any]


def build_graph(
    preset: Preset, values: Mapping[str, Any], *, object_info: ObjectInfo | None = None
) -> Graph:
    """Build the graph for values completed by :func:`..fields.param_values.resolve_values`."""
    library = None if object_info is None else as_library(object_info)
    variant = find_variant(preset, values.get("variant"))
    graph = patched_graph(preset, variant)
    numbers = {key: v for key, v in values.items() if isinstance(v, int | float)}
    dropped = set()  # until nodes were inserted, so that these do not take their ids
    for param in preset.params:
        value = values.get(param.id)
        empty = value is None or (param.role in FILE_ROLES and value == "")
        for target in param.targets:
            if target.node not in graph:
                continue  # a node of another variant
            if not empty:
                graph[target.node]["inputs"][target.input] = literal(
                    _written(target.transform, value, numbers)
                )
            elif param.on_empty == "drop_node":
                dropped.add(target.node)
    if library is not None:
        _use_present_models(preset, graph, library)
    insert_loras(graph, [slot.edge for slot in preset.lora_slots], values.get("loras") or ())
    insert_controlnets(graph, values.get("controlnets") or (), library, preset.family)
    insert_references(graph, values.get("references") or (), library, preset.family, dropped)
    for node in dropped:
        drop_node(graph, node)
    return graph


def as_library(object_info: ObjectInfo) -> NodeRegistry:
    """Return a NodeRegistry; wraps a raw ``/object_info``."""
    return object_info if isinstance(object_info, NodeRegistry) else NodeRegistry(object_info)


def find_variant(preset: Preset, name: Any) -> Variant | None:
    """Return the preset's variant with this name; None if no name is given.

    Raises:
        ValidationError: the preset has no such variant.
    """
    if name is None or name == "":
        return None
    variant = preset.variants.get(str(name))
    if variant is None:
        excerpt = str(name)[:200]
        raise ValidationError(
            f"The preset '{preset.id}' has no variant '{excerpt}'.",
            hint=closest(excerpt, preset.variants),
        )
    return variant


def patched_graph(preset: Preset, variant: Variant | None) -> Graph:
    """Return a copy of the preset's graph with the variant's changes."""
    graph = copied(preset.graph)
    if variant is None:
        return graph
    for node in variant.remove:
        drop_node(graph, node)
    for node, patch in variant.patch.items():
        entry = graph.setdefault(node, {"class_type": patch.class_type, "inputs": {}})
        if patch.class_type is not None:
            entry["class_type"] = patch.class_type
        if patch.title is not None:
            entry["_meta"] = {"title": patch.title}
        entry["inputs"] |= copied({"": patch.inputs})[""]
    return graph


def _written(transform: str | None, value: Any, numbers: Mapping[str, int | float]) -> Any:
    return value if transform is None else formula.parse(transform)({**numbers, "x": value})


def _use_present_models(preset: Preset, graph: Graph, library: NodeRegistry) -> None:
    for model, node, name in preset.model_inputs(graph):
        spec = library.get(graph[node]["class_type"])
        present = spec.inputs[name].choices if spec is not None and name in spec.inputs else None
        filename = find_model(model.filename, present or (), model.alternatives)
        if filename is not None:
            graph[node]["inputs"][name] = filename


def specialise(preset: Preset, name: str, profile: Profile) -> Preset:
    """Return a profile as a preset, with its variant applied and its values as defaults."""
    values = dict(profile.values)
    variant = find_variant(preset, values.pop("variant", None))
    defaults = {**(variant.defaults if variant else {}), **values}
    return preset.model_copy(
        update={
            "id": name,
            "title": profile.title,
            "description": profile.description or preset.description,
            "graph": patched_graph(preset, variant),
            "params": tuple(
                param.model_copy(update={"default": defaults.get(param.id, param.default)})
                for param in preset.params
            ),
            "outputs": (variant and variant.outputs) or preset.outputs,
            "models": models_for(preset, variant),
            "vram_gb": profile.vram_gb or (variant and variant.vram_gb) or preset.vram_gb,
            "min_comfyui": (variant and variant.min_comfyui) or preset.min_comfyui,
            "variants": {},
            "profiles": {},
        }
    )


def models_for(preset: Preset, variant: Variant | None) -> tuple[ModelRequirement, ...]:
    """Return the model files that a run with this variant needs."""
    if variant is None:
        return preset.models
    return (*(m for m in preset.models if m.filename not in variant.without), *variant.models)
