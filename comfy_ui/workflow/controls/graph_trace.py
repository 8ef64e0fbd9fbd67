"""Infer the roles of a graph's values from its links.

The trace follows links back from every sampler, the first stage first: conditioning to the texts,
latents to the sizes, sigmas to the steps, models to the files. Values that no sampler depends on
(partner nodes, upscalers, text models) get their role from the names of inputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ...protocol.object_info import InputSpec
from ..fields.field_types import FIELD_TYPES, NUMBER_ROLES, Role
from ..model_files import is_model_file
from .control import ControlTarget
from .graph_walk import GraphWalk
from .literal_inputs import GraphView, LiteralInput
from .name_clues import NEGATIVE, NOT_A_PROMPT, ROLE_OF_NAME, SIZE, role_in

_SIGMAS = ("steps", "scheduler", "denoise")
_SIZES = frozenset({"width", "height", "frames", "batch", "fps", "duration"})


@dataclass(frozen=True, slots=True)
class InputMeaning:
    """The role of a literal input.

    ``main`` is False for values of later stages and side branches. ``consumer`` is the input that
    finally uses the value, where its limits are narrower than the literal's own.
    """

    role: Role
    main: bool = True
    consumer: InputSpec | None = None


def trace(view: GraphView, walk: GraphWalk) -> dict[ControlTarget, InputMeaning]:
    """Return the meaning of every literal that has one, those of the first sampler first."""
    tracer = _Tracer(view, walk)
    for number, sampler in enumerate(tracer.walk.samplers()):
        tracer.sampler(sampler, main=number == 0)
    tracer.texts_elsewhere()
    for literal in view.literal_inputs():
        tracer.by_declaration(literal)
    return tracer.meanings


class _Tracer:
    def __init__(self, view: GraphView, walk: GraphWalk) -> None:
        self.view = view
        self.walk = walk
        self.meanings: dict[ControlTarget, InputMeaning] = {}

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
        self._behind_named(node, "sampler", "SAMPLER", ("sampler_name",), main=main)
        self._behind_named(node, "sigmas", "SIGMAS", _SIGMAS, main=main)

    def texts_elsewhere(self) -> None:
        """Trace the texts of nodes outside sampling: partner nodes, language models."""
        for node in self.view.graph:
            if node in self.view.needed and not self._has("prompt"):
                for name, spec in self.view.inputs(node).items():
                    if spec.type == "STRING" and _is_prompt_name(name, spec):
                        literals = {
                            literal.target: literal
                            for literal in self.walk.behind(node, name, _is_text)
                        }
                        negative = bool(NEGATIVE.search(name))
                        self._note_texts(literals.values(), negative=negative, main=True)

    def by_declaration(self, literal: LiteralInput) -> None:
        """Use the literal's own name and declaration, where the trace did not reach it."""
        role = self._declared_role(literal)
        if role is not None:
            self._note(literal, role, main=not self._has(role) or literal.spec.upload is not None)

    def _declared_role(self, literal: LiteralInput) -> Role | None:
        spec, node = literal.spec, literal.target.node
        name = literal.target.input.rpartition(".")[2]
        role = ROLE_OF_NAME.get(name)
        if spec.upload is not None:
            return _media_role(self.view, node, spec.upload)
        if spec.type == "COMBO":
            if role != "lora" and any(map(is_model_file, (literal.value, *(spec.choices or ())))):
                return "model"
            return role if role in ("lora", "sampler", "scheduler", "choice") else None
        if spec.type == "STRING":
            return "negative" if NEGATIVE.search(name) and spec.multiline else None
        if role == "seed" and _adds_no_noise(self.view, node):
            return None
        if self.view.class_of(node) == "ImagePadForOutpaint" and f"outpaint_{name}" in FIELD_TYPES:
            return f"outpaint_{name}"
        if spec.type in ("INT", "FLOAT") and role in NUMBER_ROLES:
            return role
        return "strength" if name.startswith("strength") and spec.type == "FLOAT" else None

    def _has(self, role: Role) -> bool:
        return any(meaning.role == role and meaning.main for meaning in self.meanings.values())

    def _note(
        self, literal: LiteralInput, role: Role, *, main: bool, consumer: InputSpec | None = None
    ) -> None:
        earlier = self.meanings.get(literal.target)
        if earlier is None:
            self.meanings[literal.target] = InputMeaning(role, main, consumer)
        elif {earlier.role, role} == {"width", "height"}:  # one number for both sides
            self.meanings[literal.target] = InputMeaning("int", earlier.main)

    # ── numbers and choices

    def _scalar(self, node: str, name: str, role: Role, *, main: bool) -> None:
        for literal in self.walk.behind(node, name, _is_number_or_choice):
            literal_role = self._literal_role(literal, name, role)
            consumer = self.view.inputs(node)[name] if literal_role == role else None
            self._note(literal, literal_role, main=main, consumer=consumer)

    def _literal_role(self, literal: LiteralInput, name: str, role: Role) -> Role:
        """Return the role of a literal behind an input of ``role``: that, or one for an operand."""
        if literal.spec.type == "BOOLEAN":
            return "bool"
        if literal.spec.type == "COMBO":
            return role if role in ("sampler", "scheduler") else "choice"
        if literal.target.input in ("value", self.view.parameter(literal.target.node)):
            return role_in(self.view.own_title(literal.target.node)) or role
        own = ROLE_OF_NAME.get(literal.target.input)
        return own or (role if literal.target.input == name else _plain_number(literal))

    def _seed(self, node: str, *, main: bool) -> None:
        if not _adds_no_noise(self.view, node):
            for name in ("seed", "noise_seed"):
                if name in self.view.inputs(node):
                    self._scalar(node, name, "seed", main=main)

    def _behind_named(
        self, node: str, name: str, kind: str, input_names: Iterable[str], *, main: bool
    ) -> None:
        """Trace the inputs ``input_names`` of the nodes behind an input, such as its sigmas."""
        for where in self.walk.chain(node, name, kind):
            for input_name in input_names:
                if input_name in self.view.inputs(where):
                    self._scalar(where, input_name, ROLE_OF_NAME[input_name], main=main)

    def _latent(self, node: str, *, main: bool) -> None:
        """Trace the size of the result back to the nodes that set it."""
        names = self.view.inputs(node)
        name = next((name for name in ("latent_image", "latent", "samples") if name in names), "")
        for where in self.walk.chain(node, name, "LATENT", "IMAGE"):
            for input_name in self.view.inputs(where):
                role = ROLE_OF_NAME.get(input_name)
                if role in _SIZES:
                    self._scalar(where, input_name, role, main=main)
                elif SIZE.search(input_name):
                    self._scalar(where, input_name, "float", main=main)

    def _model(self, node: str, name: str, *, main: bool) -> None:
        for where in self.walk.chain(node, name, "MODEL"):
            for input_name in self.view.inputs(where):
                literal = self.view.literal_input(where, input_name)
                role = self._declared_role(literal) if literal else None
                if literal is not None and role in ("model", "lora"):
                    self._note(literal, role, main=main)

    # ── texts

    def _conditioning(self, node: str, *, main: bool) -> None:
        names = [n for n, s in self.view.inputs(node).items() if s.type == "CONDITIONING"]
        # The positive side first: a text that both sides use is the prompt.
        names.sort(key=lambda name: (name != "positive", name not in ("cond1", "negative")))
        for name in names:
            sides: dict[bool, dict[ControlTarget, LiteralInput]] = {False: {}, True: {}}
            for where, negative in self.walk.encoders(node, name):
                for input_name in self.walk.text_inputs(where, negative=negative):
                    for literal in self.walk.behind(where, input_name, _is_text):
                        sides[negative].setdefault(literal.target, literal)
            for negative, literals in sides.items():
                self._note_texts(literals.values(), negative=negative, main=main)

    def _note_texts(self, literals: Iterable[LiteralInput], *, negative: bool, main: bool) -> None:
        """Note the likeliest text, and any equal ones, as the prompt; others are plain texts."""
        unnoted = [literal for literal in literals if literal.target not in self.meanings]
        ranked = sorted(unnoted, key=lambda literal: -_likeness(self.view, literal))
        for literal in ranked:
            if literal.spec.type == "COMBO":
                self._note(literal, "choice", main=main)
            elif literal.value == ranked[0].value:
                self._note(literal, "negative" if negative else "prompt", main=main)
            elif _likeness(self.view, literal) > 0:
                self._note(literal, "text", main=main)


def _plain_number(literal: LiteralInput) -> Role:
    return "int" if literal.spec.type == "INT" else "float"


def _is_number_or_choice(literal: LiteralInput) -> bool:
    return literal.spec.type != "STRING"


def _is_text(literal: LiteralInput) -> bool:
    name = literal.target.input.rpartition(".")[2]
    if literal.spec.type == "COMBO":
        return name == "choice"
    return literal.spec.type == "STRING" and not NOT_A_PROMPT.search(name)


def _is_prompt_name(name: str, spec: InputSpec) -> bool:
    name = name.rpartition(".")[2]
    if NOT_A_PROMPT.search(name):
        return False
    return name.endswith("prompt") or (
        spec.multiline
        and re.match(r"(text|tags|caption|lyrics|\w*description)\d*$", name) is not None
    )


def _likeness(view: GraphView, literal: LiteralInput) -> int:
    """Score how much a text looks like an image prompt."""
    title = view.own_title(literal.target.node)
    score = 2 * literal.spec.multiline + (literal.target.input in ("text", "prompt", "value"))
    score += 3 * bool(re.search(r"prompt|positive", title, re.IGNORECASE))
    score -= 6 * bool(NOT_A_PROMPT.search(title) or NEGATIVE.search(title))
    score -= 6 * (literal.spec.type == "COMBO")
    return score + bool(str(literal.value).strip())


def _adds_no_noise(view: GraphView, node: str) -> bool:
    """Whether a later stage reuses the noise of an earlier one and so needs no seed."""
    return view.value(node, "add_noise") in ("disable", False)


def _media_role(view: GraphView, node: str, upload: str) -> Role:
    if upload != "image":
        return "video" if upload == "video" else "audio"
    spec = view.spec(node)
    return "mask" if spec is not None and spec.outputs[:1] == ("MASK",) else "image"
