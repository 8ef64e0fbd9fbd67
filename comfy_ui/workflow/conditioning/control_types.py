"""The types of ControlNet and their preprocessors. The table is ``control_types.toml``."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ...errors import ValidationError
from ...protocol.object_info import NodeRegistry
from ..checks.node_packs import find_pack
from ..graph import Graph, NodeLink, as_link, free_id
from ..model_files import basename, model_folder

__all__ = [
    "CONTROL_FAMILIES",
    "CONTROL_TYPES",
    "ControlFamily",
    "ControlType",
    "Preprocessor",
    "add_preprocessor",
    "load_picture",
    "preprocess_graph",
]

_PICTURE: Final = "image"  # what stands for the picture in a preprocessor's links


@dataclass(frozen=True, slots=True)
class Preprocessor:
    """The nodes that turn a picture into what a ControlNet reads; none if it reads the picture.

    ``files`` are the inputs ``NODE.INPUT`` that name a model file, with the pattern of those that
    fit.
    """

    title: str
    nodes: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, str]

    def model_files(self, registry: NodeRegistry) -> dict[str, str] | None:
        """Return the server's file for each input of :attr:`files`; None if one is missing."""
        chosen = {}
        for where, pattern in self.files.items():
            node, _, name = where.partition(".")
            spec = registry.get(self.nodes[node]["class_type"])
            declared = spec.inputs.get(name) if spec is not None else None
            names = [str(file) for file in (declared and declared.choices) or ()]
            fitting = [f for f in names if fnmatch.fnmatchcase(basename(f).lower(), pattern)]
            if not fitting:
                return None
            chosen[where] = fitting[0]
        return chosen

    def obstacle(self, registry: NodeRegistry) -> str:
        """Return what the server lacks to run it, as a sentence; "" if it lacks nothing."""
        missing = [n["class_type"] for n in self.nodes.values() if n["class_type"] not in registry]
        if missing:
            pack = find_pack(missing[0])
            return pack.install if pack else "Update ComfyUI."
        if self.model_files(registry) is None:
            node, _, name = next(iter(self.files)).partition(".")
            entry = self.nodes[node]
            folder = model_folder(entry["class_type"], name)
            return f"Put {entry['inputs'][name]} into ComfyUI's folder models/{folder}."
        return ""


@dataclass(frozen=True, slots=True)
class ControlType:
    """A type of ControlNet: what it follows in the picture.

    ``masked``: it reads the picture's transparent part as a mask. ``families``: the only ones that
    have it; all if empty.
    """

    name: str
    title: str
    clue: re.Pattern[str]
    preprocessors: tuple[Preprocessor, ...]
    union: str = ""
    masked: bool = False
    families: tuple[str, ...] = ()

    def preprocessor(self, registry: NodeRegistry | None) -> Preprocessor:
        """Return the first preprocessor that a server can run.

        Without a registry, the first of all.

        Raises:
            ValidationError: the server can run none; the hint says what it lacks.
        """
        if registry is None:
            return self.preprocessors[0]
        for preprocessor in self.preprocessors:
            if not preprocessor.obstacle(registry):
                return preprocessor
        raise ValidationError(
            f"The server cannot prepare an image for a ControlNet of the type {self.title}.",
            hint=f"{self.preprocessors[0].obstacle(registry)} "
            "Or use an image that is prepared already.",
        )

    def obstacle(self, registry: NodeRegistry) -> str:
        """Return what a server lacks to prepare a picture, as a sentence; "" if nothing."""
        obstacles = [one.obstacle(registry) for one in self.preprocessors]
        return "" if "" in obstacles else obstacles[0]

    def suits(self, family: str) -> bool:
        """Whether models of a family can be of this type; an unknown family has all types."""
        return not family or not self.families or family in self.families


@dataclass(frozen=True, slots=True)
class ControlFamily:
    """Where the ControlNets of a model family are, below ``models/``.

    ``union``: its union models need the type from ``SetUnionControlNetType``.
    """

    folders: tuple[str, ...]
    union: bool = False


def _load() -> tuple[dict[str, ControlType], dict[str, ControlFamily]]:
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    types = {
        name: ControlType(
            name=name,
            title=entry["title"],
            clue=re.compile(entry["clue"], re.IGNORECASE),
            preprocessors=tuple(
                Preprocessor(one["title"], one["nodes"], one.get("files", {}))
                for one in entry["preprocessors"]
            ),
            union=entry.get("union", ""),
            masked=entry.get("masked", False),
            families=tuple(entry.get("families", ())),
        )
        for name, entry in table["types"].items()
    }
    families = {
        name: ControlFamily(tuple(entry["folders"]), entry.get("union", False))
        for name, entry in table["families"].items()
    }
    return types, families


CONTROL_TYPES, CONTROL_FAMILIES = _load()


def load_picture(graph: Graph, image: str) -> NodeLink:
    """Return the output of the node that loads an input file; add it if there is none, in place."""
    for node, entry in graph.items():
        if entry["class_type"] == "LoadImage" and entry["inputs"].get("image") == image:
            return NodeLink(node, 0)
    node = free_id(graph)
    graph[node] = {
        "class_type": "LoadImage",
        "inputs": {"image": image},
        "_meta": {"title": "Reference image"},
    }
    return NodeLink(node, 0)


def add_preprocessor(
    graph: Graph, preprocessor: Preprocessor, picture: NodeLink, registry: NodeRegistry | None
) -> NodeLink:
    """Add the nodes of a preprocessor, in place; return the output with the prepared image."""
    links = {_PICTURE: picture}
    files = (preprocessor.model_files(registry) if registry is not None else None) or {}
    result = picture
    for key, entry in preprocessor.nodes.items():
        node = free_id(graph)
        inputs = {}
        for name, value in entry["inputs"].items():
            link = as_link(value)
            if link is None:
                inputs[name] = files.get(f"{key}.{name}", value)
            elif link.node == _PICTURE:
                inputs[name] = [*picture]
            else:
                inputs[name] = [links[link.node].node, link.slot]
        graph[node] = {
            "class_type": entry["class_type"],
            "inputs": inputs,
            "_meta": {"title": preprocessor.title},
        }
        result = links[key] = NodeLink(node, 0)
    return result


def preprocess_graph(type_name: str, image: str, registry: NodeRegistry) -> Graph:
    """Return a graph that only prepares a picture, for a preview.

    Raises:
        ValidationError: there is no such type, or the server cannot prepare a picture for it.
    """
    chosen = CONTROL_TYPES.get(type_name)
    if chosen is None:
        raise ValidationError("There is no such type of ControlNet.")
    graph: Graph = {}
    picture = load_picture(graph, image)
    prepared = add_preprocessor(graph, chosen.preprocessor(registry), picture, registry)
    graph[free_id(graph)] = {"class_type": "PreviewImage", "inputs": {"images": [*prepared]}}
    return graph
