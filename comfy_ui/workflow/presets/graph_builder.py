"""Build the graph of a preset from complete values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...errors import ValidationError, closest
from ...protocol.object_info import NodeRegistry
from ..fields.field_types import FILE_ROLES
from ..graph import Graph, NodeLink, copied, drop_node, literal, splice
from ..model_files import find_model
from . import formula
from .schema import ModelRequirement, Preset, Profile, Variant

ObjectInfo = NodeRegistry | Mapping[str, Any]


def build_graph(
    preset: Preset, values: Mapping[str, Any], *, object_info: ObjectInfo | None = None
) -> Graph:
    """The graph for values that :func:`..fields.param_values.resolve_values` has completed."""
    library = None if object_info is None else as_library(object_info)
    variant = find_variant(preset, values.get("variant"))
    graph = patched_graph(preset, variant)
    numbers = {key: v for key, v in values.items() if isinstance(v, int | float)}
    for param in preset.params:
        value = values.get(param.id)
        empty = value is None or (param.role in FILE_ROLES and value == "")
        for target in param.targets:
            if target.node not in graph:
                continue  # another variant's node
            if not empty:
                graph[target.node]["inputs"][target.input] = literal(
                    _written(target.transform, value, numbers)
                )
            elif param.on_empty == "drop_node":
                drop_node(graph, target.node)
    if library is not None:
        _use_present_models(preset, graph, library)
    _put_in_loras(preset, graph, values.get("loras") or ())
    return graph


def as_library(object_info: ObjectInfo) -> NodeRegistry:
    """The node list as specs; the raw answer of ``/object_info`` is wrapped, a library passes."""
    return object_info if isinstance(object_info, NodeRegistry) else NodeRegistry(object_info)


def find_variant(preset: Preset, name: Any) -> Variant | None:
    """The preset's variant of that name; None for no name.

    Raises:
        ValidationError: it has none of that name.
    """
    if name is None or name == "":
        return None
    variant = preset.variants.get(str(name))
    if variant is None:
        shown = str(name)[:200]
        raise ValidationError(
            f"The preset '{preset.id}' has no variant '{shown}'.",
            hint=closest(shown, preset.variants),
        )
    return variant


def patched_graph(preset: Preset, variant: Variant | None) -> Graph:
    """A copy of the preset's graph, as the variant changes it."""
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
        found = find_model(model.filename, present or (), model.alternatives)
        if found is not None:
            graph[node]["inputs"][name] = found


def _put_in_loras(preset: Preset, graph: Graph, loras: Iterable[Mapping[str, Any]]) -> None:
    for slot in preset.lora_slots:
        model, clip = NodeLink(*slot.model), NodeLink(*slot.clip) if slot.clip else None
        for lora in loras:
            inputs = {"lora_name": lora["name"], "strength_model": lora["strength"]}
            entry: dict[str, Any] = {
                "class_type": "LoraLoaderModelOnly",
                "inputs": inputs,
                "_meta": {"title": f"LoRA {lora['name']}"},
            }
            sources = {"model": model}
            if clip is not None:
                entry["class_type"] = "LoraLoader"
                inputs["strength_clip"] = lora["strength"]
                sources["clip"] = clip
            model, *rest = splice(graph, sources, entry)
            clip = rest[0] if rest else None


def specialise(preset: Preset, name: str, profile: Profile) -> Preset:
    """A profile as a preset: its variant applied, its values as defaults."""
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
    """The files that a run with this variant needs."""
    if variant is None:
        return preset.models
    return (*(m for m in preset.models if m.filename not in variant.without), *variant.models)
