"""The value ``controlnets`` of a job: which pictures guide it, with which models.

A stored value is a list of ``{"image": file, "type": "canny", "strength": 1.0}``. Optional keys:
``model``, chosen by type and family if absent; ``start`` and ``end``, the part of the run from 0 to
1 that it guides; ``preprocessed``, True if the picture is an edge map, depth map and so on already;
``enabled``, False for one that is kept in the form but has no effect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...errors import UnknownModelError, ValidationError, closest
from ...protocol.object_info import NodeRegistry
from ..model_files import basename, family_of, match_models, short_name
from .control_types import CONTROL_FAMILIES, CONTROL_TYPES, ControlType
from .picture_values import active, flag, number, picture_name, read_entries

__all__ = [
    "control_models",
    "is_model_patch",
    "is_union",
    "parse_controlnets",
    "resolve_controlnets",
]

_NAME: Final = "controlnets"
_KEYS: Final = frozenset(
    {"image", "type", "model", "strength", "start", "end", "preprocessed", "enabled"}
)
_MAX_STRENGTH: Final = 10  # as ControlNetApplyAdvanced has it
# The input that lists the files of each folder.
_LISTS: Final = {
    "controlnet": ("ControlNetLoader", "control_net_name"),
    "model_patches": ("ModelPatchLoader", "name"),
}


def parse_controlnets(value: Any) -> list[dict[str, Any]]:
    """Return the stored form of any form of the value. Parsing a stored value does not change it.

    >>> parse_controlnets("canny=room.png,strength=0.8")
    [{'image': 'room.png', 'type': 'canny', 'strength': 0.8}]

    Raises:
        ValidationError: another form, an unknown type or key, or a number out of range.
    """
    return [_parse(entry) for entry in read_entries(_NAME, value)]


def control_models(registry: NodeRegistry, folders: Iterable[str] = (*_LISTS,)) -> dict[str, str]:
    """Return the ControlNet files that a server lists, each with its folder."""
    files: dict[str, str] = {}
    for folder in folders:
        class_type, name = _LISTS[folder]
        spec = registry.get(class_type)
        declared = spec.inputs.get(name) if spec is not None else None
        for choice in (declared and declared.choices) or ():
            files.setdefault(str(choice), folder)
    return files


def is_model_patch(name: str, registry: NodeRegistry | None, family: str) -> bool:
    """Whether a ControlNet is a patch of the model, which the server lists in another folder."""
    if registry is not None and (folder := control_models(registry).get(name)):
        return folder == "model_patches"
    known = CONTROL_FAMILIES.get(family)
    return known is not None and known.folders[0] == "model_patches"


def is_union(name: str) -> bool:
    """Whether a ControlNet is for several types, by its file's name."""
    return "union" in basename(name).lower()


def resolve_controlnets(
    controlnets: Iterable[Mapping[str, Any]], registry: NodeRegistry | None, family: str
) -> list[dict[str, Any]]:
    """Return parsed ControlNets, each with the server's file as its model.

    Those without effect are kept as they are. ``family`` is the preset's, "" if unknown.

    Raises:
        UnknownModelError: the server has no such model, or none for the type and family.
        ValidationError: the type does not suit the family, or a model is not named although no
            server's list is known.
    """
    return [_resolved(one, registry, family) if active([one]) else dict(one) for one in controlnets]


def _parse(entry: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := entry.keys() - _KEYS:
        name = min(unknown)
        raise ValidationError(f"A ControlNet has no '{name[:60]}'.", hint=closest(name, _KEYS))
    type_name = str(entry.get("type") or "canny")
    if type_name not in CONTROL_TYPES:
        raise ValidationError(
            f"There is no type of ControlNet {type_name[:60]!r}.",
            hint=closest(type_name[:60], CONTROL_TYPES),
        )
    start, end = number(entry, "start", 0, 0, 1), number(entry, "end", 1, 0, 1)
    if start >= end:
        raise ValidationError("A ControlNet must end after it starts.")
    parsed: dict[str, Any] = {
        "image": picture_name(_NAME, entry),
        "type": type_name,
        "strength": number(entry, "strength", 1.0, 0, _MAX_STRENGTH),
    }
    model = str(entry.get("model") or "").strip()
    options = {
        "model": (model[:400], ""),
        "start": (start, 0.0),
        "end": (end, 1.0),
        "preprocessed": (flag(_NAME, entry, "preprocessed", False), False),
        "enabled": (flag(_NAME, entry, "enabled", True), True),
    }
    return parsed | {key: value for key, (value, usual) in options.items() if value != usual}


def _resolved(
    controlnet: Mapping[str, Any], registry: NodeRegistry | None, family: str
) -> dict[str, Any]:
    chosen = CONTROL_TYPES[controlnet["type"]]
    if not chosen.suits(family):
        raise ValidationError(
            f"{chosen.title} is not a type of ControlNet for {family}.",
            hint=f"It works with {', '.join(chosen.families)}.",
        )
    name = controlnet.get("model", "")
    if registry is not None:
        known = CONTROL_FAMILIES.get(family)
        files = [*(control_models(registry, known.folders) if known else control_models(registry))]
        name = _match(name, files) if name else _default(chosen, files, family)
    elif not name:
        raise ValidationError("Name the ControlNet's model: the server's list is not known.")
    resolved = {**controlnet, "model": name}
    if is_model_patch(name, registry, family) and {"start", "end"} & resolved.keys():
        raise ValidationError(
            f"{short_name(name)} guides the whole run.", hint="Remove its start and end."
        )
    return resolved


def _match(name: str, files: list[str]) -> str:
    matches = match_models(name, files)
    if len(matches) == 1:
        return matches[0]
    problem = "can mean several ControlNets" if matches else "is not a ControlNet of the server"
    hint = closest(short_name(name)[:200], {short_name(file) for file in matches or files})
    raise UnknownModelError(f"{name[:60]!r} {problem}.", name=name, hint=hint)


def _default(chosen: ControlType, files: list[str], family: str) -> str:
    """Return the model for a type: one made for it, else a union model."""
    fitting = [file for file in files if not family or family_of(file) == family]
    named = [file for file in fitting if chosen.clue.search(basename(file))]
    # Union models do not inpaint: that takes a model with an input for the mask.
    unions = [] if chosen.masked else [file for file in fitting if is_union(file)]
    if named or unions:
        return (*named, *unions)[0]
    folder = (CONTROL_FAMILIES[family].folders if family in CONTROL_FAMILIES else (*_LISTS,))[0]
    raise UnknownModelError(
        f"The server has no ControlNet of the type {chosen.title}"
        f"{f' for {family}' if family else ''}.",
        name="",
        hint=f"Put one into the server's folder models/{folder}, or name its file.",
    )
