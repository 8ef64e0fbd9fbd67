"""Any workflow → a preset: its controls become parameters, its model files requirements.

From then on it is run, checked, offered to users and saved like the presets that ship.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pydantic

from ...errors import InvalidWorkflowError
from ...protocol.object_info import NodeRegistry
from ..checks.requirements import known_models
from ..controls import Control, find_controls, find_outputs
from ..fields.field_types import FILE_ROLES, NUMBER_ROLES, Role
from ..graph import AnyGraph, content_hash, copied, literals
from ..model_files import basename, is_model_file, model_folder
from .graph_builder import ObjectInfo, as_library
from .schema import RESERVED, Kind, ModelRequirement, Preset, Task

__all__ = ["models_of", "preset_from_workflow", "slug"]

_MAX_MODELS = 200  # in one file; the largest templates name some twenty
_OWN_ROLES = frozenset({"sampler", "scheduler", "model", "lora"})  # choices that mean something
_TASKS: Mapping[Kind, tuple[Task, Task]] = {  # without and with an input file
    "image": ("t2i", "i2i"),
    "video": ("t2v", "i2v"),
    "audio": ("audio", "audio"),
    "3d": ("3d", "3d"),
    "text": ("t2i", "t2i"),
}


def preset_from_workflow(
    graph: AnyGraph,
    object_info: ObjectInfo,
    *,
    title: str,
    editor: Mapping[str, Any] | None = None,
) -> Preset:
    """The preset that a graph is: its controls, results and model files, found by looking.

    Its id is made of the title and of what the graph holds, so the same file gives the same id.
    Each run draws a new seed unless one is set; a file that the server does not
    have must be given; a choice that is not among texts keeps the graph's value.

    Args:
        graph: in API format.
        object_info: the server's node list, raw or as a :class:`NodeRegistry`.
        title: the name that the page shows.
        editor: the editor-format file that the graph was converted from, if any: labels, the App
            mode and download URLs of models are only there.

    Raises:
        InvalidWorkflowError: not a graph in API format, or nothing of it can be shown.
    """
    library = as_library(object_info)
    found = find_controls(graph, library, editor)
    shown = [control for control in found if _is_settable(control)]
    outputs = find_outputs(graph, library)
    outputs = [out for out in outputs if not out.temporary] or outputs
    kind: Kind = outputs[0].kind if outputs else "image"
    results = [(output.node, output.kind) for output in outputs] or [(_last(graph, library), kind)]
    fed = any(control.kind == "file" for control in shown)
    try:
        return Preset.model_validate(
            {
                "id": f"{slug(title) or 'workflow'}-{content_hash(graph)[:8]}",
                "graph": copied(graph),
                "title": title,
                "description": "",
                "task": _TASKS[kind][fed],
                "family": "Workflow",
                "params": [*_params(shown, graph, library)],
                "outputs": [{"node": node, "kind": kind} for node, kind in results],
                "models": [*_models(graph, editor)],
            }
        )
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InvalidWorkflowError(
            f"No form can be made of this workflow: {place or 'it'}: {fault['msg']}."
        ) from error


def slug(text: str) -> str:
    """Text as a part of a file name: ``Wan 2.1 — Text to Video`` gives ``wan_2.1_text_to_video``.

    >>> slug("Wan 2.1 — Text to Video"), slug("../..")
    ('wan_2.1_text_to_video', '')
    """
    return re.sub(r"[^a-z0-9.]+", "_", text.lower()).strip("._")[:48].rstrip("._")


def models_of(editor: Mapping[str, Any]) -> Iterator[ModelRequirement]:
    """The model files that an editor-format file tells an address for, entry by entry.

    The editor keeps them at the nodes: ``properties.models`` with name, url and directory.
    """
    for node in _nodes(editor):
        properties = node.get("properties")
        listed = properties.get("models") if isinstance(properties, Mapping) else None
        for entry in listed if isinstance(listed, list) else ():
            if not isinstance(entry, Mapping):
                continue
            try:
                yield ModelRequirement.model_validate(
                    {
                        "folder": entry.get("directory"),
                        "filename": entry.get("name"),
                        "url": entry.get("url"),
                    }
                )
            except pydantic.ValidationError:
                continue  # without a name, a folder and an https URL it is of no use


def _nodes(editor: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    definitions = editor.get("definitions")
    inner = definitions.get("subgraphs") if isinstance(definitions, Mapping) else None
    for scope in (editor, *(inner if isinstance(inner, list) else ())):
        nodes = scope.get("nodes") if isinstance(scope, Mapping) else None
        for node in nodes if isinstance(nodes, list) else ():
            if isinstance(node, Mapping):
                yield node


def _models(graph: AnyGraph, editor: Mapping[str, Any] | None) -> Iterator[ModelRequirement]:
    named = {basename(model.filename): model for model in models_of(editor or {})}
    known = known_models()
    seen: set[str] = set()
    for node, name, value in literals(graph):
        if not is_model_file(value) or value in seen or len(seen) >= _MAX_MODELS:
            continue
        seen.add(value)
        key = basename(value)
        folder = model_folder(str(graph[node].get("class_type")), name)
        model = known.get(key) or named.get(key) or ModelRequirement(folder=folder, filename=value)
        yield model.model_copy(update={"filename": value})


def _is_settable(control: Control) -> bool:
    """Whether a parameter can hold the values: choices are texts there, numbers numbers."""
    match control.kind:
        case "choice":
            return all(isinstance(choice, str) for choice in control.choices or ())
        case "int" | "float":
            return isinstance(control.default, int | float) and not isinstance(
                control.default, bool
            )
        case "bool":
            return isinstance(control.default, bool)
    return True


def _params(
    controls: Sequence[Control], graph: AnyGraph, library: NodeRegistry
) -> Iterator[dict[str, Any]]:
    prompted = False
    for order, control in enumerate(controls):
        role = _role(control)
        if role == "prompt":  # the page has one box for it
            role, prompted = ("text" if prompted else role), True
        yield {
            "id": f"{control.id}_value" if control.id in RESERVED else control.id,
            "role": role,
            "label": control.label,
            "targets": [{"node": node, "input": name} for node, name in control.targets],
            "default": _default(control, role, graph, library),
            "group": control.group,
            "order": order,
            "advanced": control.advanced,
            "min": control.min,
            "max": control.max,
            "step": _step(control, role),
            **_choices(control, graph, library),
            "optional": control.optional and role in FILE_ROLES,
            "help": control.help,
        }


def _role(control: Control) -> Role:
    """The control's role where values of its kind can have it, else the plain one."""
    match control.kind:
        case "int" | "float":
            return control.role if control.role in NUMBER_ROLES else control.kind
        case "bool":
            return "bool"
        case "choice" if is_model_file(control.default):
            return "lora" if control.role == "lora" else "model"
        case "choice":
            return control.role if control.role in _OWN_ROLES else "choice"
        case "file":
            return control.role if control.role in FILE_ROLES else "image"
    plain = control.role in ("prompt", "negative", "text")
    return control.role if plain else "text"


def _step(control: Control, role: Role) -> float | None:
    """The step, unless the graph's own size would be rounded away from what it is."""
    if role in ("width", "height") and control.step and control.default % control.step:
        return 1
    return control.step


def _default(control: Control, role: Role, graph: AnyGraph, library: NodeRegistry) -> Any:
    if role == "seed":
        return None
    if role in FILE_ROLES and control.default not in (_offered(control, graph, library) or ()):
        return None
    return control.default


def _choices(control: Control, graph: AnyGraph, library: NodeRegistry) -> dict[str, Any]:
    """The server's own list where that is what is offered, so that it grows with the server."""
    if control.kind != "choice":
        return {"choices": None, "choices_from": None}
    if control.choices == _offered(control, graph, library):
        return {"choices": None, "choices_from": "object_info"}
    return {"choices": control.choices, "choices_from": None}


def _offered(control: Control, graph: AnyGraph, library: NodeRegistry) -> tuple[Any, ...] | None:
    node, name = control.targets[0]
    spec = library.get(str(graph[node].get("class_type")))
    declared = spec.inputs.get(name) if spec is not None else None
    return declared.choices if declared is not None else None


def _last(graph: AnyGraph, library: NodeRegistry) -> str:
    """A node with a result of an unknown kind, for the preset's outputs."""
    specs = {node: library.get(str(graph[node].get("class_type"))) for node in graph}
    return ([node for node, spec in specs.items() if spec and spec.output_node] or [*graph])[-1]
