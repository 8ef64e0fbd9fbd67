"""Parts of a prompt that must stay verbatim: syntax, quoted text and names.

Quoted text, weights ``(word:1.2)``, LoRA tags ``<lora:name:0.8>``, wildcards ``__name__`` and
``{a|b}``, arrays ``[[a, b]]``, ``embedding:name``, ``BREAK``, and proper names.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..workflow.prompt_arrays import ARRAY
from ..workflow.wildcards import WILDCARD

__all__ = [
    "PartKind",
    "PromptPart",
    "ProtectedSpanLostError",
    "protected_parts",
    "remove_foreign_syntax",
    "remove_quotes",
    "restore_protected_parts",
]


class PartKind(StrEnum):
    """The kind of a protected part."""

    QUOTE = "quote"
    WEIGHT = "weight"
    TAG = "tag"
    WILDCARD = "wildcard"
    EMBEDDING = "embedding"
    BREAK = "break"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class PromptPart:
    """One protected part, verbatim."""

    kind: PartKind
    text: str


class ProtectedSpanLostError(Exception):
    """Protected parts are missing and cannot be restored. ``parts`` lists them."""

    def __init__(self, parts: Sequence[PromptPart]) -> None:
        super().__init__(", ".join(part.text for part in parts))
        self.parts = tuple(parts)


_QUOTES = r"\"[^\"\n]+\"|“[^”\n]+”|«[^»\n]+»|„[^“”\n]+[“”]|「[^」\n]+」|(?<!\w)'[^'\n]+'(?!\w)"
_TAG = r"<[a-zA-Z_]+:[^<>\n]+>"
_EMBEDDING = r"\bembedding:[\w\-./]+(?::[\d.]+)?"
# Weights and wildcard groups nest; four levels exceed what is written by hand.
_WEIGHT = r"\((?:[^()\n]|\((?:[^()\n]|\((?:[^()\n]|\([^()\n]*\))*\))*\))*:\s*-?[\d.]+\s*\)"
_GROUP = r"\{(?:[^{}]|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\})*\}"
_PARTS = re.compile(
    f"(?P<tag>{_TAG})|(?P<weight>{_WEIGHT})|(?P<wildcard>{_GROUP}|{ARRAY}|{WILDCARD})"
    f"|(?P<embedding>{_EMBEDDING})|(?P<quote>{_QUOTES})|(?P<break>\\bBREAK\\b)"
)
_QUOTED = re.compile(_QUOTES)
_SENTENCE_END = re.compile(r"[.!?:;\n]+")
_WORD = re.compile(r"[^\W_][\w'’-]*")
_OPENERS = frozenset(
    {"A", "An", "The", "In", "On", "At", "By", "Of", "For", "From", "With", "My", "Our", "This"}
)


def protected_parts(prompt: str) -> list[PromptPart]:
    """List the protected parts in order, repeated as often as they occur."""
    parts = [
        PromptPart(PartKind(match.lastgroup or ""), match[0]) for match in _PARTS.finditer(prompt)
    ]
    return parts + [PromptPart(PartKind.NAME, name) for name in _names(_PARTS.sub(" . ", prompt))]


def _names(text: str) -> list[str]:
    """Find capitalized words inside a sentence; its first word only before another one."""
    names: dict[str, None] = {}
    capitals = [word[0].isupper() for word in _WORD.findall(text)]
    if sum(capitals) > 0.7 * len(capitals):
        return []  # Title Case says nothing about names
    for sentence in _SENTENCE_END.split(text):
        run: list[re.Match[str]] = []
        for word in [*_WORD.finditer(sentence), None]:
            joined = (
                bool(run) and word is not None and sentence[run[-1].end() : word.start()] == " "
            )
            if word is not None and word[0][0].isupper() and (joined or not run):
                run.append(word)
                continue
            starts = bool(run) and not sentence[: run[0].start()].strip(" \"'(")
            if starts and (len(run) == 1 or run[0][0] in _OPENERS):
                del run[0]
            if run:
                names[sentence[run[0].start() : run[-1].end()]] = None
            run = [word] if word is not None and word[0][0].isupper() else []
    return [name for name in names if len(name) > 1]


def remove_quotes(prompt: str) -> str:
    """Return ``prompt`` without quoted texts, which say nothing about the image."""
    return _QUOTED.sub(" ", prompt)


def restore_protected_parts(answer: str, prompt: str) -> str:
    """Return ``answer`` with every protected part of ``prompt`` restored.

    A lost weight is put back around its words, changed quotation marks and capitals are reverted,
    and lost tags, embeddings and wildcards are appended.

    Raises:
        ProtectedSpanLostError: a missing part has no right place.
    """
    parts = protected_parts(prompt)
    needed = Counter(parts)
    missing: list[PromptPart] = []
    for part, times in needed.items():
        while (have := _count(answer, part)) < times:
            restored = (
                _restore_part(answer, part) if not have or part.kind is PartKind.WEIGHT else None
            )
            if restored is None and part.kind in _APPENDED:
                restored = f"{answer.rstrip()} {part.text}"
            if restored is None or _count(restored, part) <= have:
                missing.append(part)
                break
            answer = restored
    # Restoring one part may have cut into another.
    missing += [part for part, times in needed.items() if _count(answer, part) < times]
    if missing:
        raise ProtectedSpanLostError(list(dict.fromkeys(missing)))
    return answer


_APPENDED = frozenset({PartKind.TAG, PartKind.EMBEDDING, PartKind.WILDCARD})


def _count(text: str, part: PromptPart) -> int:
    if part.kind in {PartKind.NAME, PartKind.BREAK}:
        return len(re.findall(rf"(?<!\w){re.escape(part.text)}(?!\w)", text))
    return text.count(part.text)


def _restore_part(answer: str, part: PromptPart) -> str | None:
    inner = part.text
    if part.kind is PartKind.WEIGHT:
        inner = part.text[1:].rpartition(":")[0]
        looser = (
            rf"\(\s*{re.escape(inner)}\s*(?::\s*-?[\d.]+\s*)?\)|(?<!\w){re.escape(inner)}(?!\w)"
        )
    elif part.kind is PartKind.QUOTE:
        inner = part.text[1:-1]
        marks = "\"'“”„«»‘’「」*"
        looser = rf"[{marks}]\s*{re.escape(inner)}\s*[{marks}]|(?<!\w){re.escape(inner)}(?!\w)"
    elif part.kind is PartKind.NAME:
        looser = rf"(?<!\w){re.escape(inner)}(?!\w)"
    else:
        return None
    for match in re.finditer(looser, answer, re.IGNORECASE):
        # Skip an exact match: it belongs to another mention of the same words.
        if answer[max(0, match.start() - 1) : match.end() + len(part.text)].find(part.text) < 0:
            return answer[: match.start()] + part.text + answer[match.end() :]
    return None


def remove_foreign_syntax(answer: str, prompt: str) -> str:
    """Remove syntax from ``answer`` that ``prompt`` does not have.

    That is: invented LoRA tags and wildcards, markup, and brackets, which would change weights.

    >>> remove_foreign_syntax("a cat (sitting) <lora:x:1>, {red|blue}", "a {red|blue} cat")
    'a cat sitting , {red|blue}'
    """
    ours = Counter(part.text for part in protected_parts(prompt))
    quotes: list[str] = []

    def keep(match: re.Match[str]) -> str:
        text = match[0]
        if match.lastgroup == PartKind.QUOTE:
            return text if text in ours else _plain(text)
        if ours[text] > 0:
            ours[text] -= 1
            quotes.append(text)
            return f"\0{len(quotes) - 1}\0"
        if match.lastgroup == PartKind.WEIGHT:
            return _plain(text[1:].rpartition(":")[0])
        return ""

    masked = _PARTS.sub(keep, answer.replace("\0", ""))
    masked = _plain(masked)
    return re.sub(r"\0(\d+)\0", lambda match: quotes[int(match[1])], masked).strip()


def _plain(text: str) -> str:
    """Remove markup and the brackets that ComfyUI or A1111 would interpret."""
    text = re.sub(r"<[^<>]{0,200}>", "", text)
    return re.sub(r"(?<!\\)[(){}\[\]]|<|>", "", text)
