"""Turn any workflow into a preset: its controls become params, its model files requirements.

The result is run, checked, shared and saved like the shipped presets.
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
from ..fields.field_types import FILE_ROLES, NUMBER_ROLES, SNAPPED_ROLES, Role
from ..graph import AnyGraph, Graph, content_hash, copied, literals
from ..loras.lora_slots import find_lora_slots
from ..model_files import basename, is_model_file, model_folder
from .graph_builder import ObjectInfo, as_library
from .schema import RESERVED, Kind, ModelRequirement, Preset, Task

__all__ = ["models_of", "preset_from_workflow", "slug"]

_MAX_MODELS = 200  # in one file; the largest templates name some twenty
_OWN_ROLES = frozenset({"sampler", "scheduler", "model", "lora"})  # choices with a role
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
    """Build a preset from a graph's controls, results and model files.

    The id derives from the title and the graph's hash, so the same file gives the same id. Each
    run draws a new seed unless one is set; an input file that the server lacks is required; a
    choice among other values than texts keeps the graph's value.

    Args:
        graph: in API format.
        object_info: the server's node list, raw or as a :class:`NodeRegistry`.
        title: the name on the page.
        editor: the editor-format file that the graph was converted from, if any: labels, the App
            mode and download URLs of models are only there.

    Raises:
        InvalidWorkflowError: not a graph in API format, or no valid preset can be built.
    """
    library = as_library(object_info)
    controls = find_controls(graph, library, editor)
    settable = [control for control in controls if _is_settable(control)]
    outputs = find_outputs(graph, library, editor)
    outputs = [out for out in outputs if not out.temporary] or outputs
    kind: Kind = outputs[0].kind if outputs else "image"
    results = [(output.node, output.kind) for output in outputs] or [(_last(graph, library), kind)]
    fed = any(control.kind == "file" for control in settable)
    try:
        return Preset.model_validate(
            {
                "id": f"{slug(title) or 'workflow'}-{content_hash(graph)[:8]}",
                "graph": _results_first(copied(graph), [node for node, _ in results]),
                "title": title,
                "description": "",
                "task": _TASKS[kind][fed],
                "family": "Workflow",
                "params": [*_params(settable, graph, library)],
                "outputs": [{"node": node, "kind": kind} for node, kind in results],
                "models": [*_models(graph, editor)],
                "lora_slots": [slot._asdict() for slot in find_lora_slots(graph, library)],
            }
        )
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(str(part) for part in fault["loc"])
        raise InvalidWorkflowError(
            f"This workflow cannot become a form: {place or 'it'}: {fault['msg']}."
        ) from error


def _results_first(graph: Graph, results: Sequence[str]) -> Graph:
    """Return the graph with its results first: those of a job come in the order of its nodes."""
    return {node: graph[node] for node in (*results, *graph)}


def slug(text: str) -> str:
    """Convert text to a part of a file name.

    >>> slug("Wan 2.1 — Text to Video"), slug("../..")
    ('wan_2.1_text_to_video', '')
    """
    return re.sub(r"[^a-z0-9.]+", "_", text.lower()).strip("._")[:48].rstrip("._")


def models_of(editor: Mapping[str, Any]) -> Iterator[ModelRequirement]:
    """Yield the model files that an editor-format file has download URLs for.

    The editor saves them on nodes: ``properties.models`` with name, url and directory.
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
                continue  # a name, a folder and an https URL are required


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
    shipped_models = known_models()
    seen: set[str] = set()
    for node, name, value in literals(graph):
        if not is_model_file(value) or value in seen or len(seen) >= _MAX_MODELS:
            continue
        seen.add(value)
        key = basename(value)
        folder = model_folder(str(graph[node].get("class_type")), name)
        model = (
            shipped_models.get(key)
            or named.get(key)
            or ModelRequirement(folder=folder, filename=value)
        )
        yield model.model_copy(update={"filename": value})


def _is_settable(control: Control) -> bool:
    """Whether a param can have the control's values: choices must be texts."""
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
        if role == "prompt":  # the page has one prompt box
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
            "hidden": control.hidden,
            "min": control.min,
            "max": control.max,
            "step": _step(control, role),
            **_choices(control, graph, library),
            "optional": control.optional and role in FILE_ROLES,
            "help": control.help,
        }


def _role(control: Control) -> Role:
    """Return the control's role if it fits the kind of value, else the plain one."""
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
    """Return the step, or None if it would round the graph's own value."""
    if role in SNAPPED_ROLES and control.step and control.default % control.step:
        return 1
    return control.step


def _default(control: Control, role: Role, graph: AnyGraph, library: NodeRegistry) -> Any:
    if role == "seed":
        return None
    if role in FILE_ROLES and control.default not in (_offered(control, graph, library) or ()):
        return None
    return control.default


def _choices(control: Control, graph: AnyGraph, library: NodeRegistry) -> dict[str, Any]:
    """Reference the server's list if the choices are the same, so that it stays current."""
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
    """Return a node with a result of unknown type, for the preset's outputs."""
    specs = {node: library.get(str(graph[node].get("class_type"))) for node in graph}
    return ([node for node, spec in specs.items() if spec and spec.output_node] or [*graph])[-1]
