"""One field of a form as HTML: a number, a seed, a choice, a size, a file.

Fields are built with ``el`` because they are small fragments of one another: with a template for
each, the form of SDXL took 0.80 ms instead of 0.60.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from ...errors import ValidationError
from ...models.model_facts import FAMILY_FOLDERS
from ...protocol.object_info import NodeRegistry
from ...workflow.conditioning.control_types import CONTROL_FAMILIES, CONTROL_TYPES
from ...workflow.conditioning.control_values import control_models
from ...workflow.fields.field_types import FIELD_TYPES, INTEGER_ROLES, grid_hint
from ...workflow.fields.numbers import MAX_SEED
from ...workflow.model_files import family_of
from ...workflow.presets.preset_store import Param, Preset
from .html import Html, act, el, icon, icon_button, number

__all__ = [
    "WIDGETS",
    "FieldContext",
    "FrameRate",
    "ModelList",
    "controlnets",
    "field",
    "loras",
    "references",
    "size",
    "variant",
]

_MOST_COLUMNS: Final = 4  # of named sizes
_ASPECTS: Final = (("Square", 1, 1), ("Classic", 4, 3), ("Photo", 3, 2), ("Wide", 16, 9))


class _Shape(NamedTuple):
    label: str
    width: int
    height: int


class ModelList(NamedTuple):
    """The folder below ``models/`` that a field offers files of, and the preset's model family."""

    folder: str
    family: str

    def fits(self, name: str) -> bool:
        """Whether a file may work with the preset, by its name; the page also reads its header."""
        family = family_of(name)
        return (
            self.folder not in FAMILY_FOLDERS
            or not (family and self.family)
            or family == self.family
        )


class FrameRate(NamedTuple):
    """Frames per second, and the id of the param that sets them; empty for a fixed rate."""

    fps: float
    param: str = ""


@dataclass(frozen=True, slots=True)
class FieldContext:
    """One field to draw.

    ``offered`` are the choices, None for a free value; ``paints``: a mask can be painted over it;
    ``models``: the folder of a model field, if known; ``rate``: the frame rate of a number of
    frames.
    """

    param: Param
    value: Any
    offered: Sequence[str] | None = None
    paints: bool = False
    models: ModelList | None = None
    rate: FrameRate | None = None

    @property
    def key(self) -> str:
        """The element's id."""
        return f"f-{self.param.id}"

    def label(self) -> Html:
        """The label of the control, with a button that shows the param's help."""
        label = el("label", self.param.label, for_=self.key)
        return el("div", label, self.help_button(), class_="label-line")

    def help_button(self) -> Html | None:
        """The button that shows the help; under Advanced the help is always shown."""
        param = self.param
        if not param.help or param.advanced:
            return None
        return el(
            "button",
            "?",
            type="button",
            class_="ask",
            data_do="help",
            aria_label=f"Help: {param.label}",
            aria_expanded="false",
            aria_controls=f"h-{param.id}",
        )

    def wrap(self, *parts: object) -> Html:
        """The field's element around label and control, with attributes for the page's scripts."""
        param = self.param
        return el(
            "div",
            parts,
            el("p", param.help, class_="help", id=f"h-{param.id}", hidden=not param.advanced)
            if param.help
            else None,
            class_=f"field {param.role}",
            data_role=param.role,
            data_grid_hint=grid_hint(param.role, has_choices=self.offered is not None),
            data_find=f"{param.label} {param.role} {param.id}".lower(),
        )


def field(
    param: Param,
    value: Any,
    offered: Sequence[str] | None,
    *,
    paints: bool = False,
    models: ModelList | None = None,
    rate: FrameRate | None = None,
) -> Html:
    """A param as a form field, by the widget of its field type; a list if it has choices."""
    field_type = FIELD_TYPES[param.role]
    as_list = offered is not None and field_type.takes_choices
    draw = WIDGETS["select" if as_list else field_type.widget]
    return draw(FieldContext(param, value, offered if as_list else None, paints, models, rate))


def _switch(context: FieldContext) -> Html:
    param, name = context.param, context.key
    control = el(
        "input", type="checkbox", id=name, name=param.id, checked=bool(context.value), role="switch"
    )
    switch = el("label", control, el("span", param.label), class_="switch")
    return context.wrap(el("div", switch, context.help_button(), class_="label-line"))


def _text(context: FieldContext) -> Html:
    param, name = context.param, context.key
    text = "" if context.value is None else str(context.value)
    return context.wrap(
        context.label(),
        el("textarea", text, id=name, name=param.id, rows="2"),
    )


def _number(context: FieldContext) -> Html:
    param, value, name = context.param, context.value, context.key
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
    label, seconds = context.label(), _seconds(context)
    if not FIELD_TYPES[param.role].slider or param.min is None or param.max is None:
        return context.wrap(el("div", label, seconds, box, class_="row"))
    slider = el(
        "input",
        type="range",
        value=number(value),
        data_for=name,
        aria_label=f"{param.label}, slider",
        **limits,
    )
    return context.wrap(el("div", label, seconds, box, class_="row"), slider)


def _seconds(context: FieldContext) -> Html | None:
    """The length of a number of frames, which ``assets/js/video_fields.js`` keeps up to date."""
    if context.rate is None:
        return None
    fps, source = context.rate
    try:
        text = f"{float(context.value) / fps:.1f} s"
    except (TypeError, ValueError, ZeroDivisionError):
        text = ""
    return el(
        "output",
        text,
        class_="seconds quiet",
        for_=context.key,
        data_fps=number(fps),
        data_fps_field=f"f-{source}" if source else None,
    )


def _seed(context: FieldContext) -> Html:
    param, value, name = context.param, context.value, context.key
    fixed = value if value not in {None, -1, "-1", ""} and value != param.default else None
    return context.wrap(
        context.label(),
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
                maxlength=str(len(str(MAX_SEED))),
            ),
            icon_button("dice", "A new random seed each time", data_do="random-seed"),
            icon_button("again", "Use the last result's seed", data_do="last-seed"),
            class_="row joined",
        ),
    )


def _select(context: FieldContext) -> Html:
    param, value, models = context.param, context.value, context.models
    offered = list(context.offered or ())
    if models is not None:
        offered = [name for name in offered if name == str(value) or models.fits(name)]
    if value is not None and str(value) not in offered:
        offered.insert(0, str(value))
    choice = el(
        "div",
        el(
            "select",
            [el("option", text, value=text, selected=text == str(value)) for text in offered],
            id=context.key,
            name=param.id,
            translate="no",
        ),
        icon("arrow"),
        class_="select",
    )
    if models is None:
        return context.wrap(context.label(), choice)
    browse = icon_button(
        "grid",
        f"Browse: {param.label}",
        class_="tool browse",
        data_do="browse-models",
        data_folder=models.folder,
        data_family=models.family if models.folder in FAMILY_FOLDERS else "",
    )
    return context.wrap(context.label(), el("div", choice, browse, class_="row joined"))


def variant(preset: Preset, value: Any) -> Html:
    """The choice between a preset's variants."""
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
        data_grid_hint=grid_hint("choice", has_choices=True),
        data_find="variant",
    )


def loras(param: Param, value: Any, preset: Preset) -> Html:
    """The LoRAs of a form. ``assets/js/loras.js`` draws them as a strip under the prompt.

    A preset without a slot keeps them hidden, for the next preset.
    """
    attributes = {"data_family": family_of(preset.family)} if preset.lora_slots else {}
    return el("div", _list(FieldContext(param, value)), class_="field loras", **attributes)


def _list(context: FieldContext) -> Html:
    """A list as the hidden field that the page's scripts draw a strip from."""
    parse = FIELD_TYPES[context.param.role].parse
    try:
        chosen = parse(context.param.label, context.value) if parse else []
    except ValidationError:  # a damaged draft
        chosen = []
    text = json.dumps(chosen, ensure_ascii=False) if chosen else ""
    return el("input", type="hidden", id=context.key, name=context.param.id, value=text)


def controlnets(param: Param, value: Any, preset: Preset, library: NodeRegistry | None) -> Html:
    """The ControlNets of a form, drawn by ``assets/js/guides.js``.

    ``data-guide`` are the types with what the server lacks for their preprocessors, and the models
    of the preset's family. A preset that takes none keeps them hidden, for the next preset.
    """
    attributes = {}
    if preset.takes_controlnets:
        registry = library or NodeRegistry({})
        models = control_models(registry, CONTROL_FAMILIES[preset.family].folders)
        fitting = [name for name in models if family_of(name) in ("", preset.family)]
        types = [
            {
                "name": one.name,
                "title": one.title,
                "lacks": "" if library is None else one.obstacle(library),
                "prepares": bool(one.preprocessors[0].nodes),
            }
            for one in CONTROL_TYPES.values()
            if one.suits(preset.family)
        ]
        guide = {
            "types": types,
            "models": fitting,
            "patches": _patches(models),
            "folder": CONTROL_FAMILIES[preset.family].folders[0],
            "family": preset.family,
        }
        attributes = {"data_guide": json.dumps(guide, ensure_ascii=False)}
    return el("div", _list(FieldContext(param, value)), class_="field controlnets", **attributes)


def references(param: Param, value: Any, preset: Preset, library: NodeRegistry | None) -> Html:
    """The reference images of a form, drawn by ``assets/js/guides.js``."""
    method = preset.reference_method(library)
    attributes = {}
    if method is not None:
        guide = {"weighted": method.weighted, "kinds": method.kinds, "most": method.most}
        attributes = {"data_guide": json.dumps(guide)}
    return el("div", _list(FieldContext(param, value)), class_="field references", **attributes)


def _patches(models: Mapping[str, str]) -> list[str]:
    """The models that guide the whole run, without a start and end."""
    return [name for name, folder in models.items() if folder == "model_patches"]


def _shapes(preset: Preset, width: Param, height: Param) -> list[_Shape]:
    """The named sizes: the preset's own, else the usual shapes of the same area."""
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


def size(preset: Preset, values: Mapping[str, Any]) -> Html:
    """Width and height as named shapes; empty if the preset has no size.

    ``data-follows`` is the image field whose shape a video takes, so that nothing is cut off.
    """
    if preset.size_params is None:
        return Html("")
    width, height = preset.size_params
    wide, high = number(values[width.id]), number(values[height.id])
    shapes = _shapes(preset, width, height)
    columns = math.ceil(len(shapes) / math.ceil(len(shapes) / _MOST_COLUMNS))  # rows of one length
    first_image = preset.by_role("image") if preset.kind == "video" else None
    return el(
        "div",
        el(
            "div",
            el("span", "Size", id="size-label", class_="label"),
            el("output", f"{wide} × {high}", class_="size-now", for_=f"f-{width.id} f-{height.id}"),
            icon_button("swap", "Swap width and height", data_do="swap-size"),
            class_="row",
        ),
        el(
            "div",
            [_shape_button(shape) for shape in shapes],
            class_="shapes",
            style=f"--columns: {columns}",
            role="group",
            aria_labelledby="size-label",
        ),
        class_="field size",
        data_width=width.id,
        data_height=height.id,
        data_follows=first_image.id if first_image else None,
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


def _upload(context: FieldContext) -> Html:
    param, value, name = context.param, context.value, context.key
    accept = FIELD_TYPES[param.role].accept
    box = el(
        "div",
        el("input", type="hidden", name=param.id, value=value or ""),
        el(
            "input",
            type="file",
            id=name,
            accept=accept,
            class_="sr",
            data_upload=param.id,
            multiple=True,
        ),
        el(
            "label",
            icon("input"),
            el("span", _file_shown(value), class_="upload-name"),
            for_=name,
            class_="upload-face",
        ),
        _canvas_buttons(context) if param.role in {"image", "mask"} else None,
        icon_button("folder", "Choose a folder", data_do="choose-folder", class_="tool folder"),
        icon_button("close", f"Remove {param.label}", data_do="clear-upload"),
        class_="upload filled" if value else "upload",
        data_upload_kind=param.role,
    )
    return context.wrap(context.label(), box)


def _canvas_buttons(context: FieldContext) -> list[Html]:
    edit = act(
        "pen",
        "Edit",
        class_="act tool-act",
        data_do="open-canvas",
        data_paints="mask" if context.paints else None,
        title="Paint, extend or sketch",
    )
    draw = act("pen", "Draw", class_="act tool-act draw", data_do="draw-image", title="Sketch")
    return [edit, draw] if context.param.role == "image" else [edit]


def _file_shown(value: Any) -> str:
    """Return the label of a file field's value; names of uploads are generated, so not shown."""
    if not value:
        return "Choose files or drop them here"
    if "\n" in str(value):
        return f"{len(str(value).splitlines())} files, a job for each"
    return "Previously chosen file" if str(value).startswith("ui-") else str(value)


WIDGETS: Final[dict[str, Callable[[FieldContext], Html]]] = {
    "loras": _list,
    "number": _number,
    "pictures": _list,
    "seed": _seed,
    "select": _select,
    "switch": _switch,
    "text": _text,
    "upload": _upload,
}
"""The HTML of each widget that a field type can name."""
