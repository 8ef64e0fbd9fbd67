"""What is wrong with a graph, before it is queued: the verdicts of the server, with cures.

Follows what ``POST /prompt`` of ComfyUI 0.3.64 and 0.33.0 was seen to accept and refuse: every
node's class must exist, then the outputs and all that they need are looked at. Stricter in two
things that old servers let through and that then fail in the run: newer-style choices, and model
files of which there are none at all.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import (
    InvalidWorkflowError,
    MissingModelsError,
    MissingNodesError,
    Problem,
    closest,
)
from ..protocol.nodes import InputSpec, NodeLibrary, NodeSpec
from .compile import ObjectInfo, as_library, find_model
from .declared import declared_inputs
from .graph import AnyGraph, Link, as_link, find_cycle, inputs_of, title, unwrap
from .needs import missing_model, missing_node, version_problem
from .presets import load_presets
from .schema import ModelRequirement

_MODEL_FILE = re.compile(r".+\.(safetensors|sft|ckpt|pth?|bin|gguf|onnx|engine)", re.IGNORECASE)
_SHOWN = 80  # characters of a value in a message

# The folder below models/ that a loader's list is read from, by input name. Where an input name
# means different folders in different classes, "Class.input" stands before it.
_FOLDERS: Mapping[str, str] = {
    "ckpt_name": "checkpoints",
    "unet_name": "diffusion_models",
    "clip_name": "text_encoders",
    "clip_name1": "text_encoders",
    "clip_name2": "text_encoders",
    "clip_name3": "text_encoders",
    "clip_name4": "text_encoders",
    "text_encoder": "text_encoders",
    "CLIPVisionLoader.clip_name": "clip_vision",
    "vae_name": "vae",
    "lora_name": "loras",
    "control_net_name": "controlnet",
    "style_model_name": "style_models",
    "gligen_name": "gligen",
    "hypernetwork_name": "hypernetworks",
    "photomaker_model_name": "photomaker",
    "audio_encoder_name": "audio_encoders",
    "UpscaleModelLoader.model_name": "upscale_models",
    "LatentUpscaleModelLoader.model_name": "latent_upscale_models",
    "FrameInterpolationModelLoader.model_name": "frame_interpolation",
    "ModelPatchLoader.name": "model_patches",
}


def check_workflow(
    graph: AnyGraph,
    object_info: ObjectInfo,
    *,
    uploads: Collection[str] = (),
    models: Iterable[ModelRequirement] = (),
    min_comfyui: str | None = None,
    comfyui_version: str | None = None,
) -> list[Problem]:
    """Everything that would keep a server from running the graph, in the order of its nodes.

    An empty list means that the server will take it. Problems of severity ``warning`` do not stop
    it.

    Args:
        graph: in API format.
        object_info: the server's node list, raw or as a :class:`NodeLibrary`.
        uploads: names of input files known to be there although ``object_info`` may be older than
        they are. models: what is known of the files that the graph names (address, size, licence),
        besides what
            the shipped presets know.
        min_comfyui: the version that the graph needs, where that is known.
        comfyui_version: the server's, for the same.
    """
    library = as_library(object_info)
    if not graph:
        return [_no_output()]
    problems = [*version_problem(min_comfyui, comfyui_version)]
    unknown = [*_class_problems(graph, library)]
    if unknown:
        return problems + unknown  # the server looks no further either
    return problems + _Check(graph, library, frozenset(uploads), _known_models(models)).run()


def error_for(problems: Iterable[Problem]) -> InvalidWorkflowError | None:
    """The error that tells these problems, or None when there is nothing but warnings."""
    errors = [problem for problem in problems if problem.severity == "error"]
    if not errors:
        return None
    first, more = errors[0], len(errors) - 1
    text = str(first) + (f" And {more} more." if more else "")
    nodes = sorted({str(p.class_type) for p in errors if p.kind == "missing_node"})
    if nodes:
        return MissingNodesError(text, class_types=nodes, problems=errors)
    models = [p.extra["model"] for p in errors if p.kind == "missing_model"]
    if len(models) == len(errors):
        return MissingModelsError(text, models=models, problems=errors)
    return InvalidWorkflowError(text, problems=errors)


@dataclass(frozen=True, slots=True)
class _Check:
    """One look at one graph."""

    graph: AnyGraph
    library: NodeLibrary
    uploads: frozenset[str]
    models: Mapping[str, ModelRequirement]
    declared: dict[str, dict[str, InputSpec]] = field(default_factory=dict)

    def run(self) -> list[Problem]:
        outputs = [node for node in self.graph if self._spec(node).output_node]
        if not outputs:
            return [_no_output()]
        needed = self._needed(outputs)
        problems = [
            problem
            for node in self.graph
            if node in needed
            for problem in self._node_problems(node, is_output=self._spec(node).output_node)
        ]
        return problems + self._cycle_problem(needed)

    def _spec(self, node: str) -> NodeSpec:
        return self.library[self.graph[node]["class_type"]]

    def _inputs(self, node: str) -> dict[str, InputSpec]:
        if node not in self.declared:
            self.declared[node] = declared_inputs(self._spec(node), inputs_of(self.graph, node))
        return self.declared[node]

    def _links(self, node: str) -> Iterator[tuple[str, Link]]:
        """The links that the server follows: of declared inputs, to an output that fits."""
        given = inputs_of(self.graph, node)
        for name, spec in self._inputs(node).items():
            link = as_link(given.get(name))
            if link is not None and self._misfit(spec, link) is None:
                yield name, link

    def _misfit(self, spec: InputSpec, link: Link) -> tuple[str, str] | None:
        """Why the link cannot feed the input, as a kind (empty: it leads nowhere) and a
        sentence.
        """
        if link.node not in self.graph:
            return "", f"is linked to node {_short(link.node)}, which is not there"
        outputs, name = self._spec(link.node).outputs, title(self.graph, link.node)
        if not -len(outputs) <= link.slot < len(outputs):  # the server counts as Python does
            return "", f"is linked to output {link.slot} of '{name}', which has {len(outputs)}"
        given = outputs[link.slot]
        if not _fits(given, spec.type):
            return "return_type_mismatch", f"takes {spec.type}, and '{name}' gives {given} there"
        return None

    def _needed(self, outputs: Iterable[str]) -> set[str]:
        seen: set[str] = set()
        todo = [*outputs]
        while todo:
            node = todo.pop()
            if node not in seen:
                seen.add(node)
                todo += [link.node for _, link in self._links(node)]
        return seen

    def _node_problems(self, node: str, *, is_output: bool) -> Iterator[Problem]:
        given = self.graph[node].get("inputs")
        if not isinstance(given, Mapping):
            yield self._problem(
                node,
                None,
                _broken(is_output),
                "It has no 'inputs'.",
                "Export the workflow again in API format.",
            )
            return
        for name, spec in self._inputs(node).items():
            if name not in given:
                if spec.required:
                    hint = "Connect it." if _is_socket(spec) else "Give it a value."
                    yield self._problem(
                        node,
                        name,
                        "required_input_missing",
                        f"The input '{name}' is missing.",
                        hint,
                    )
                continue
            value = given[name]
            if isinstance(value, list):
                yield from self._link_problems(node, name, spec, value, is_output=is_output)
            else:
                yield from self._value_problems(node, name, spec, unwrap(value))

    def _link_problems(
        self, node: str, name: str, spec: InputSpec, value: list[Any], *, is_output: bool
    ) -> Iterator[Problem]:
        link = as_link(value)
        if link is None:
            message = f"The input '{name}' is a list, but no link."
            hint = 'A link is [node id, output number]; a list as a value is {"__value__": […]}.'
            kind = "bad_linked_input" if len(value) != 2 else _broken(is_output)
            yield self._problem(node, name, kind, message, hint)
            return
        misfit = self._misfit(spec, link)
        if misfit is not None:
            kind, sentence = misfit[0] or _broken(is_output), f"The input '{name}' {misfit[1]}."
            yield self._problem(node, name, kind, sentence, _connect(spec))

    def _value_problems(
        self, node: str, name: str, spec: InputSpec, value: Any
    ) -> Iterator[Problem]:
        if spec.type in ("INT", "FLOAT"):
            yield from self._number_problems(node, name, spec, value)
        elif spec.upload is not None:
            yield from self._file_problems(node, name, spec, value)
        elif spec.type == "COMBO" and spec.choices is not None:
            yield from self._choice_problems(node, name, spec, value)
        elif spec.type in _CORE_SOCKETS:
            # The server takes it and hands it to the node, which has no use for a literal.
            message = f"The input '{name}' takes a link of type {spec.type}, not {_short(value)}."
            kind = "invalid_input_type"
            yield self._problem(node, name, kind, message, _connect(spec), severity="warning")

    def _number_problems(
        self, node: str, name: str, spec: InputSpec, value: Any
    ) -> Iterator[Problem]:
        try:
            number: float = int(value) if spec.type == "INT" else float(value)
        except (TypeError, ValueError, OverflowError):
            kind = "a whole number" if spec.type == "INT" else "a number"
            message = f"'{name}' takes {kind}, not {_short(value)}."
            yield self._problem(node, name, "invalid_input_type", message, _range_hint(spec))
            return
        if spec.min is not None and number < spec.min:
            message = f"'{name}' is {_short(value)}, and at least {spec.min:g} is needed."
            yield self._problem(node, name, "value_smaller_than_min", message, _range_hint(spec))
        elif spec.max is not None and number > spec.max:
            message = f"'{name}' is {_short(value)}, and at most {spec.max:g} is possible."
            yield self._problem(node, name, "value_bigger_than_max", message, _range_hint(spec))

    def _choice_problems(
        self, node: str, name: str, spec: InputSpec, value: Any
    ) -> Iterator[Problem]:
        choices = spec.choices or ()
        several = isinstance(value, list) and bool(spec.options.get("multiselect"))
        for word in value if several else [value]:
            if _is_among(word, choices) or (isinstance(word, str) and word in self.uploads):
                continue
            if isinstance(word, str) and _MODEL_FILE.fullmatch(word):
                yield self._model_problem(node, name, word, choices)
            else:
                message = f"'{name}' cannot be {_short(word)}."
                text = word[:200] if isinstance(word, str) else _short(word)
                hint = closest(text, [str(choice) for choice in choices])
                hint = hint or "This server has nothing to choose from here."
                yield self._problem(node, name, "value_not_in_list", message, hint)

    def _model_problem(
        self, node: str, name: str, filename: str, choices: tuple[Any, ...]
    ) -> Problem:
        class_type = self.graph[node]["class_type"]
        folder = _FOLDERS.get(f"{class_type}.{name}") or _FOLDERS.get(name, "")
        known = self.models.get(_basename(filename))
        model = known or ModelRequirement(folder=folder, filename=filename)
        alternative = find_model(filename, choices, model.alternatives)
        problem = missing_model(model, alternative)
        return Problem(
            kind=problem.kind,
            message=problem.message,
            hint=problem.hint,
            node=node,
            node_title=title(self.graph, node),
            class_type=class_type,
            input=name,
            extra={**problem.extra, "alternative": alternative},
        )

    def _file_problems(
        self, node: str, name: str, spec: InputSpec, value: Any
    ) -> Iterator[Problem]:
        """Names below a subfolder or of another folder are not in the server's list, yet may be
        there.
        """
        if isinstance(value, str) and (
            spec.choices is None
            or value in spec.choices
            or value in self.uploads
            or "/" in value
            or "\\" in value
            or value.endswith("]")
        ):
            return
        yield self._problem(
            node,
            name,
            "custom_validation_failed",
            f"The server has no file {_short(value)} to load.",
            "Upload the file, or choose one that is there.",
        )

    def _cycle_problem(self, needed: set[str]) -> list[Problem]:
        counted = {
            node: {"inputs": {name: [*link] for name, link in self._links(node)}}
            for node in self.graph
            if node in needed
        }
        circle = find_cycle(counted)
        if not circle:
            return []
        names = " ← ".join(title(self.graph, node) for node in [*circle, circle[0]])
        return [
            self._problem(
                circle[0],
                None,
                "dependency_cycle",
                f"The nodes feed each other in a circle: {names}.",
                "Remove one of these connections.",
            )
        ]

    def _problem(
        self,
        node: str,
        name: str | None,
        kind: str,
        message: str,
        hint: str,
        *,
        severity: Any = "error",
    ) -> Problem:
        return Problem(
            kind=kind,
            message=message,
            hint=hint,
            node=node,
            node_title=title(self.graph, node),
            class_type=self.graph[node]["class_type"],
            input=name,
            severity=severity,
        )


_CORE_SOCKETS = frozenset(
    {
        "MODEL", "CLIP", "VAE", "CONDITIONING", "LATENT", "IMAGE", "MASK", "CONTROL_NET",
        "CLIP_VISION", "SAMPLER", "SIGMAS", "GUIDER", "NOISE", "UPSCALE_MODEL", "STYLE_MODEL",
        "AUDIO", "VIDEO",
    }
)  # fmt: skip
_VALUE_TYPES = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})


def _is_socket(spec: InputSpec) -> bool:
    return spec.type not in _VALUE_TYPES


def _connect(spec: InputSpec) -> str:
    return f"Connect an output of type {spec.type}."


def _broken(is_output: bool) -> str:
    """The server's name for a link that leads nowhere: it raises, within the node or within an
    output.
    """
    return "exception_during_validation" if is_output else "exception_during_inner_validation"


def _fits(given: str, wanted: str) -> bool:
    """Whether an output of type ``given`` may feed an input of type ``wanted``; commas part
    alternatives.
    """
    if given == wanted or "*" in (given, wanted) or given.startswith("COMFY_"):
        return True  # COMFY_…: a type that is settled only in the run
    return not {part.strip() for part in given.split(",")}.isdisjoint(
        part.strip() for part in wanted.split(",")
    )


def _is_among(value: Any, choices: tuple[Any, ...]) -> bool:
    return any(value == choice for choice in choices)  # `in` would need a value that can be hashed


def _short(value: Any) -> str:
    text = f"'{value}'" if isinstance(value, str) else reprlib.repr(value)  # bounded in depth
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _range_hint(spec: InputSpec) -> str:
    low, high = spec.min, spec.max
    if low is not None and high is not None:
        return f"It goes from {low:g} to {high:g}."
    return ""


def _basename(name: str) -> str:
    return name.replace("\\", "/").rsplit("/", 1)[-1]


def _no_output() -> Problem:
    return Problem(
        kind="prompt_no_outputs",
        message="The workflow has no node that saves or shows a result.",
        hint="Add one, for instance Save Image.",
    )


def _class_problems(graph: Mapping[str, Any], library: NodeLibrary) -> Iterator[Problem]:
    for node, entry in graph.items():
        class_type = entry.get("class_type") if isinstance(entry, Mapping) else None
        if not isinstance(class_type, str):
            yield Problem(
                kind="invalid_prompt",
                message=f"Node '{node}' has no class.",
                hint="Export the workflow again in API format.",
                node=node,
            )
        elif class_type not in library:
            problem = missing_node(class_type)
            yield Problem(
                kind=problem.kind,
                message=problem.message,
                hint=problem.hint,
                node=node,
                node_title=title(graph, node),
                class_type=class_type,
                extra=problem.extra,
            )


def _known_models(models: Iterable[ModelRequirement]) -> dict[str, ModelRequirement]:
    shipped = (model for preset in load_presets().values() for model in preset.all_models())
    return {_basename(model.filename): model for model in (*shipped, *models)}
