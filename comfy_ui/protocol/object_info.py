"""The node classes of a server, parsed from ``GET /object_info``.

A choice has two spellings: ``[["a", "b"], {…}]`` and
``["COMBO", {"options": ["a", "b"]}]``. Both become an :class:`InputSpec` of type ``COMBO``.
Inputs of the newer dynamic types (``COMFY_DYNAMICCOMBO_V3``, ``COMFY_AUTOGROW_V3``,
``COMFY_MATCHTYPE_V3``, …) keep everything they declare in :attr:`InputSpec.options`.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final, Literal

from comfy_ui.errors import ComfyUIConnectionError

Upload = Literal["image", "audio", "video"]

_UPLOADS: tuple[tuple[str, Upload], ...] = (
    ("image_upload", "image"),
    ("audio_upload", "audio"),
    ("video_upload", "video"),
)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One declared input of a node class.

    ``type`` is ComfyUI's type name: ``INT``, ``FLOAT``, ``STRING``, ``BOOLEAN``, ``COMBO``, a
    socket type such as ``MODEL``, a comma list of accepted types, or ``*``.
    ``choices`` is None if no list is declared (not a choice, or fetched elsewhere); an empty tuple
    means that there is nothing to choose from, such as no model files. ``options`` is the
    declaration as sent, with everything that has no field here.
    """

    name: str
    type: str
    required: bool = True
    choices: tuple[Any, ...] | None = None
    default: Any = None
    min: float | None = None
    max: float | None = None
    step: float | None = None
    round: float | bool | None = None
    multiline: bool = False
    tooltip: str = ""
    control_after_generate: bool | str = False
    upload: Upload | None = None
    force_input: bool = False
    advanced: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node class. ``inputs`` are in declared order, required first, without hidden ones."""

    class_type: str
    display_name: str
    category: str = ""
    description: str = ""
    inputs: Mapping[str, InputSpec] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    output_names: tuple[str, ...] = ()
    output_is_list: tuple[bool, ...] = ()
    output_node: bool = False
    is_input_list: bool = False
    api_node: bool = False
    deprecated: bool = False
    experimental: bool = False
    python_module: str = ""


DEMO_MODULE: Final = "comfy_ui.demo"
"""The Python module of the demo engine's classes, as ``/object_info`` names it."""


class NodeRegistry(Mapping[str, NodeSpec]):
    """All node classes of a server; each is read on first use.

    ``raw`` is the server's answer, unchanged. Malformed classes and inputs are left out.

    Raises:
        ComfyUIConnectionError: the answer is not a JSON object.
    """

    def __init__(self, raw_object_info: Mapping[str, Any]) -> None:
        if not isinstance(raw_object_info, Mapping):
            raise ComfyUIConnectionError("The server's list of nodes is not a JSON object.")
        self.raw = raw_object_info
        self._specs: dict[str, NodeSpec] = {}
        self._pickled: bytes | None = None

    def __reduce__(self) -> tuple[Callable[[bytes], NodeRegistry], tuple[bytes]]:
        """Pickle ``raw`` once: a thousand classes take 20 ms, here and in each worker process."""
        if self._pickled is None:
            self._pickled = pickle.dumps(self.raw, protocol=5)
        return _unpickled, (self._pickled,)

    @property
    def is_demo(self) -> bool:
        """Whether these are the classes of the demo engine."""
        first = next(iter(self.raw.values()), None)
        return isinstance(first, Mapping) and first.get("python_module") == DEMO_MODULE

    def __getitem__(self, class_type: str) -> NodeSpec:
        spec = self._specs.get(class_type)
        if spec is None:
            raw = self.raw[class_type]
            if not isinstance(raw, Mapping):
                raise KeyError(class_type)
            spec = self._specs[class_type] = read_node(class_type, raw)
        return spec

    def __contains__(self, class_type: object) -> bool:
        return isinstance(class_type, str) and isinstance(self.raw.get(class_type), Mapping)

    def __iter__(self) -> Iterator[str]:
        return (name for name, raw in self.raw.items() if isinstance(raw, Mapping))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def partner_nodes(self, class_types: Iterable[str]) -> list[str]:
        """Return those of the classes that call a paid service, by ComfyUI's ``api_node`` flag."""
        return [name for name in class_types if name in self and self[name].api_node]

    def __repr__(self) -> str:
        return f"<NodeRegistry of {len(self)} classes>"


@lru_cache(maxsize=2)
def _unpickled(raw_object_info: bytes) -> NodeRegistry:
    return NodeRegistry(pickle.loads(raw_object_info))  # noqa: S301 -- see __reduce__


def read_node(class_type: str, raw: Mapping[str, Any]) -> NodeSpec:
    """Parse one class of an ``/object_info`` answer. Malformed parts are left out."""
    outputs = tuple(_type_name(item) for item in _list(raw.get("output")))
    names = [item if isinstance(item, str) else "" for item in _list(raw.get("output_name"))]
    are_lists = [item is True for item in _list(raw.get("output_is_list"))]
    return NodeSpec(
        class_type=class_type,
        display_name=_text(raw.get("display_name")) or class_type,
        category=_text(raw.get("category")),
        description=_text(raw.get("description")),
        inputs=_read_inputs(raw),
        outputs=outputs,
        output_names=tuple(
            names[i] if i < len(names) and names[i] else type_ for i, type_ in enumerate(outputs)
        ),
        output_is_list=tuple(i < len(are_lists) and are_lists[i] for i in range(len(outputs))),
        output_node=raw.get("output_node") is True,
        is_input_list=raw.get("is_input_list") is True,
        api_node=raw.get("api_node") is True,
        deprecated=raw.get("deprecated") is True,
        experimental=raw.get("experimental") is True,
        python_module=_text(raw.get("python_module")),
    )


def read_input(name: str, declaration: Any, *, required: bool = True) -> InputSpec | None:
    """Parse one input declaration, ``[type, options?]``; None if it is not one.

    Also parses the inputs nested in the options of the dynamic types.
    """
    if not isinstance(declaration, list | tuple) or not declaration:
        return None
    kind = declaration[0]
    options = declaration[1] if len(declaration) > 1 else None
    options = options if isinstance(options, Mapping) else {}
    choices: Any = None
    if isinstance(kind, list | tuple):
        kind, choices = "COMBO", kind
    elif not isinstance(kind, str):
        return None
    elif kind == "COMBO":
        choices = options.get("options")
    control = options.get("control_after_generate")
    rounding = options.get("round")
    return InputSpec(
        name=name,
        type=kind,
        required=required,
        choices=tuple(choices) if isinstance(choices, list | tuple) else None,
        default=options.get("default"),
        min=_number(options.get("min")),
        max=_number(options.get("max")),
        step=_number(options.get("step")),
        round=rounding if isinstance(rounding, bool) else _number(rounding),
        multiline=options.get("multiline") is True,
        tooltip=_text(options.get("tooltip")),
        control_after_generate=control if isinstance(control, bool | str) else False,
        upload=next((kind for key, kind in _UPLOADS if options.get(key) is True), None),
        force_input=options.get("forceInput") is True,
        advanced=options.get("advanced") is True,
        options=options,
    )


def _read_inputs(raw: Mapping[str, Any]) -> dict[str, InputSpec]:
    declared, order = _object(raw.get("input")), _object(raw.get("input_order"))
    inputs: dict[str, InputSpec] = {}
    for section in ("required", "optional"):
        declarations = _object(declared.get(section))
        for name in _ordered(_list(order.get(section)), declarations):
            spec = read_input(name, declarations[name], required=section == "required")
            if spec is not None:
                inputs.setdefault(name, spec)
    return inputs


def _ordered(order: list[Any], declarations: Mapping[str, Any]) -> Iterable[str]:
    """All declared names, those in ``input_order`` first."""
    listed = [name for name in order if isinstance(name, str) and name in declarations]
    return dict.fromkeys([*listed, *declarations])


def _type_name(value: Any) -> str:
    # A list instead of a type name is the old spelling of an output that gives one of its items.
    return value if isinstance(value, str) else "COMBO" if isinstance(value, list) else "*"


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
