"""The form of a preset: which fields, with which values, as HTML.

The page reads the fields by their ``name`` (a parameter's id) and sends one mapping; the server
checks every value again when the job is compiled, so nothing here is trusted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from ..protocol.nodes import InputSpec, NodeLibrary
from ..workflow.graph import Link, consumers
from ..workflow.presets import Param, Preset, choices, limits
from ..workflow.roles import FILE_ROLES, INTEGER_ROLES, NUMBER_ROLES
from .html import Html, el, icon
from .units import number

__all__ = ["carry", "form", "ratio", "read", "recall"]

_SLIDERS: Final = frozenset({"steps", "cfg", "guidance", "strength", "batch", "frames", "duration"})
_MANY: Final = 12  # fields under Advanced, from which on they need headings
_SIZE_ROLES: Final = frozenset({"width", "height"})
_ASPECTS: Final = (("Square", 1, 1), ("Classic", 4, 3), ("Photo", 3, 2), ("Wide", 16, 9))


class _Shape(NamedTuple):
    label: str
    width: int
    height: int


def form(preset: Preset, values: Mapping[str, Any], *, library: NodeLibrary | None = None) -> Html:
    """The fields of ``preset`` under the prompt, filled with ``values`` or the preset's defaults.

    ``library`` is the server's node list: it fills the lists of models, samplers and schedulers.
    """
    shown = sorted(
        (param for param in preset.params if param.role != "prompt"), key=lambda param: param.order
    )
    filled = {param.id: values.get(param.id, param.default) for param in shown}
    said = preset.by_role("prompt")
    width, height = preset.by_role("width"), preset.by_role("height")
    sized = width is not None and height is not None
    main: list[Html] = []
    more: list[tuple[str, Html]] = []  # with the headings they stand under
    if preset.variants:
        main.append(_variant(preset, values.get("variant")))
    for param in shown:
        offered = choices(param, _spec(preset, param, library))
        made = _field(param, filled[param.id], offered, paints=_paints(preset, param))
        if sized and param.role in _SIZE_ROLES:
            if param is width and not param.advanced:
                main.append(_size(preset, filled))
            more.append((param.group, made))
        elif param.advanced:
            more.append((param.group, made))
        else:
            main.append(made)
    return el(
        "form",
        el("div", main, class_="fields"),
        _advanced(more),
        class_="settings",
        data_preset=preset.id,
        data_prompt_role="yes" if said else "no",
        data_prompt_name=said.id if said else None,
        autocomplete="off",
    )


def read(preset: Preset, raw: Mapping[str, Any]) -> dict[str, Any]:
    """What the page sent, without names the preset does not have and without empty fields."""
    known = {param.id for param in preset.params if param.role != "prompt"}
    if preset.variants:
        known.add("variant")
    return {
        name: value
        for name, value in raw.items()
        if name in known
        and value is not None
        and value != ""
        and isinstance(value, str | int | float)
    }


def carry(old: Preset, values: Mapping[str, Any], new: Preset) -> dict[str, Any]:
    """The values that go along when another preset is chosen.

    What was edited, that is, differs from the old preset's default, goes to the first parameter
    of the same role, a choice only where the new preset offers it. Width and height go together.
    """
    kept: dict[str, Any] = {}
    for source in old.params:
        value = values.get(source.id)
        target = new.param(source.id) or new.by_role(source.role)
        if value is None or value == source.default:
            continue
        if target is None or target.role != source.role:
            continue
        if target.choices is not None and value not in target.choices:
            continue
        if target.id not in kept and _fits(target, value):
            kept[target.id] = value
    sizes = [param for role in ("width", "height") if (param := new.by_role(role))]
    if sum(param.id in kept for param in sizes) == 1:
        for param in sizes:
            kept.pop(param.id, None)
    return kept


def recall(preset: Preset, by_role: Mapping[str, Any]) -> dict[str, Any]:
    """Values by role, of a picture made elsewhere, as far as the preset has them and they fit.

    A number out of range and a choice that is not offered are left out; of a size, both or none.
    """
    kept: dict[str, Any] = {}
    for role, value in by_role.items():
        param = next((p for p in preset.params if p.role == role), None)
        if param is None or not isinstance(value, str | int | float):
            continue
        if (param.choices is None or value in param.choices) and _fits(param, value):
            kept[param.id] = value
    sizes = {p.id for p in preset.params if p.role in _SIZE_ROLES}
    return kept if sizes <= kept.keys() else {k: v for k, v in kept.items() if k not in sizes}


def ratio(preset: Preset, values: Mapping[str, Any]) -> float | None:
    """Width / height of what these values make, where the preset has a size."""
    width, height = preset.by_role("width"), preset.by_role("height")
    if width is None or height is None:
        return None
    try:
        wide = float(values.get(width.id) or width.default or 0)
        high = float(values.get(height.id) or height.default or 0)
    except (TypeError, ValueError):
        return None
    return wide / high if wide > 0 and high > 0 else None


def _fits(param: Param, value: Any) -> bool:
    if param.role not in NUMBER_ROLES:
        return True
    try:
        number = float(value)
    except (TypeError, ValueError):
        return False
    low, high = limits(param)
    return low <= number <= high


def _spec(preset: Preset, param: Param, library: NodeLibrary | None) -> InputSpec | None:
    """What the server says about the input that the parameter writes to first."""
    if library is None or not param.targets:
        return None
    target = param.targets[0]
    node = library.get(preset.graph.get(target.node, {}).get("class_type", ""))
    return node.inputs.get(target.input) if node else None


def _paints(preset: Preset, param: Param) -> bool:
    """Whether the graph takes a mask out of this picture: then it can be painted here."""
    return param.role == "image" and any(
        consumers(preset.graph, Link(target.node, 1)) for target in param.targets
    )


def _field(
    param: Param, value: Any, offered: Sequence[str] | None, *, paints: bool = False
) -> Html:
    name = f"f-{param.id}"
    if param.role == "seed":
        return _seed(param, value, name)
    if param.role == "bool":
        control = el(
            "input", type="checkbox", id=name, name=param.id, checked=bool(value), role="switch"
        )
        return _wrap(param, el("label", control, el("span", param.label), class_="switch"))
    label = el("label", param.label, for_=name)
    if param.role in FILE_ROLES:
        return _wrap(param, label, _upload(param, value, name, paints=paints))
    if offered is not None:
        return _wrap(param, label, _select(param.id, name, offered, value))
    if param.role in NUMBER_ROLES:
        return _number(param, value, name)
    text = "" if value is None else str(value)
    return _wrap(param, label, el("textarea", text, id=name, name=param.id, rows="2"))


def _wrap(param: Param, *parts: object) -> Html:
    return el(
        "div",
        parts,
        el("p", param.help, class_="help") if param.help and param.advanced else None,
        class_=f"field {param.role}",
        title=param.help or None,
        data_role=param.role,
        data_find=f"{param.label} {param.role} {param.id}".lower(),
    )


def _number(param: Param, value: Any, name: str) -> Html:
    step = param.step or (1 if param.role in INTEGER_ROLES else "any")
    if param.frames:
        step = param.frames[0]
    limits = {
        "min": number(param.min) or None,
        "max": number(param.max) or None,
        "step": number(step),
    }
    box = el(
        "input",
        type="number",
        id=name,
        name=param.id,
        value=number(value),
        inputmode="numeric" if param.role in INTEGER_ROLES else "decimal",
        data_default=number(param.default),
        **limits,
    )
    label = el("label", param.label, for_=name)
    if param.role not in _SLIDERS or param.min is None or param.max is None:
        return _wrap(param, el("div", label, box, class_="row"))
    slider = el(
        "input",
        type="range",
        value=number(value),
        data_for=name,
        aria_label=f"{param.label}, slider",
        **limits,
    )
    return _wrap(param, el("div", label, box, class_="row"), slider)


def _seed(param: Param, value: Any, name: str) -> Html:
    fixed = value if value not in {None, -1, "-1", ""} and value != param.default else None
    return _wrap(
        param,
        el("label", param.label, for_=name),
        el(
            "div",
            el(
                "input",
                type="text",
                id=name,
                name=param.id,
                value=number(fixed),
                placeholder="Random each time",
                inputmode="numeric",
                pattern="[0-9]*",
                maxlength="16",
            ),
            _tool("dice", "A new random seed each time", do="random-seed"),
            _tool("again", "The seed of the last result again", do="last-seed"),
            class_="row joined",
        ),
    )


def _tool(image: str, label: str, *, do: str) -> Html:
    return el(
        "button",
        icon(image),
        type="button",
        class_="tool",
        data_do=do,
        aria_label=label,
        title=label,
    )


def _select(name: str, key: str, offered: Iterable[str], value: Any) -> Html:
    offered = list(offered)
    if value is not None and str(value) not in offered:
        offered.insert(0, str(value))
    return el(
        "div",
        el(
            "select",
            [el("option", text, value=text, selected=text == str(value)) for text in offered],
            id=key,
            name=name,
            translate="no",
        ),
        icon("arrow"),
        class_="select",
    )


def _variant(preset: Preset, value: Any) -> Html:
    return el(
        "div",
        el("label", "Variant", for_="f-variant"),
        el(
            "div",
            el(
                "select",
                el("option", "Standard", value=""),
                [
                    el("option", variant.title, value=name, selected=name == value)
                    for name, variant in preset.variants.items()
                ],
                id="f-variant",
                name="variant",
            ),
            icon("arrow"),
            class_="select",
        ),
        class_="field variant",
        data_find="variant",
    )


def _shapes(preset: Preset, width: Param, height: Param) -> list[_Shape]:
    """Sizes to offer by name: the preset's own, else the usual shapes of the same area."""
    if preset.sizes:
        return [_Shape(size.label, size.width, size.height) for size in preset.sizes]
    area = float(width.default or 1024) * float(height.default or 1024)
    step = int(width.step or 16)
    shapes = []
    for label, across, down in _ASPECTS:
        wide = math.sqrt(area * across / down)
        shapes.append(
            _Shape(label, round(wide / step) * step, round(wide * down / across / step) * step)
        )
    return shapes


def _size(preset: Preset, values: Mapping[str, Any]) -> Html:
    width, height = preset.by_role("width"), preset.by_role("height")
    if width is None or height is None:
        return Html("")
    wide, high = number(values[width.id]), number(values[height.id])
    return el(
        "div",
        el(
            "div",
            el("span", "Size", id="size-label", class_="label"),
            el("output", f"{wide} × {high}", class_="size-now", for_=f"f-{width.id} f-{height.id}"),
            _tool("swap", "Swap width and height", do="swap-size"),
            class_="row",
        ),
        el(
            "div",
            [_shape_button(shape) for shape in _shapes(preset, width, height)],
            class_="shapes",
            role="group",
            aria_labelledby="size-label",
        ),
        class_="field size",
        data_width=width.id,
        data_height=height.id,
        data_find="size aspect width height",
    )


def _shape_button(shape: _Shape) -> Html:
    longest = max(shape.width, shape.height)
    box = f"width: {16 * shape.width / longest:.1f}px; height: {16 * shape.height / longest:.1f}px"
    return el(
        "button",
        el("span", el("i", style=box), class_="shape-box"),
        el("span", shape.label),
        type="button",
        class_="shape",
        aria_pressed="false",
        data_do="shape",
        data_w=str(shape.width),
        data_h=str(shape.height),
        title=f"{shape.label}, {shape.width} × {shape.height}",
    )


def _upload(param: Param, value: Any, name: str, *, paints: bool) -> Html:
    accept = "image/*" if param.role in {"image", "mask"} else f"{param.role}/*"
    return el(
        "div",
        el("input", type="hidden", name=param.id, value=value or ""),
        el("input", type="file", id=name, accept=accept, class_="sr", data_upload=param.id),
        el(
            "label",
            icon("input"),
            el("span", _file_shown(value), class_="upload-name"),
            for_=name,
            class_="upload-face",
        ),
        el(
            "button",
            icon("pen"),
            "Mask",
            type="button",
            class_="act tool-act",
            data_do="paint-mask",
            title="Paint what may change",
        )
        if paints
        else None,
        _tool("close", f"Remove {param.label}", do="clear-upload"),
        class_="upload filled" if value else "upload",
        data_upload_kind=param.role,
    )


def _file_shown(value: Any) -> str:
    """What a file field says: our own names of uploads mean nothing to people."""
    if not value:
        return "Choose a file or drop it here"
    return "The file chosen before" if str(value).startswith("ui-") else str(value)


def _advanced(fields: Sequence[tuple[str, Html]]) -> Html:
    """The folded part; what is of one group stands together, under its name if there are many."""
    if not fields:
        return Html("")
    groups: dict[str, list[Html]] = {}
    for group, made in fields:
        groups.setdefault(group, []).append(made)
    named = len(fields) > _MANY
    return el(
        "details",
        el(
            "summary",
            el("span", "Advanced"),
            el("span", str(len(fields)), class_="count", aria_label=f"{len(fields)} more fields"),
            icon("arrow"),
        ),
        el(
            "input",
            type="search",
            class_="filter",
            placeholder="Find a field",
            aria_label="Find a field",
            data_filter=".advanced .field",
            hidden=len(fields) < 4,
        ),
        [
            el(
                "section",
                el("h4", title) if named else None,
                el("div", found, class_="fields"),
                class_="together",
            )
            for title, found in groups.items()
        ],
        class_="advanced",
    )
