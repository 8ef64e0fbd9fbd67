"""Where a graph takes LoRA loaders, and which it has.

A slot is an output of a model loader, and of a text encoder if LoRAs of that model family change
it. A loader is inserted into every link that starts there, so all consumers read the last LoRA.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ...protocol.object_info import NodeRegistry
from ..graph import AnyGraph, Graph, NodeLink, as_link, consumers, inputs_of, splice
from ..model_files import is_model_file
from .lora_values import active_loras

__all__ = ["SlotEdge", "find_lora_slots", "insert_loras", "loras_in_graph"]

# The output slots of model and text encoder.
_CHECKPOINT_LOADERS: Final[Mapping[str, tuple[int, int | None]]] = {
    "CheckpointLoaderSimple": (0, 1),
    "CheckpointLoader": (0, 1),
    "unCLIPCheckpointLoader": (0, 1),
    "DiffusersLoader": (0, 1),
    "ImageOnlyCheckpointLoader": (0, None),
}
_MODEL_LOADERS: Final = frozenset({"UNETLoader", "UnetLoaderGGUF", "UnetLoaderGGUFAdvanced"})
# The types of text encoder loaders whose models have LoRAs for the text encoder.
_CLIP_LOADERS: Final[Mapping[str, frozenset[str]]] = {
    "CLIPLoader": frozenset({"stable_diffusion", "sd3"}),
    "CLIPLoaderGGUF": frozenset({"stable_diffusion", "sd3"}),
    "DualCLIPLoader": frozenset({"sdxl", "sd3", "flux"}),
    "DualCLIPLoaderGGUF": frozenset({"sdxl", "sd3", "flux"}),
    "TripleCLIPLoader": frozenset({""}),
    "TripleCLIPLoaderGGUF": frozenset({""}),
}
_NOISE_STAGE = re.compile(r"(high|low)[ _.-]?noise", re.IGNORECASE)


class SlotEdge(NamedTuple):
    """The outputs that LoRA loaders are inserted after."""

    model: NodeLink
    clip: NodeLink | None = None


def find_lora_slots(graph: AnyGraph, registry: NodeRegistry | None = None) -> list[SlotEdge]:
    """Find the slots of a graph: one for each model loader whose model is used.

    With ``registry``, loaders of node packs are found, too: nodes that read a file and return a
    model without taking one.
    """
    slots = [SlotEdge(model, _used(graph, clip)) for model, clip in _model_outputs(graph, registry)]
    encoders = [NodeLink(node, 0) for node in graph if _is_clip_loader(graph, node)]
    encoders = [link for link in encoders if consumers(graph, link)]
    if encoders and slots and not any(slot.clip for slot in slots):
        # A second slot on the same encoder would apply each LoRA to it twice.
        slots[0] = SlotEdge(slots[0].model, encoders[0])
    return slots


def insert_loras(
    graph: Graph, slots: Iterable[SlotEdge], loras: Sequence[Mapping[str, Any]]
) -> None:
    """Add the loaders of a job's LoRAs, in place, in their order.

    ``loras`` are in the stored form, see :mod:`.lora_values`. Those that are off are skipped. A
    model in two files, for high and low noise, gets each LoRA twice, unless the LoRA's name says
    which file it is for.
    """
    present = [slot for slot in slots if slot.model.node in graph]
    for slot in present:
        model, clip = slot
        for lora in active_loras(loras):
            has_effect = lora["strength"] or clip is not None
            if has_effect and not _is_of_other_stage(lora["name"], slot, present, graph):
                model, clip = _insert(graph, model, clip, lora)


def loras_in_graph(graph: AnyGraph) -> list[dict[str, Any]]:
    """Return the LoRAs that the loaders of a graph name, in the stored form, each once."""
    loras: dict[str, dict[str, Any]] = {}
    for node in graph:
        for lora in _loras_of_node(inputs_of(graph, node)):
            loras.setdefault(lora["name"], lora)
    return [*loras.values()]


def _model_outputs(
    graph: AnyGraph, registry: NodeRegistry | None
) -> Iterator[tuple[NodeLink, NodeLink | None]]:
    for node, entry in graph.items():
        class_type = str(entry.get("class_type"))
        slots = _CHECKPOINT_LOADERS.get(class_type)
        if slots is None and class_type in _MODEL_LOADERS:
            slots = (0, None)
        if slots is None and registry is not None:
            slots = _slots_of_class(graph, node, registry)
        if slots is not None and consumers(graph, NodeLink(node, slots[0])):
            clip = None if slots[1] is None else NodeLink(node, slots[1])
            yield NodeLink(node, slots[0]), clip


def _slots_of_class(
    graph: AnyGraph, node: str, registry: NodeRegistry
) -> tuple[int, int | None] | None:
    """Return the outputs of a loader of a node pack; None for any other node."""
    spec = registry.get(str(graph[node].get("class_type")))
    if spec is None or "MODEL" not in spec.outputs:
        return None
    if any(declared.type == "MODEL" for declared in spec.inputs.values()):
        return None
    if not any(is_model_file(value) for value in inputs_of(graph, node).values()):
        return None
    clip = spec.outputs.index("CLIP") if "CLIP" in spec.outputs else None
    return spec.outputs.index("MODEL"), clip


def _used(graph: AnyGraph, clip: NodeLink | None) -> NodeLink | None:
    """Return the text encoder of a checkpoint; None if the graph loads another one instead."""
    return clip if clip is not None and consumers(graph, clip) else None


def _is_clip_loader(graph: AnyGraph, node: str) -> bool:
    kinds = _CLIP_LOADERS.get(str(graph[node].get("class_type")), frozenset())
    return inputs_of(graph, node).get("type", "") in kinds


def _is_of_other_stage(
    name: str, slot: SlotEdge, slots: Sequence[SlotEdge], graph: AnyGraph
) -> bool:
    """Whether a LoRA is for another of several models, by "high noise" or "low noise"."""
    stages = [_stage_of_loader(graph, one.model.node) for one in slots]
    stage, own = _noise_stage(name), _stage_of_loader(graph, slot.model.node)
    return stage in stages and bool(stage) and own != stage


def _stage_of_loader(graph: AnyGraph, node: str) -> str:
    files = [value for value in inputs_of(graph, node).values() if is_model_file(value)]
    return _noise_stage(files[0]) if files else ""


def _noise_stage(name: str) -> str:
    match = _NOISE_STAGE.search(name)
    return match[1].lower() if match else ""


def _insert(
    graph: Graph, model: NodeLink, clip: NodeLink | None, lora: Mapping[str, Any]
) -> tuple[NodeLink, NodeLink | None]:
    inputs = {"lora_name": lora["name"], "strength_model": lora["strength"]}
    entry: dict[str, Any] = {
        "class_type": "LoraLoaderModelOnly",
        "inputs": inputs,
        "_meta": {"title": f"LoRA {lora['name']}"},
    }
    sources = {"model": model}
    if clip is not None:
        entry["class_type"] = "LoraLoader"
        inputs["strength_clip"] = lora.get("strength_clip", lora["strength"])
        sources["clip"] = clip
    model, *rest = splice(graph, sources, entry)
    return model, rest[0] if rest else None


def _loras_of_node(inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    name = inputs.get("lora_name")
    if isinstance(name, str) and is_model_file(name):
        strength = _number(inputs.get("strength_model", inputs.get("strength")), 1.0)
        lora = {"name": name, "strength": strength}
        clip = _number(inputs.get("strength_clip"), strength)
        yield lora if clip == strength else {**lora, "strength_clip": clip}
    for value in inputs.values():
        match value:  # rgthree's loader has a dict for each row
            case {"lora": str(name), "strength": int(strength) | float(strength), **rest}:
                lora = {"name": name, "strength": _number(strength, 1.0)}
                if rest.get("on", True) is False:
                    lora["enabled"] = False
                yield lora


def _number(value: Any, default: float) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if as_link(value) is not None or not is_number:
        return default
    return max(-20.0, min(20.0, float(value)))
