"""Complete the values of a preset: every param gets a concrete, checked value."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ...errors import Problem, Severity, ValidationError, closest
from ...protocol.object_info import InputSpec, NodeRegistry
from ..conditioning.control_values import parse_controlnets, resolve_controlnets
from ..conditioning.picture_values import PICTURE_VALUES, active
from ..conditioning.reference_values import parse_references
from ..loras.lora_values import active_loras, lora_files, parse_loras, resolve_loras
from ..model_files import find_model
from ..presets.graph_builder import ObjectInfo, as_library, find_variant
from ..presets.schema import Param, Preset, Size
from .field_types import (
    FIELD_TYPES,
    FILE_ROLES,
    INTEGER_ROLES,
    MODEL_ROLES,
    NUMBER_ROLES,
    OUTPAINT_ROLES,
    SNAPPED_ROLES,
)
from .numbers import MAX_SEED, format_number, parse_number, random_seed

_SHOWN = 60  # characters of a value in a message
_SIZE = re.compile(r"\s*(\d{1,5})\s*[x×]\s*(\d{1,5})\s*", re.IGNORECASE)
_FEW_STEPS = 10  # a distilled model with that few steps needs the same number for any quality


@dataclass(frozen=True, slots=True)
class QualityPreset:
    """A size and quality setting, as factors of the preset's base values.

    ``width`` and ``height`` are factors of the side of the model's native square.
    """

    width: float = 1
    height: float = 1
    steps: float = 1
    cfg: float = 1


# Documented for a model of 30 steps, cfg 7.5 and 1024²: draft 512² 12/6, fast 768² 20/7, …
QUALITIES: Mapping[str, QualityPreset] = MappingProxyType(
    {
        "draft": QualityPreset(1 / 2, 1 / 2, 12 / 30, 6 / 7.5),
        "fast": QualityPreset(3 / 4, 3 / 4, 20 / 30, 7 / 7.5),
        "quality": QualityPreset(),
        "hd": QualityPreset(steps=40 / 30),
        "portrait": QualityPreset(3 / 4, 9 / 8, 1, 7 / 7.5),
        "landscape": QualityPreset(9 / 8, 3 / 4, 1, 7 / 7.5),
        "cinematic": QualityPreset(3 / 2, 5 / 8, 35 / 30, 1),
        "square": QualityPreset(steps=25 / 30, cfg=7 / 7.5),
    }
)


def resolve_values(
    preset: Preset,
    values: Mapping[str, Any],
    *,
    object_info: ObjectInfo | None = None,
    rng: random.Random | None = None,
) -> dict[str, Any]:
    """Return a concrete, checked value for every param of the preset.

    Besides the preset's own params, these names work for every preset:

    - ``variant``: a name from ``preset.variants``
    - ``quality``: a name from :data:`QUALITIES` (image presets)
    - ``size``: the label of one of ``preset.sizes``, or ``"832x1216"``
    - ``loras``: LoRAs as ``("ink", 0.8)``, see :func:`..loras.lora_values.parse_loras` (presets
      with a LoRA slot)
    - ``controlnets`` and ``references``: pictures that guide the result, see
      :mod:`..conditioning.control_values` and :mod:`..conditioning.reference_values`

    A param's own value wins over ``size``, that over ``quality``, and that over the variant's and
    the preset's defaults. If one side to extend is set, the others are 0. A seed of None or -1
    becomes a random one below 2**53. Widths, heights and sides to extend are rounded to the model's
    step, numbers of frames to its rule. Strings with numbers are parsed. Resolving the result again
    does not change it.

    Args:
        object_info: the server's ``/object_info``; limits ranges and choices to those it accepts.
        rng: draws random seeds.

    Raises:
        ValidationError: an unknown name, a value out of range, not among the choices, or missing.
    """
    library = None if object_info is None else as_library(object_info)
    set_values = {key: value for key, value in values.items() if value is not None}
    variant = find_variant(preset, set_values.get("variant"))
    _no_unknown_names(preset, set_values)
    start: dict[str, Any] = {param.id: param.default for param in preset.params}
    if variant is not None:
        start |= variant.defaults
    start |= _quality_values(preset, set_values.get("quality"), start)
    start |= _size_values(preset, set_values.get("size"))
    start |= _other_sides(preset, set_values)
    result: dict[str, Any] = {}
    for param in preset.params:
        chosen = param.id in set_values
        spec = _spec(preset, param, library)
        value = set_values[param.id] if chosen else start[param.id]
        if chosen and isinstance(value, str):
            value = _choice(preset, param, value, spec)
        result[param.id] = _checked(param, value, spec, rng=rng)
    if preset.task == "outpaint" and not any(result[side.id] for side in _sides(preset)):
        raise ValidationError(
            "Choose how far to extend the image.", hint="Set at least one side to more than 0."
        )
    if variant is not None:
        result["variant"] = str(set_values["variant"])
    return result | {
        name: entries
        for name, entries in {
            "loras": _loras(preset, set_values.get("loras"), library),
            "controlnets": _controlnets(preset, set_values.get("controlnets"), library),
            "references": _references(preset, set_values.get("references")),
        }.items()
        if entries
    }


def rounding_notices(preset: Preset, values: Mapping[str, Any]) -> list[str]:
    """Describe each size or number of frames in ``values`` that the preset rounds.

    Invalid values are skipped: :func:`resolve_values` raises for them.
    """
    notices = []
    with suppress(ValidationError):
        values = {
            **_size_values(preset, values.get("size")),
            **{name: value for name, value in values.items() if value is not None},
        }
    for param in preset.params:
        if param.id not in values or not (param.frames or param.role in SNAPPED_ROLES):
            continue
        with suppress(ValidationError):
            given = _read_number(param, values[param.id])
            rounded = _number(param, given, None)
            if rounded != given:
                rule = f"of the form {param.frame_rule}"
                if not param.frames:
                    rule = f"a multiple of {format_number(param.step or 1)}"
                before, after = format_number(given), format_number(rounded)
                notices.append(f"{param.label} {before} becomes {after}, {rule}.")
    return notices


def value_problems(preset: Preset, object_info: ObjectInfo) -> Iterator[Problem]:
    """Yield the disagreements between sidecar and server about values.

    A range or list that has nothing in common with the server's is an error; a default that the
    server refuses is a warning, as users can choose another value.
    """
    library = as_library(object_info)
    for param in preset.params:
        spec = _spec(preset, param, library)
        if spec is None or param.role in MODEL_ROLES or param.role in FILE_ROLES:
            continue  # a missing file is a separate problem
        low, high = limits(param, spec) if param.role in NUMBER_ROLES else (0.0, 0.0)
        if low > high or choices(param, spec) == ():
            yield _disagreement(param, spec, "has no value that the server accepts")
        elif param.default is not None:
            try:
                if isinstance(param.default, str):
                    _choice(preset, param, param.default, spec)
                _checked(param, param.default, spec, rng=None)
            except ValidationError as error:
                reason = f"has a default that the server refuses: {error.message}"
                yield _disagreement(param, spec, reason, error.hint, "warning")


def _disagreement(
    param: Param, spec: InputSpec, reason: str, hint: str = "", severity: Severity = "error"
) -> Problem:
    range_ = f" to {spec.min:g} … {spec.max:g}" if None not in (spec.min, spec.max) else ""
    return Problem(
        kind="invalid_preset",
        message=f"'{param.label}' {reason}".rstrip(".") + ".",
        hint=hint or f"Change it in the sidecar{range_}.",
        input=spec.name,
        severity=severity,
        extra={"param": param.id},
    )


def _no_unknown_names(preset: Preset, values: Mapping[str, Any]) -> None:
    names = (
        {param.id for param in preset.params}
        | {"variant", "quality", "size", "loras"}
        | {*PICTURE_VALUES}
    )
    for key in values:
        if key not in names:
            raise ValidationError(
                f"The preset '{preset.id}' has no value '{key}'.", hint=closest(key, names)
            )


def _quality_values(preset: Preset, name: Any, start: Mapping[str, Any]) -> dict[str, Any]:
    if name is None or name == "":
        return {}
    quality = QUALITIES.get(str(name))
    if quality is None:
        raise ValidationError(
            f"There is no quality {_short(name)}.", hint=closest(str(name)[:200], QUALITIES)
        )
    if preset.kind != "image":
        raise ValidationError(
            f"'quality' is for image presets, and '{preset.id}' makes {preset.kind}.",
            hint="Set its own values instead.",
        )
    values: dict[str, Any] = {}
    if preset.size_params:
        width, height = preset.size_params
        native = math.sqrt(float(start[width.id]) * float(start[height.id]))
        side = preset.base.get("size", native)
        values[width.id] = _within(width, side * quality.width)
        values[height.id] = _within(height, side * quality.height)
    steps = preset.by_role("steps")
    if steps and start[steps.id] > _FEW_STEPS:
        values[steps.id] = _within(
            steps, round(preset.base.get("steps", start[steps.id]) * quality.steps)
        )
    cfg = preset.by_role("cfg")
    if cfg and start[cfg.id] > 1:  # at cfg 1 the model runs without guidance
        values[cfg.id] = _within(cfg, round(preset.base.get("cfg", start[cfg.id]) * quality.cfg, 2))
    return values


def _size_values(preset: Preset, size: Any) -> dict[str, Any]:
    if size is None or size == "":
        return {}
    if preset.size_params is None:
        raise ValidationError(f"The preset '{preset.id}' has no size to set.")
    chosen = next((s for s in preset.sizes if s.label == size), None) or _exact_size(str(size))
    if chosen is None:
        raise ValidationError(
            f"The preset '{preset.id}' has no size {_short(size)}.",
            hint=closest(str(size)[:200], [s.label for s in preset.sizes])
            + " Or give WIDTHxHEIGHT.",
        )
    width, height = preset.size_params
    return {width.id: chosen.width, height.id: chosen.height}


def _sides(preset: Preset) -> list[Param]:
    return [param for param in preset.params if param.role in OUTPAINT_ROLES]


def _other_sides(preset: Preset, set_values: Mapping[str, Any]) -> dict[str, Any]:
    """Return 0 for the sides to extend that are not set, if another one is."""
    sides = _sides(preset)
    return {side.id: 0 for side in sides} if any(side.id in set_values for side in sides) else {}


def _exact_size(text: str) -> Size | None:
    match = _SIZE.fullmatch(text)
    if match is None or not int(match[1]) or not int(match[2]):
        return None
    return Size(label=text, width=int(match[1]), height=int(match[2]))


def _spec(preset: Preset, param: Param, library: NodeRegistry | None) -> InputSpec | None:
    """Return the server's declaration of the first target without a formula."""
    if library is None:
        return None
    for target in param.targets:
        node = preset.graph.get(target.node)
        if node is not None and target.transform is None and node["class_type"] in library:
            return library[node["class_type"]].inputs.get(target.input)
    return None


def _checked(param: Param, value: Any, spec: InputSpec | None, *, rng: random.Random | None) -> Any:
    if param.role == "seed" and (value is None or str(value).strip() in ("", "-1")):
        return random_seed(rng)
    if value is None or (param.role in FILE_ROLES and value == ""):
        if param.optional:
            return None
        if param.role in FILE_ROLES:
            raise ValidationError(
                f'Choose a file for "{param.label}".',
                hint="Upload one, or use the name of a file on the server.",
            )
        if param.role in ("prompt", "negative", "text"):
            return ""
        raise ValidationError(f"'{param.label}' needs a value.")
    parse = FIELD_TYPES[param.role].parse
    if parse is not None:
        return parse(param.label, value)
    if param.role in NUMBER_ROLES:
        return _number(param, value, spec)
    if FIELD_TYPES[param.role].value == "bool":
        return _boolean(param, value)
    if not isinstance(value, str):
        kind = "a file" if param.role in FILE_ROLES else "text"
        raise ValidationError(f"'{param.label}' takes {kind}, not {_short(value)}.")
    return value


def _number(param: Param, value: Any, spec: InputSpec | None) -> int | float:
    number = _read_number(param, value)
    low, high = limits(param, spec)
    if param.frames:
        number = _snap_frames(param.frames, number, low, high)
    elif param.role in SNAPPED_ROLES:
        number = _within(param, number) if low <= number <= high else number
    if not low <= number <= high:
        raise ValidationError(
            f"'{param.label}' cannot be {format_number(number)}.",
            hint=f"Choose a value from {format_number(low)} to {format_number(high)}.",
        )
    return number


def _read_number(param: Param, value: Any) -> int | float:
    whole = param.role in INTEGER_ROLES
    try:
        return parse_number(value, whole=whole)
    except ValueError as error:
        kind = "a whole number" if whole else "a number"
        raise ValidationError(f"'{param.label}' takes {kind}, not {_short(value)}.") from error


def limits(param: Param, spec: InputSpec | None = None) -> tuple[float, float]:
    """Return the range of a numeric param: the sidecar's, narrowed by the server's."""
    lows = [x for x in (param.min, spec.min if spec else None) if x is not None]
    highs = [x for x in (param.max, spec.max if spec else None) if x is not None]
    if param.role == "seed":
        lows, highs = [*lows, 0], [*highs, MAX_SEED]
    return max(lows, default=-math.inf), min(highs, default=math.inf)


def _within(param: Param, number: float) -> Any:
    """Round ``number`` to the nearest value that the param's own range and step allow."""
    if param.step and param.role in SNAPPED_ROLES:
        number = param.step * math.floor(number / param.step + 0.5)
    low, high = limits(param)
    number = min(max(number, low), high)
    return int(number) if param.role in INTEGER_ROLES else number


def _snap_frames(rule: tuple[int, int], number: float, low: float, high: float) -> int | float:
    step, first = rule
    if not low <= number <= high:
        return number  # out of range either way; the caller raises
    snapped = step * max(0, math.floor((number - first) / step + 0.5)) + first
    if snapped > high:
        snapped -= step
    return snapped + step if snapped < low else snapped


def _boolean(param: Param, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValidationError(f"'{param.label}' is on or off, not {_short(value)}.")


def choices(param: Param, spec: InputSpec | None = None) -> tuple[str, ...] | None:
    """Return a param's choices: the sidecar's, narrowed by the server's; None if there are none."""
    from_server = None
    if param.choices_from and spec is not None and spec.choices is not None:
        from_server = tuple(str(choice) for choice in spec.choices)
    if param.choices is None or from_server is None:
        return param.choices if from_server is None else from_server
    return tuple(choice for choice in param.choices if choice in from_server)


def _choice(preset: Preset, param: Param, value: str, spec: InputSpec | None) -> str:
    allowed = choices(param, spec)
    if allowed is None or value in allowed or value == "":
        return value
    if param.role in MODEL_ROLES:
        required = next((m for m in preset.all_models() if m.filename == value), None)
        present = find_model(value, allowed, required.alternatives if required else ())
        if present is not None:
            return present
        if required is not None:
            return value  # the check reports it as missing, with a download
    raise ValidationError(
        f"'{param.label}' cannot be {_short(value)}.", hint=closest(value[:200], allowed)
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _loras(preset: Preset, entries: Any, library: NodeRegistry | None) -> list[dict[str, Any]]:
    loras = parse_loras(entries)
    if active_loras(loras) and not preset.lora_slots:
        raise ValidationError(f"The preset '{preset.id}' takes no LoRAs.")
    return resolve_loras(loras, lora_files(library))


def _controlnets(
    preset: Preset, entries: Any, library: NodeRegistry | None
) -> list[dict[str, Any]]:
    controlnets = parse_controlnets(entries)
    if active(controlnets) and not preset.takes_controlnets:
        raise ValidationError(f"The preset '{preset.id}' takes no ControlNets.")
    return resolve_controlnets(controlnets, library, preset.family)


def _references(preset: Preset, entries: Any) -> list[dict[str, Any]]:
    references = parse_references(entries)
    if active(references) and not preset.references:
        raise ValidationError(f"The preset '{preset.id}' takes no reference images.")
    return references
