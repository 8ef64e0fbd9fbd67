"""The form of a preset: which fields, with which values, as HTML.

The page reads the fields by their ``name`` (a parameter's id) and sends one mapping; the server
checks every value again when the job is compiled, so nothing here is trusted.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from ...protocol.object_info import InputSpec, NodeRegistry
from ...workflow.conditioning.picture_values import PICTURE_VALUES
from ...workflow.conditioning.segment_graph import can_segment
from ...workflow.fields.field_types import INTEGER_ROLES, MODEL_ROLES, NUMBER_ROLES, grid_hint
from ...workflow.fields.numbers import parse_number
from ...workflow.graph import NodeLink, consumers
from ...workflow.model_files import family_of, model_folder
from ...workflow.presets.preset_store import Param, Preset, choices, limits
from . import field_widgets
from .html import Html
from .templates import render

__all__ = ["carry", "fit_size", "form", "job_values", "ratio", "read", "recall", "spec_of"]

_SAME_RATIO: Final = 0.03  # a smaller difference crops less than a step of most sizes
STRIPS: Final = {
    name: Param.model_validate({"id": name, "role": name}) for name in ("loras", *PICTURE_VALUES)
}
"""The fields of lists, which the page draws as strips. A preset shows those that it takes."""
_MANY: Final = 12  # more fields under Advanced than this get headings
_SIZE: Final = "Exact size"  # of the fields whose choices are in the main part


def form(
    preset: Preset,
    values: Mapping[str, Any],
    *,
    library: NodeRegistry | None = None,
    canvas_presets: Mapping[str, str] = types.MappingProxyType({}),
) -> Html:
    """The fields of ``preset`` under the prompt, filled with ``values`` or the preset's defaults.

    ``library`` is the server's node list: it fills the lists of models, samplers and schedulers.
    ``canvas_presets`` are the presets for a mask (``inpaint``) and a frame (``outpaint``), which
    the canvas turns to if this one takes none.
    """
    params = sorted(
        (param for param in preset.params if param.role != "prompt" and not param.hidden),
        key=lambda param: param.order,
    )
    filled = {param.id: values.get(param.id, param.default) for param in params}
    prompt = preset.by_role("prompt")
    size_ids = _size_ids(preset)
    main = [
        field_widgets.loras(STRIPS["loras"], values.get("loras"), preset),
        field_widgets.controlnets(
            STRIPS["controlnets"], values.get("controlnets"), preset, library
        ),
        field_widgets.references(STRIPS["references"], values.get("references"), preset, library),
    ]
    advanced: list[tuple[str, Html]] = []  # with their headings
    if preset.variants:
        main.append(field_widgets.variant(preset, values.get("variant")))
    for param in params:
        offered = choices(param, spec_of(preset, param, library))
        field = field_widgets.field(
            param,
            filled[param.id],
            offered,
            paints=_paints(preset, param),
            models=_models(preset, param),
            rate=_frame_rate(preset, filled) if param.role == "frames" else None,
        )
        if param.id in size_ids:
            if param.id == size_ids[0] and not param.advanced:
                main.append(field_widgets.size(preset, filled))
            advanced.append((param.group if param.advanced else _SIZE, field))
        elif param.advanced:
            advanced.append((param.group, field))
        else:
            main.append(field)
    return render(
        "preset_form.html",
        "form",
        preset=preset.id,
        canvas_presets=canvas_presets,
        selects=library is not None and can_segment(library),
        prompt=prompt.id if prompt else "",
        own_prompt=str(prompt.default or "") if prompt else "",
        prompt_hint=grid_hint("prompt", has_choices=False),
        fields=main,
        advanced=len(advanced),
        groups=_groups(advanced),
    )


def read(preset: Preset, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values from the page, without unknown names and empty fields."""
    names = {param.id for param in preset.params if param.role != "prompt"} | {*STRIPS}
    if preset.variants:
        names.add("variant")
    return {
        name: value
        for name, value in raw.items()
        if name in names
        and value is not None
        and value != ""
        and (isinstance(value, str | int | float) or (name in STRIPS and value))
    }


def job_values(preset: Preset, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values for a job: :func:`read`, without lists that the preset does not take.

    The form keeps those for the next preset.
    """
    return {
        name: value
        for name, value in read(preset, raw).items()
        if name not in STRIPS or _takes(preset, name)
    }


def _takes(preset: Preset, name: str) -> bool:
    match name:
        case "loras":
            return bool(preset.lora_slots)
        case "controlnets":
            return preset.takes_controlnets
    return preset.reference_method() is not None


def carry(
    old: Preset,
    values: Mapping[str, Any],
    new: Preset,
    *,
    defaults: Mapping[str, Any] = types.MappingProxyType({}),
) -> dict[str, Any]:
    """Return the values that carry over to another preset.

    An edited value (one that differs from the old preset's default, or from the user's
    ``defaults`` of it) moves to the first param of the same role, a choice only if the new preset
    offers it. Width and height move together. LoRAs, ControlNets and references always carry over:
    the page marks those of another model family.
    """
    carried: dict[str, Any] = {name: values[name] for name in STRIPS if values.get(name)}
    for source in old.params:
        value = values.get(source.id)
        target = new.param(source.id) or new.by_role(source.role)
        if value is None or value == defaults.get(source.id, source.default):
            continue
        if target is None or target.role != source.role:
            continue
        if target.choices is not None and value not in target.choices:
            continue
        if target.id not in carried and _fits(target, value):
            carried[target.id] = value
    return _without_half_a_size(new, carried)


def recall(preset: Preset, by_role: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by role of an imported image, as far as the preset has them and they fit.

    A number out of range and a choice that is not offered are left out; of a size, both or none.
    """
    loras = by_role.get("loras")
    recalled: dict[str, Any] = {"loras": loras} if loras and preset.lora_slots else {}
    for role, value in by_role.items():
        param = next((p for p in preset.params if p.role == role), None)
        if param is None or not isinstance(value, str | int | float):
            continue
        if (param.choices is None or value in param.choices) and _fits(param, value):
            recalled[param.id] = value
    return _without_half_a_size(preset, recalled)


def ratio(preset: Preset, values: Mapping[str, Any]) -> float | None:
    """Return width / height of the result of these values, if the preset has a size."""
    if preset.size_params is None:
        return None
    width, height = preset.size_params
    try:
        wide = float(values.get(width.id) or width.default or 0)
        high = float(values.get(height.id) or height.default or 0)
    except (TypeError, ValueError):
        return None
    return wide / high if wide > 0 and high > 0 else None


def fit_size(preset: Preset, values: Mapping[str, Any], shape: float) -> dict[str, int]:
    """Return width and height for an image whose width / height is ``shape``.

    Empty if the preset has no size, or if ``values`` have this shape already. One of the preset's
    named sizes if it has the shape, the nearest in area; otherwise a size of the same area.
    """
    now = ratio(preset, values)
    if preset.size_params is None or now is None or _alike(now, shape):
        return {}
    width, height = preset.size_params
    area = float(values.get(width.id) or width.default or 0) ** 2 / now
    named = [size for size in preset.sizes if _alike(size.width / size.height, shape)]
    if named:
        nearest = min(named, key=lambda size: abs(size.width * size.height - area))
        return {width.id: nearest.width, height.id: nearest.height}
    (least_wide, most_wide), (least_high, most_high) = limits(width), limits(height)
    wide = min(math.sqrt(area * shape), most_wide, most_high * shape)
    wide = max(wide, least_wide, least_high * shape)
    return {width.id: _stepped(width, wide), height.id: _stepped(height, wide / shape)}


def _alike(one: float, other: float) -> bool:
    return abs(one / other - 1) <= _SAME_RATIO


def _stepped(param: Param, value: float) -> int:
    low, high = limits(param)
    step = int(param.step or 16)
    return int(min(max(round(value / step) * step, low), high))


def _size_ids(preset: Preset) -> list[str]:
    return [param.id for param in preset.size_params or ()]


def _without_half_a_size(preset: Preset, values: dict[str, Any]) -> dict[str, Any]:
    ids = _size_ids(preset)
    if all(key in values for key in ids):
        return values
    return {key: value for key, value in values.items() if key not in ids}


def _fits(param: Param, value: Any) -> bool:
    if param.role not in NUMBER_ROLES:
        return True
    try:
        number = parse_number(value, whole=param.role in INTEGER_ROLES)
    except ValueError:
        return False
    low, high = limits(param)
    return low <= number <= high


def spec_of(preset: Preset, param: Param, library: NodeRegistry | None) -> InputSpec | None:
    """Return the server's declaration of the param's first target."""
    if library is None or not param.targets:
        return None
    target = param.targets[0]
    node = library.get(preset.graph.get(target.node, {}).get("class_type", ""))
    return node.inputs.get(target.input) if node else None


def _models(preset: Preset, param: Param) -> field_widgets.ModelList | None:
    """Return the folder of a model field and the preset's family; None for other fields."""
    if param.role not in MODEL_ROLES or not param.targets:
        return None
    target = param.targets[0]
    node = preset.graph.get(target.node, {})
    folder = model_folder(str(node.get("class_type")), target.input)
    return field_widgets.ModelList(folder, family_of(preset.family)) if folder else None


def _frame_rate(preset: Preset, values: Mapping[str, Any]) -> field_widgets.FrameRate | None:
    """Return the frame rate of a preset's video: of its field, else the one in the graph."""
    param = preset.by_role("fps")
    found: list[Any] = [values.get(param.id)] if param else []
    for node in preset.graph.values():
        found += [node["inputs"].get(name) for name in ("fps", "frame_rate")]
    for fps in found:
        with suppress(TypeError, ValueError):
            if float(fps) > 0:
                return field_widgets.FrameRate(float(fps), param.id if param else "")
    return None


def _paints(preset: Preset, param: Param) -> bool:
    """Whether the graph takes a mask out of this picture: if so, one can be painted here."""
    return param.role == "image" and any(
        consumers(preset.graph, NodeLink(target.node, 1)) for target in param.targets
    )


def _groups(fields: Sequence[tuple[str, Html]]) -> list[tuple[str | None, list[Html]]]:
    """The advanced fields by group, with headings if there are many."""
    groups: dict[str, list[Html]] = {}
    for group, field in fields:
        groups.setdefault(group, []).append(field)
    named = len(fields) > _MANY
    return [(title if named else None, group) for title, group in groups.items()]
