"""A preset and a person's values → a graph in which every value is concrete."""

from __future__ import annotations

import fnmatch
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ..errors import ValidationError, closest
from ..protocol.nodes import InputSpec, NodeLibrary
from . import formula
from .graph import Graph, Link, copied, drop_node, literal, splice
from .schema import (
    FILE_ROLES,
    INTEGER_ROLES,
    MAX_SEED,
    NUMBER_ROLES,
    ModelRequirement,
    Param,
    Preset,
    Profile,
    Size,
    Variant,
)

ObjectInfo = NodeLibrary | Mapping[str, Any]


_FEW_STEPS = 10  # a model distilled to that few needs just these, for a draft as for the best


@dataclass(frozen=True, slots=True)
class Quality:
    """A size-and-quality setting, as factors of what the preset calls "quality".

    ``width`` and ``height`` are factors of the side of the square that the model was made for.
    """

    width: float = 1
    height: float = 1
    steps: float = 1
    cfg: float = 1


# Documented for a model of 30 steps, cfg 7.5 and 1024²: draft 512² 12/6, fast 768² 20/7, …
QUALITIES: Mapping[str, Quality] = MappingProxyType(
    {
        "draft": Quality(1 / 2, 1 / 2, 12 / 30, 6 / 7.5),
        "fast": Quality(3 / 4, 3 / 4, 20 / 30, 7 / 7.5),
        "quality": Quality(),
        "hd": Quality(steps=40 / 30),
        "portrait": Quality(3 / 4, 9 / 8, 1, 7 / 7.5),
        "landscape": Quality(9 / 8, 3 / 4, 1, 7 / 7.5),
        "cinematic": Quality(3 / 2, 5 / 8, 35 / 30, 1),
        "square": Quality(steps=25 / 30, cfg=7 / 7.5),
    }
)


def build_graph(
    preset: Preset, values: Mapping[str, Any], *, object_info: ObjectInfo | None = None
) -> Graph:
    """The graph for values that :func:`resolve_values` has completed."""
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


def resolve_values(
    preset: Preset,
    values: Mapping[str, Any],
    *,
    object_info: ObjectInfo | None = None,
    rng: random.Random | None = None,
) -> dict[str, Any]:
    """Every parameter of the preset with a concrete, checked value.

    Besides the preset's own parameters these names work for every preset:

    - ``variant``: a name from ``preset.variants``
    - ``quality``: a name from :data:`QUALITIES` (image presets)
    - ``size``: the label of one of ``preset.sizes``, or ``"832x1216"``
    - ``loras``: a list of ``{"name": file, "strength": 1.0}`` (presets with a LoRA slot)

    A value given by name wins over ``size``, that over ``quality``, and that over the variant's
    and the preset's defaults. A seed of None or -1 becomes a random one below 2**53. Widths and
    heights are rounded to the model's step, numbers of frames to its rule. Strings holding numbers
    are read as such. What comes back may be resolved again and stays as it is.

    Args:
        object_info: the server's node list: narrows ranges and choices to what that server accepts.
        rng: where random seeds come from.

    Raises:
        ValidationError: an unknown name, a value out of range, not among the choices, or missing.
    """
    library = None if object_info is None else as_library(object_info)
    given = {key: value for key, value in values.items() if value is not None}
    variant = find_variant(preset, given.get("variant"))
    _no_unknown_names(preset, given)
    start: dict[str, Any] = {param.id: param.default for param in preset.params}
    if variant is not None:
        start |= variant.defaults
    start |= _quality_values(preset, given.get("quality"), start)
    start |= _size_values(preset, given.get("size"))
    result: dict[str, Any] = {}
    for param in preset.params:
        chosen = param.id in given
        spec = _spec(preset, param, library)
        value = given[param.id] if chosen else start[param.id]
        result[param.id] = _checked(param, value, spec, chosen=chosen, rng=rng)
    if variant is not None:
        result["variant"] = str(given["variant"])
    loras = _loras(preset, given.get("loras"), library)
    if loras:
        result["loras"] = loras
    return result


def as_library(object_info: ObjectInfo) -> NodeLibrary:
    """The node list as specs; the raw answer of ``/object_info`` is wrapped, a library passes."""
    return object_info if isinstance(object_info, NodeLibrary) else NodeLibrary(object_info)


def find_model(wanted: str, present: Sequence[Any], alternatives: Iterable[str] = ()) -> str | None:
    """The file among ``present`` that serves as ``wanted``, or None.

    The very name first, then the same file in a subfolder (with either kind of slash), then the
    patterns.
    """
    files = [name for name in present if isinstance(name, str)]
    if wanted in files:
        return wanted
    base = _basename(wanted)
    for name in files:
        if _basename(name) == base:
            return name
    for pattern in alternatives:
        for name in files:
            if fnmatch.fnmatchcase(_basename(name).lower(), pattern.lower()):
                return name
    return None


def _basename(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def find_variant(preset: Preset, name: Any) -> Variant | None:
    if name is None or name == "":
        return None
    if name not in preset.variants:
        raise ValidationError(
            f"The preset '{preset.id}' has no variant '{name}'.",
            hint=closest(str(name), preset.variants),
        )
    return preset.variants[name]


def _no_unknown_names(preset: Preset, given: Mapping[str, Any]) -> None:
    known = {param.id for param in preset.params} | {"variant", "quality", "size", "loras"}
    for key in given:
        if key not in known:
            raise ValidationError(
                f"The preset '{preset.id}' has no value '{key}'.", hint=closest(key, known)
            )


def _quality_values(preset: Preset, name: Any, start: Mapping[str, Any]) -> dict[str, Any]:
    if name is None or name == "":
        return {}
    if name not in QUALITIES:
        raise ValidationError(f"There is no quality '{name}'.", hint=closest(str(name), QUALITIES))
    if preset.kind != "image":
        raise ValidationError(
            f"'quality' is for image presets, and '{preset.id}' makes {preset.kind}.",
            hint="Set its own values instead.",
        )
    quality = QUALITIES[name]
    found: dict[str, Any] = {}
    width, height = preset.by_role("width"), preset.by_role("height")
    if width and height:
        native = math.sqrt(float(start[width.id]) * float(start[height.id]))
        side = preset.base.get("size", native)
        found[width.id] = _within(width, side * quality.width)
        found[height.id] = _within(height, side * quality.height)
    steps = preset.by_role("steps")
    if steps and start[steps.id] > _FEW_STEPS:
        found[steps.id] = _within(
            steps, round(preset.base.get("steps", start[steps.id]) * quality.steps)
        )
    cfg = preset.by_role("cfg")
    if cfg and start[cfg.id] > 1:  # 1 means that the model works without guidance
        found[cfg.id] = _within(cfg, round(preset.base.get("cfg", start[cfg.id]) * quality.cfg, 2))
    return found


def _size_values(preset: Preset, size: Any) -> dict[str, Any]:
    if size is None or size == "":
        return {}
    width, height = preset.by_role("width"), preset.by_role("height")
    if width is None or height is None:
        raise ValidationError(f"The preset '{preset.id}' has no size to set.")
    found = next((s for s in preset.sizes if s.label == size), None) or _exact_size(str(size))
    if found is None:
        raise ValidationError(
            f"The preset '{preset.id}' has no size '{size}'.",
            hint=closest(str(size), [s.label for s in preset.sizes]) + " Or give WIDTHxHEIGHT.",
        )
    return {width.id: found.width, height.id: found.height}


def _exact_size(text: str) -> Size | None:
    width, _, height = text.lower().replace("×", "x").partition("x")
    if width.strip().isdecimal() and height.strip().isdecimal() and int(width) and int(height):
        return Size(label=text, width=int(width), height=int(height))
    return None


def _spec(preset: Preset, param: Param, library: NodeLibrary | None) -> InputSpec | None:
    """What the server says about the first target that takes the value as it is."""
    if library is None:
        return None
    for target in param.targets:
        node = preset.graph.get(target.node)
        if node is not None and target.transform is None and node["class_type"] in library:
            return library[node["class_type"]].inputs.get(target.input)
    return None


def _checked(
    param: Param, value: Any, spec: InputSpec | None, *, chosen: bool, rng: random.Random | None
) -> Any:
    if param.role == "seed" and (value is None or str(value).strip() in ("", "-1")):
        return (rng or random).randrange(MAX_SEED + 1)
    if value is None or (param.role in FILE_ROLES and value == ""):
        if param.optional:
            return None
        if param.role in FILE_ROLES:
            raise ValidationError(
                f"'{param.label}' needs a file.",
                hint="Upload one, or name one that the server has.",
            )
        if param.role in ("prompt", "negative", "text"):
            return ""
        raise ValidationError(f"'{param.label}' needs a value.")
    if param.role in NUMBER_ROLES:
        return _number(param, value, spec)
    if param.role == "bool":
        return _truth(param, value)
    if not isinstance(value, str):
        raise ValidationError(f"'{param.label}' takes text, not {value!r}.")
    return _choice(param, value, spec) if chosen else value


def _number(param: Param, value: Any, spec: InputSpec | None) -> int | float:
    number = _read_number(param, value)
    low, high = limits(param, spec)
    if param.frames:
        number = _snap_frames(param.frames, number, low, high)
    elif param.role in ("width", "height"):
        number = _within(param, number) if low <= number <= high else number
    if not low <= number <= high:
        raise ValidationError(
            f"'{param.label}' cannot be {number:g}.", hint=f"It goes from {low:g} to {high:g}."
        )
    return number


def _read_number(param: Param, value: Any) -> int | float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
        if not math.isfinite(number):
            raise ValueError("not finite")
        if param.role not in INTEGER_ROLES:
            return number
        whole = (
            int(value) if isinstance(value, int | str) and "." not in str(value) else int(number)
        )
        if whole != number and abs(whole) < 2**53:
            raise ValueError("not whole")
    except (TypeError, ValueError, OverflowError) as error:
        kind = "a whole number" if param.role in INTEGER_ROLES else "a number"
        raise ValidationError(f"'{param.label}' takes {kind}, not {value!r}.") from error
    return whole


def limits(param: Param, spec: InputSpec | None = None) -> tuple[float, float]:
    """The range of a numeric parameter: the sidecar's, narrowed by the server's."""
    lows = [x for x in (param.min, spec.min if spec else None) if x is not None]
    highs = [x for x in (param.max, spec.max if spec else None) if x is not None]
    if param.role == "seed":
        lows, highs = [*lows, 0], [*highs, MAX_SEED]
    return max(lows, default=-math.inf), min(highs, default=math.inf)


def _within(param: Param, number: float) -> Any:
    """``number`` moved to the nearest value that the parameter's own range and step allow."""
    if param.step and param.role in ("width", "height"):
        number = param.step * math.floor(number / param.step + 0.5)
    low, high = limits(param)
    number = min(max(number, low), high)
    return int(number) if param.role in INTEGER_ROLES else number


def _snap_frames(rule: tuple[int, int], number: float, low: float, high: float) -> int | float:
    step, first = rule
    if not low <= number <= high:
        return number  # out of range either way; the caller says so
    snapped = step * max(0, math.floor((number - first) / step + 0.5)) + first
    if snapped > high:
        snapped -= step
    return snapped + step if snapped < low else snapped


def _truth(param: Param, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValidationError(f"'{param.label}' is on or off, not {value!r}.")


def choices(param: Param, spec: InputSpec | None = None) -> tuple[str, ...] | None:
    """What a parameter may be set to: the sidecar's list, narrowed by the server's; None: free."""
    from_server = None
    if param.choices_from and spec is not None and spec.choices is not None:
        from_server = tuple(str(choice) for choice in spec.choices)
    if param.choices is None or from_server is None:
        return param.choices if from_server is None else from_server
    return tuple(choice for choice in param.choices if choice in from_server)


def _choice(param: Param, value: str, spec: InputSpec | None) -> str:
    allowed = choices(param, spec)
    if allowed is None or value in allowed:
        return value
    if param.role in ("model", "lora"):
        found = find_model(value, allowed)
        if found is not None:
            return found
    raise ValidationError(f"'{param.label}' cannot be '{value}'.", hint=closest(value, allowed))


def _written(transform: str | None, value: Any, numbers: Mapping[str, int | float]) -> Any:
    return value if transform is None else formula.parse(transform)({**numbers, "x": value})


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


def _use_present_models(preset: Preset, graph: Graph, library: NodeLibrary) -> None:
    for model, node, name in preset.model_inputs(graph):
        spec = library.get(graph[node]["class_type"])
        present = spec.inputs[name].choices if spec is not None and name in spec.inputs else None
        found = find_model(model.filename, present or (), model.alternatives)
        if found is not None:
            graph[node]["inputs"][name] = found


def _loras(preset: Preset, given: Any, library: NodeLibrary | None) -> list[dict[str, Any]]:
    if not given:
        return []
    if not preset.lora_slots:
        raise ValidationError(f"The preset '{preset.id}' takes no LoRAs.")
    spec = library.get("LoraLoader") if library is not None else None
    present = (
        spec.inputs["lora_name"].choices
        if spec is not None and "lora_name" in spec.inputs
        else None
    )
    found = []
    for entry in given:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise ValidationError("A LoRA is given as {'name': FILE, 'strength': NUMBER}.")
        name, strength = entry["name"], entry.get("strength", 1.0)
        if (
            isinstance(strength, bool)
            or not isinstance(strength, int | float)
            or not -20 <= strength <= 20
        ):
            raise ValidationError(
                f"The strength of '{name}' cannot be {strength!r}.", hint="It goes from -20 to 20."
            )
        if present is not None:
            match = find_model(name, present)
            if match is None:
                raise ValidationError(
                    f"The server has no LoRA '{name}'.", hint=closest(name, map(str, present))
                )
            name = match
        found.append({"name": name, "strength": float(strength)})
    return found


def _put_in_loras(preset: Preset, graph: Graph, loras: Iterable[Mapping[str, Any]]) -> None:
    for slot in preset.lora_slots:
        model, clip = Link(*slot.model), Link(*slot.clip) if slot.clip else None
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
    """The preset that a profile stands for: variant applied, values made defaults."""
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
