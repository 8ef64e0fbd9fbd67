"""The nodes that a graph runs and their rough costs, from the graph alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, NamedTuple

LOOP_START: Final = "StartLoop"
_LOOP_END: Final = "EndLoop"
_MODEL_SUFFIXES: Final = (".safetensors", ".sft", ".ckpt", ".pt", ".pth", ".bin", ".gguf", ".onnx")
_SMALL_MODELS: Final = ("VAE", "UpscaleModel")  # tens to hundreds of megabytes, others gigabytes
_SIZE_POWER: Final = 0.7
_MAX_PASSES: Final = 100_000
_MAX_MODELS: Final = 300  # characters of the models in a shape


class NodeShape(NamedTuple):
    """What the duration of a node depends on, besides the server.

    ``models`` are the model files of the node and its ancestors; ``megapixels`` is the largest size
    there, times frames and batch (0: unknown); ``steps`` is 1 for a node that does not sample.
    """

    class_type: str
    models: str
    megapixels: float
    steps: float


@dataclass(frozen=True)
class GraphCost:
    """The structure and costs of an API-format graph, which must not change.

    Each part is read on first use: a client that posts a job has time for it while the server
    works, and may not need all.

    ``graph`` is API format; entries of another shape are skipped. ``output_nodes`` are the ids that
    the server runs the graph for, if it reported them.
    """

    graph: Mapping[str, Any] = field(repr=False)
    output_nodes: Collection[str] | None = None

    @cached_property
    def classes(self) -> Mapping[str, str]:
        """The class of each node."""
        return {id_: _text(node.get("class_type")) for id_, node in self._nodes.items()}

    @cached_property
    def sources(self) -> Mapping[str, tuple[str, ...]]:
        """The nodes that each node takes inputs from, without switch branches that are known not to
        be taken."""
        return {id_: _sources(id_, self._nodes) for id_ in self._nodes}

    @cached_property
    def outputs(self) -> frozenset[str]:
        """The nodes at which the run ends.

        Unless the server reported them, every node whose outputs are unused, and every node that
        seems to save or show something.
        """
        if reported := frozenset(self.output_nodes or ()) & self._nodes.keys():
            return reported
        used = {source for ids in self.sources.values() for source in ids}
        return frozenset(
            id_
            for id_, class_type in self.classes.items()
            if id_ not in used or is_saver(class_type)
        )

    @property
    def outputs_reported(self) -> bool:
        """Whether the server named the outputs."""
        return not self._nodes.keys().isdisjoint(self.output_nodes or ())

    @cached_property
    def titles(self) -> Mapping[str, str]:
        """The title of each node, else its class."""
        return {
            id_: _text(_mapping(node.get("_meta")).get("title")) or self.classes[id_]
            for id_, node in self._nodes.items()
        }

    @cached_property
    def weights(self) -> Mapping[str, float]:
        """The cost of one pass of each node, in units of about half a sampling step."""
        return {
            id_: _weight(self.classes[id_], inputs, self._nodes)
            for id_, inputs in self._inputs.items()
        }

    @cached_property
    def shapes(self) -> Mapping[str, NodeShape]:
        """What the duration of each node depends on."""
        return _shapes(self._order, self.sources, self.classes, self._inputs, self._nodes)

    @cached_property
    def size_factor(self) -> float:
        """How much longer than for an image of one megapixel a step may take; 1 if unknown."""
        largest = max((shape.megapixels for shape in self.shapes.values()), default=0.0)
        return min(max(largest, 0.1), 64.0) ** _SIZE_POWER if largest > 0 else 1.0

    @cached_property
    def loaders(self) -> Mapping[str, frozenset[str]]:
        """The nodes among each node and its ancestors that load a model."""
        own = {id_: {id_} for id_, class_type in self.classes.items() if is_loader(class_type)}
        return _inherited(self._order, self.sources, own)

    @cached_property
    def loops(self) -> Mapping[str, tuple[str, ...]]:
        """The loops that each node is in, by their start nodes, outermost first."""
        return _loops(self._order, self.sources, self.classes)

    @cached_property
    def passes(self) -> Mapping[str, int]:
        """The number of passes of those loops, by start node, whose number is in the graph."""
        return {
            id_: number
            for id_, class_type in self.classes.items()
            if class_type == LOOP_START
            and (number := _passes(self._inputs[id_], self._nodes)) is not None
        }

    @cached_property
    def _nodes(self) -> Mapping[str, Mapping[str, Any]]:
        return {id_: node for id_, node in self.graph.items() if isinstance(node, Mapping)}

    @cached_property
    def _inputs(self) -> Mapping[str, Mapping[str, Any]]:
        return {id_: _mapping(node.get("inputs")) for id_, node in self._nodes.items()}

    @cached_property
    def _order(self) -> list[str]:
        return _in_order(self.sources)


def ancestors(
    outputs: Iterable[str],
    sources: Mapping[str, tuple[str, ...]],
    *,
    done: Collection[str] = frozenset(),
) -> set[str]:
    """``outputs`` and all nodes that they need, not following nodes that are ``done``."""
    needed: set[str] = set()
    waiting = [id_ for id_ in outputs if id_ not in done]
    while waiting:
        id_ = waiting.pop()
        if id_ not in needed and id_ in sources:
            needed.add(id_)
            waiting += [source for source in sources[id_] if source not in done]
    return needed


def _in_order(sources: Mapping[str, tuple[str, ...]]) -> list[str]:
    """All nodes, each after its sources as far as there is no cycle."""
    order: dict[str, None] = {}
    entered: set[str] = set()
    stack = list(sources)[::-1]
    while stack:
        id_ = stack[-1]
        if id_ in entered:
            order[stack.pop()] = None
            continue
        entered.add(id_)
        stack += [source for source in sources[id_] if source not in entered]
    return [*order]


def _inherited(
    order: Iterable[str], sources: Mapping[str, tuple[str, ...]], own: Mapping[str, set[str]]
) -> dict[str, frozenset[str]]:
    """The union of ``own`` over each node and its ancestors. Equal sets share one object."""
    united: dict[str, frozenset[str]] = {}
    for id_ in order:
        parts = {united[source] for source in sources[id_] if source in united}
        if id_ in own:
            parts.add(frozenset(own[id_]))
        united[id_] = next(iter(parts)) if len(parts) == 1 else frozenset[str]().union(*parts)
    return united


def _shapes(
    order: Sequence[str],
    sources: Mapping[str, tuple[str, ...]],
    classes: Mapping[str, str],
    inputs: Mapping[str, Mapping[str, Any]],
    nodes: Mapping[str, Mapping[str, Any]],
) -> dict[str, NodeShape]:
    own_models = {id_: files for id_ in order if (files := set(_model_files(inputs[id_])))}
    models = _inherited(order, sources, own_models)
    texts = {files: "+".join(sorted(files))[:_MAX_MODELS] for files in set(models.values())}
    sizes: dict[str, float] = {}
    for id_ in order:
        inherited = (sizes.get(source, 0.0) for source in sources[id_])
        sizes[id_] = max([_megapixels(inputs[id_], nodes), *inherited])
    return {
        id_: NodeShape(
            classes[id_],
            texts[models[id_]],
            sizes[id_],
            _steps(inputs[id_], nodes) if _samples(classes[id_], inputs[id_]) else 1.0,
        )
        for id_ in order
    }


def _model_files(inputs: Mapping[str, Any]) -> list[str]:
    return [
        value
        for value in inputs.values()
        if isinstance(value, str) and value[-12:].lower().endswith(_MODEL_SUFFIXES)
    ]


def _megapixels(inputs: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> float:
    size = _positive(inputs, "width", nodes) * _positive(inputs, "height", nodes)
    for name in ("length", "frames", "batch_size"):
        size *= _positive(inputs, name, nodes) or 1.0
    return round(min(size / 2**20, 1e6), 3)


def _positive(
    inputs: Mapping[str, Any], name: str, nodes: Mapping[str, Mapping[str, Any]]
) -> float:
    """A number among the inputs; 0 if it is computed, negative or absurd."""
    if name not in inputs:
        return 0.0
    value = _literal(inputs.get(name), nodes)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < 2**32 else 0.0


def _loops(
    order: Iterable[str], sources: Mapping[str, tuple[str, ...]], classes: Mapping[str, str]
) -> dict[str, tuple[str, ...]]:
    """The loops around each node of a graph that has any, by their start nodes."""
    if LOOP_START not in classes.values():
        return {}
    around: dict[str, tuple[str, ...]] = {}  # at each node
    after: dict[str, tuple[str, ...]] = {}  # for the nodes that use it
    for id_ in order:
        opened = {loop for source in sources[id_] for loop in after.get(source, ())}
        by_depth = sorted(opened, key=lambda loop: (len(around[loop]), loop))
        around[id_] = after[id_] = tuple(by_depth)
        if classes[id_] == LOOP_START:
            after[id_] = (*around[id_], id_)
        elif classes[id_] == _LOOP_END:  # closes the innermost loop
            around[id_] = after[id_] = around[id_][:-1]
    return {id_: loops for id_, loops in around.items() if loops}


def _passes(inputs: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> int | None:
    """The number of passes of a loop; None if it depends on a list or a computed number."""
    mode = inputs.get("mode")
    if mode == "simple":
        count = _literal(inputs.get("mode.num_iterations"), nodes)
        return count if isinstance(count, int) and 0 <= count <= _MAX_PASSES else None
    if mode == "For":
        first, last, step = (
            _literal(inputs.get(f"mode.{name}"), nodes)
            for name in ("start_iteration_index", "max_iteration", "step")
        )
        if isinstance(first, int) and isinstance(last, int) and isinstance(step, int) and step > 0:
            return min(len(range(first, last, step)), _MAX_PASSES)
    return None


def _sources(id_: str, nodes: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    inputs = _mapping(nodes[id_].get("inputs"))
    skipped = ""
    if nodes[id_].get("class_type") == "ComfySwitchNode":
        switch = _literal(inputs.get("switch"), nodes)
        if isinstance(switch, bool):
            skipped = "on_false" if switch else "on_true"
    links = (_link(value) for name, value in inputs.items() if name != skipped)
    return tuple(dict.fromkeys(source for source in links if source in nodes))


def _link(value: Any) -> str:
    """The id of the node that a value is linked to; empty for a literal."""
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int):
        return str(value[0])
    return ""


def _literal(value: Any, nodes: Mapping[str, Mapping[str, Any]]) -> Any:
    """A literal value, directly or from a primitive node; None if it is computed."""
    source = nodes.get(_link(value))
    if source is None:
        return None if isinstance(value, list) else value
    if not _text(source.get("class_type")).startswith("Primitive"):
        return None
    value = _mapping(source.get("inputs")).get("value")
    return None if isinstance(value, list) else value


def is_loader(class_type: str) -> bool:
    """Whether a node class loads a model, by its name."""
    return "Loader" in class_type or (class_type.startswith("Load") and "Model" in class_type)


def is_saver(class_type: str) -> bool:
    """Whether a node class saves or shows a result, by its name."""
    return class_type.startswith(("Save", "Preview", "VHS_VideoCombine"))


def _samples(class_type: str, inputs: Mapping[str, Any]) -> bool:
    return "Sampler" in class_type and not inputs.keys().isdisjoint({"latent_image", "sigmas"})


def _weight(
    class_type: str, inputs: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]
) -> float:
    if is_loader(class_type):
        return 1.5 if any(part in class_type for part in _SMALL_MODELS) else 9.0
    if _samples(class_type, inputs):
        return 2.0 * _steps(inputs, nodes)
    if "Upscale" in class_type or "Upsampl" in class_type or "Interpolat" in class_type:
        return 10.0
    if "TextEncode" in class_type:
        return 3.0
    if "VAE" in class_type and ("Decode" in class_type or "Encode" in class_type):
        return 3.0
    return 1.0 if is_saver(class_type) else 0.2


def _steps(inputs: Mapping[str, Any], nodes: Mapping[str, Mapping[str, Any]]) -> float:
    """The number of steps of a sampler; 20 if unknown."""
    for _ in range(8):  # a chain of sigmas is short, but may be a cycle in a broken graph
        steps = _literal(inputs.get("steps"), nodes)
        if isinstance(steps, int | float) and steps > 0:
            first = _literal(inputs.get("start_at_step"), nodes)
            last = _literal(inputs.get("end_at_step"), nodes)
            first = first if isinstance(first, int) else 0
            last = last if isinstance(last, int) else steps
            return min(max(1.0, min(last, steps) - first), 10_000.0)
        source = nodes.get(_link(inputs.get("sigmas")))
        if source is None:
            break
        inputs = _mapping(source.get("inputs"))
    return 20.0


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
