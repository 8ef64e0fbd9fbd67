"""What the values of a graph mean, read off the graph.

From every sampler, the first stage first, links are followed back: conditioning to the texts,
latents to the sizes, sigmas to the steps, models to the files. What no sampler leads to (partner
nodes, upscalers, text models) is known by the names of inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...protocol.object_info import InputSpec
from ..fields.field_types import NUMBER_ROLES, Role
from ..model_files import is_model_file
from .control import ControlTarget
from .graph_walk import GraphWalk
from .literal_inputs import GraphView, LiteralInput
from .name_clues import NEGATIVE, NOT_A_PROMPT, ROLE_OF_NAME, SIZE, role_in

_SIGMAS = ("steps", "scheduler", "denoise")
_SIZES = frozenset({"width", "height", "frames", "batch", "fps", "duration"})


@dataclass(frozen=True, slots=True)
class InputMeaning:
    """What a leaf is for.

    ``main`` is False for values of later stages and side branches. ``consumer`` is the input that
    the value ends in, where that says more of its limits than the leaf itself.
    """

    role: Role
    main: bool = True
    consumer: InputSpec | None = None


def trace(view: GraphView) -> dict[ControlTarget, InputMeaning]:
    """The meaning of every leaf that has one, those of the first sampler first."""
    tracer = _Tracer(view)
    for number, sampler in enumerate(tracer.walk.samplers()):
        tracer.sampler(sampler, main=number == 0)
    tracer.texts_elsewhere()
    for leaf in view.leaves():
        tracer.by_declaration(leaf)
    return tracer.found


class _Tracer:
    def __init__(self, view: GraphView) -> None:
        self.view = view
        self.walk = GraphWalk(view)
        self.found: dict[ControlTarget, InputMeaning] = {}

    def sampler(self, node: str, *, main: bool) -> None:
        """Trace every input of one sampler."""
        guider = self.view.source(node, "guider")
        source = guider.node if guider else node
        self._conditioning(source, main=main)
        self._latent(node, main=main)
        noise = self.view.source(node, "noise")
        self._seed(noise.node if noise else node, main=main)
        for where in dict.fromkeys((node, source)):
            for name, spec in self.view.inputs(where).items():
                if "cfg" in name:
                    self._scalar(where, name, "cfg", main=main)
                elif name in ("sampler_name", *_SIGMAS):
                    self._scalar(where, name, ROLE_OF_NAME[name], main=main)
                elif spec.type == "MODEL":
                    self._model(where, name, main=main)
        self._along(node, "sampler", "SAMPLER", ("sampler_name",), main=main)
        self._along(node, "sigmas", "SIGMAS", _SIGMAS, main=main)

    def texts_elsewhere(self) -> None:
        """Texts for nodes that are no part of sampling: partner nodes, language models."""
        for node in self.view.graph:
            if node in self.view.needed and not self._has("prompt"):
                for name, spec in self.view.inputs(node).items():
                    if spec.type == "STRING" and _is_prompt_name(name, spec):
                        leaves = {
                            leaf.target: leaf for leaf in self.walk.behind(node, name, _is_text)
                        }
                        negative = bool(NEGATIVE.search(name))
                        self._note_texts(leaves.values(), negative=negative, main=True)

    def by_declaration(self, leaf: LiteralInput) -> None:
        """What the leaf's own name and declaration say, where nothing led to it."""
        role = self._declared_role(leaf)
        if role is not None:
            self._note(leaf, role, main=not self._has(role) or leaf.spec.upload is not None)

    def _declared_role(self, leaf: LiteralInput) -> Role | None:
        spec, node = leaf.spec, leaf.target.node
        name = leaf.target.input.rpartition(".")[2]
        role = ROLE_OF_NAME.get(name)
        if spec.upload is not None:
            return _media_role(self.view, node, spec.upload)
        if spec.type == "COMBO":
            if role != "lora" and any(map(is_model_file, (leaf.value, *(spec.choices or ())))):
                return "model"
            return role if role in ("lora", "sampler", "scheduler", "choice") else None
        if spec.type == "STRING":
            return "negative" if NEGATIVE.search(name) and spec.multiline else None
        if role == "seed" and _adds_no_noise(self.view, node):
            return None
        if spec.type in ("INT", "FLOAT") and role in NUMBER_ROLES:
            return role
        return "strength" if name.startswith("strength") and spec.type == "FLOAT" else None

    def _has(self, role: Role) -> bool:
        return any(meaning.role == role and meaning.main for meaning in self.found.values())

    def _note(
        self, leaf: LiteralInput, role: Role, *, main: bool, consumer: InputSpec | None = None
    ) -> None:
        known = self.found.get(leaf.target)
        if known is None:
            self.found[leaf.target] = InputMeaning(role, main, consumer)
        elif {known.role, role} == {"width", "height"}:  # one number for both sides
            self.found[leaf.target] = InputMeaning("int", known.main)

    # ── numbers and choices

    def _scalar(self, node: str, name: str, role: Role, *, main: bool) -> None:
        for leaf in self.walk.behind(node, name, _is_number_or_choice):
            meant = self._meant(leaf, name, role)
            consumer = self.view.inputs(node)[name] if meant == role else None
            self._note(leaf, meant, main=main, consumer=consumer)

    def _meant(self, leaf: LiteralInput, name: str, role: Role) -> Role:
        """What a leaf is that decides on an input of a role: that, or what it is computed from."""
        if leaf.spec.type == "BOOLEAN":
            return "bool"
        if leaf.spec.type == "COMBO":
            return role if role in ("sampler", "scheduler") else "choice"
        if leaf.target.input in ("value", self.view.parameter(leaf.target.node)):
            return role_in(self.view.own_title(leaf.target.node)) or role
        own = ROLE_OF_NAME.get(leaf.target.input)
        return own or (role if leaf.target.input == name else _plain_number(leaf))

    def _seed(self, node: str, *, main: bool) -> None:
        if not _adds_no_noise(self.view, node):
            for name in ("seed", "noise_seed"):
                if name in self.view.inputs(node):
                    self._scalar(node, name, "seed", main=main)

    def _along(self, node: str, name: str, kind: str, wanted: Iterable[str], *, main: bool) -> None:
        """Values of those names on the nodes behind an input, such as its sigmas."""
        for where in self.walk.chain(node, name, kind):
            for found in wanted:
                if found in self.view.inputs(where):
                    self._scalar(where, found, ROLE_OF_NAME[found], main=main)

    def _latent(self, node: str, *, main: bool) -> None:
        """The size of what is made, wherever it is decided."""
        names = self.view.inputs(node)
        name = next((name for name in ("latent_image", "latent", "samples") if name in names), "")
        for where in self.walk.chain(node, name, "LATENT", "IMAGE"):
            for found in self.view.inputs(where):
                role = ROLE_OF_NAME.get(found)
                if role in _SIZES:
                    self._scalar(where, found, role, main=main)
                elif SIZE.search(found):
                    self._scalar(where, found, "float", main=main)

    def _model(self, node: str, name: str, *, main: bool) -> None:
        for where in self.walk.chain(node, name, "MODEL"):
            for found in self.view.inputs(where):
                leaf = self.view.leaf(where, found)
                role = self._declared_role(leaf) if leaf else None
                if leaf is not None and role in ("model", "lora"):
                    self._note(leaf, role, main=main)

    # ── texts

    def _conditioning(self, node: str, *, main: bool) -> None:
        names = [n for n, s in self.view.inputs(node).items() if s.type == "CONDITIONING"]
        # The main side first: a text that both sides use is the prompt.
        names.sort(key=lambda name: (name != "positive", name not in ("cond1", "negative")))
        for name in names:
            sides: dict[bool, dict[ControlTarget, LiteralInput]] = {False: {}, True: {}}
            for where, negative in self.walk.encoders(node, name):
                for found in self.walk.text_inputs(where, negative=negative):
                    for leaf in self.walk.behind(where, found, _is_text):
                        sides[negative].setdefault(leaf.target, leaf)
            for negative, leaves in sides.items():
                self._note_texts(leaves.values(), negative=negative, main=main)

    def _note_texts(self, leaves: Iterable[LiteralInput], *, negative: bool, main: bool) -> None:
        """The likeliest of several texts is the prompt, its like share that, others are texts."""
        new = [leaf for leaf in leaves if leaf.target not in self.found]
        ranked = sorted(new, key=lambda leaf: -_likeness(self.view, leaf))
        for leaf in ranked:
            if leaf.spec.type == "COMBO":
                self._note(leaf, "choice", main=main)
            elif leaf.value == ranked[0].value:
                self._note(leaf, "negative" if negative else "prompt", main=main)
            elif _likeness(self.view, leaf) > 0:
                self._note(leaf, "text", main=main)


def _plain_number(leaf: LiteralInput) -> Role:
    return "int" if leaf.spec.type == "INT" else "float"


def _is_number_or_choice(leaf: LiteralInput) -> bool:
    return leaf.spec.type != "STRING"


def _is_text(leaf: LiteralInput) -> bool:
    name = leaf.target.input.rpartition(".")[2]
    if leaf.spec.type == "COMBO":
        return name == "choice"
    return leaf.spec.type == "STRING" and not NOT_A_PROMPT.search(name)


def _is_prompt_name(name: str, spec: InputSpec) -> bool:
    name = name.rpartition(".")[2]
    if NOT_A_PROMPT.search(name):
        return False
    return name.endswith("prompt") or (
        spec.multiline
        and re.match(r"(text|tags|caption|lyrics|\w*description)\d*$", name) is not None
    )


def _likeness(view: GraphView, leaf: LiteralInput) -> int:
    """How much a text looks like a prompt for an image."""
    title = view.own_title(leaf.target.node)
    score = 2 * leaf.spec.multiline + (leaf.target.input in ("text", "prompt", "value"))
    score += 3 * bool(re.search(r"prompt|positive", title, re.IGNORECASE))
    score -= 6 * bool(NOT_A_PROMPT.search(title) or NEGATIVE.search(title))
    score -= 6 * (leaf.spec.type == "COMBO")
    return score + bool(str(leaf.value).strip())


def _adds_no_noise(view: GraphView, node: str) -> bool:
    """Whether a later stage takes the noise over from an earlier one, and needs no seed."""
    return view.value(node, "add_noise") in ("disable", False)


def _media_role(view: GraphView, node: str, upload: str) -> Role:
    if upload != "image":
        return "video" if upload == "video" else "audio"
    spec = view.spec(node)
    return "mask" if spec is not None and spec.outputs[:1] == ("MASK",) else "image"
