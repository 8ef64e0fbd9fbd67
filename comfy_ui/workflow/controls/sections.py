"""Where the nodes of a graph stand: in which subgraph, in which group, and for which sampler."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from ..editor.editor_document import EditorDocument, EditorGraph
from .graph_walk import GraphWalk
from .literal_inputs import GraphView

# Brackets or lines of two and more characters; a single one may belong to the words.
_DECORATION = re.compile(r"[\[\]{}<>]{2,}|[-=*#~_|]{2,}|^[=*#~|]+|[=*#~|]+$")


class Sections:
    """The parts of a graph by their titles; without an editor-format file, only the samplers."""

    def __init__(self, view: GraphView, walk: GraphWalk, document: EditorDocument | None) -> None:
        self._document = document
        self._depth = 0
        self._subgraph_titles: dict[str, str] = {}
        if document is not None:
            self._name_subgraphs(document, walk.in_order)
        self._first_samplers = walk.first_samplers()
        samplers = walk.samplers()
        self._ranks = {node: rank for rank, node in enumerate(samplers)}
        self._sampler_titles = _numbered(
            (node, (self.subgraph(node), view.title(node))) for node in samplers
        )

    def rank(self, node: str) -> int:
        """Return the position of the first sampler that a node feeds; a high one for none."""
        return self._ranks.get(self._first_samplers.get(node, ""), len(self._ranks))

    def stage(self, node: str) -> str:
        """Return what a node feeds first: the title of another subgraph, or of a sampler.

        Empty if there is only one.
        """
        sampler = self._first_samplers.get(node, "")
        if len(self._ranks) < 2 or not sampler:
            return ""
        subgraph = self.subgraph(sampler)
        return subgraph if subgraph != self.subgraph(node) else self._sampler_titles[sampler]

    def subgraph(self, node: str) -> str:
        """Return the title of the subgraph around a node; empty if all stand in the same."""
        return self._subgraph_titles.get(":".join(node.split(":")[: self._depth]), "")

    def group(self, node: str) -> str:
        """Return the title of the innermost group of the author's around a node."""
        if self._document is None:
            return ""
        title = ""
        graph: EditorGraph | None = self._document.root
        for key in node.split(":"):
            entry = graph.nodes.get(key) if graph else None
            if graph is None or entry is None:
                break
            title = _readable(graph.group_of(entry)) or title
            graph = self._document.definitions.get(entry.type)
        return title

    def _name_subgraphs(self, document: EditorDocument, nodes: Iterable[str]) -> None:
        """Name the instances on the outermost level that has several, in the order they run."""
        hosts = dict.fromkeys(tuple(node.split(":")[:-1]) for node in nodes if ":" in node)
        for depth in range(1, 1 + max(map(len, hosts), default=0)):
            keys = dict.fromkeys(":".join(host[:depth]) for host in hosts if len(host) >= depth)
            if len(keys) > 1:
                self._depth = depth
                self._subgraph_titles = _numbered(
                    (key, ("", _title(document, key))) for key in keys
                )
                return


def _readable(title: str) -> str:
    """Return the title of a group without the brackets and lines that decorate it in the editor.

    >>> [_readable(title) for title in ("[[Prompt]]", "[[1]] Models", "=== Output ===", "***")]
    ['Prompt', '1 Models', 'Output', '***']
    """
    words = " ".join(_DECORATION.sub(" ", title).split())
    return words or title


def _title(document: EditorDocument, host: str) -> str:
    """Return the title of a subgraph instance, or the name of its definition."""
    graph: EditorGraph | None = document.root
    title = ""
    for key in host.split(":"):
        entry = graph.nodes.get(key) if graph else None
        graph = document.definitions.get(entry.type) if entry else None
        title = (entry.title if entry else "") or (graph.name if graph else "")
    return title


def _numbered(titles: Iterable[tuple[str, tuple[str, str]]]) -> dict[str, str]:
    """Return titles by key. Those that are equal within a section, which comes first, get numbers.

    >>> _numbered([("4", ("", "KSampler")), ("7", ("", "KSampler")), ("8:1", ("Face", "KSampler"))])
    {'4': 'KSampler 1', '7': 'KSampler 2', '8:1': 'KSampler'}
    """
    listed = [*titles]
    counts = Counter(place for _, place in listed)
    seen: Counter[tuple[str, str]] = Counter()
    numbered = {}
    for key, place in listed:
        seen[place] += 1
        numbered[key] = f"{place[1]} {seen[place]}" if counts[place] > 1 else place[1]
    return numbered
