"""Turn a language model's answer into a prompt, or reject it. Pure text in, text out.

Models chat, refuse, think aloud, wrap answers in fences and quotes, repeat themselves, or answer
in another language. None of that may reach the prompt box.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from ..model_families import Family, count_tokens
from ..protected_spans import ProtectedSpanLostError, remove_foreign_syntax, restore_protected_parts
from ..rules.language_detection import COMMON, EMPTY_WORDS, is_latin, language_of
from ..rules.vocabulary import words

__all__ = [
    "ModelOutput",
    "Rejected",
    "check_answer",
    "check_description",
    "is_cut_off",
    "partial_prompt",
    "read_answer",
    "read_fields",
]


@dataclass(frozen=True, slots=True)
class ModelOutput:
    """The parts of an answer."""

    prompt: str
    negative: str = ""
    lyrics: str = ""


class Rejected(Exception):  # noqa: N818 -- an outcome that is always handled, not an error of the caller
    """The answer is not a prompt. The message explains why in half a sentence: "it refused"."""


_THOUGHT = re.compile(
    r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)"
    r"|<\|channel>thought.*?(?:<channel\|>|\Z)"
    # The template of some models opens the block, so that the answer only closes it.
    r"|\A(?:(?!<think|<reasoning).)*</(?:think|thinking|reasoning)>",
    re.DOTALL | re.IGNORECASE,
)
_OPEN_THOUGHT = re.compile(
    r"<(think|thinking|reasoning)>(?!.*</\1>)|<\|channel>thought(?!.*<channel\|>)",
    re.DOTALL | re.IGNORECASE,
)
_CONTROL = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ud800-\udfff\ufeff]"
)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n?(.*?)(?:```|\Z)", re.DOTALL)
_PROMPT_KEYS: Final = (
    "prompt",
    "enhanced_prompt",
    "enhanced",
    "positive_prompt",
    "positive",
    "text",
)
_NEGATIVE_KEYS: Final = ("negative", "negative_prompt")
_NEGATIVE_LINE = re.compile(r"^\W*negative(?: prompt)?\W*:\W*(.*)$", re.IGNORECASE | re.MULTILINE)
_LABEL = re.compile(
    r"^\W*(?:(?:the |your |my )?"
    r"(?:enhanced|improved|expanded|rewritten|final|detailed|new|richer)? ?(?:image |video )?"
    r"(?:prompt|version|draft|positive(?: prompt)?|output|result))\W*:\s*",
    re.IGNORECASE,
)
_CHATTER = re.compile(
    r"^\W*(?:(?:sure|certainly|of course|absolutely|okay|ok|great|here(?:'s|’s| is| are| you go)"
    r"|i(?:'ve|’ve| have)|i hope|i(?:'ll|’ll| will)|let me|feel free|this prompt|would you like"
    r"|if you(?:'d|’d| would| want)|enjoy|explanation)(?!\w)|(?:note|note that|changes made):)",
    re.IGNORECASE,
)
_LEAD_IN = re.compile(
    r"^\W*(?:sure|certainly|of course|absolutely|okay|ok|great|here(?:'s|’s| is| you go))\b"
    r"[^:\n]{0,120}:\s*",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"^\W*(?:i(?:'m|’m| am) (?:sorry|unable|not able|afraid)|sorry\b"
    r"|i (?:can(?:'t|’t|not)|won(?:'t|’t)|must decline|do not|don(?:'t|’t)) "
    r"|as an ai\b|as a language model|my apologies|i apologi[sz]e|unfortunately,? i\b"
    r"|es tut mir leid|je suis désolé|lo siento)",
    re.IGNORECASE,
)
_BULLET = re.compile(r"^\s*(?:#+|[-*•]|\d+[.)])\s+")
_MAX_CHARACTERS: Final = 6_000
_MAX_FIELD: Final = 300


def read_answer(text: str) -> ModelOutput:
    """Split a complete answer: structured output, JSON in chatter, or plain text."""
    text = _bare(text)
    fields = _json_object(text, _PROMPT_KEYS)
    if fields is not None:
        return ModelOutput(
            prompt=_one_line(_field(fields, _PROMPT_KEYS)),
            negative=_one_line(_field(fields, _NEGATIVE_KEYS)),
            lyrics=_field(fields, ("lyrics",)).strip(),
        )
    negative = _NEGATIVE_LINE.search(text)
    if negative:
        text = text[: negative.start()]
    return ModelOutput(prompt=_plain(text), negative=_one_line(negative[1]) if negative else "")


def read_fields(text: str, keys: Collection[str]) -> dict[str, str]:
    """Read the texts of an answer that should be a JSON object with ``keys``; missing ones are "".

    Raises:
        Rejected: the answer contains no such object.
    """
    text = _bare(text)
    fields = _json_object(text, keys)
    if fields is None:
        raise Rejected("it refused" if _REFUSAL.match(text) else "it was not in the form asked for")
    return {key: _one_line(_field(fields, (key,)))[:_MAX_FIELD] for key in keys}


def is_cut_off(text: str) -> bool:
    """Whether an answer ends in its reasoning or inside its JSON object.

    >>> is_cut_off('{"prompt": "a cat on a wi'), is_cut_off("a cat on a windowsill")
    (True, False)
    """
    if _OPEN_THOUGHT.search(text):
        return True
    text = _CONTROL.sub("", _THOUGHT.sub("", text))
    start = text.find("{")
    if start < 0 or "}" in text[start:] or '"' not in text[start:]:
        return False
    return text[:start].strip(" \n`").lower() in {"", "json"}


def partial_prompt(text: str) -> str:
    """Return what can be shown of an incomplete answer, unchecked."""
    text = _CONTROL.sub("", _THOUGHT.sub("", text)).lstrip()
    text = re.sub(r"^```\w*\s*", "", text)
    if "<think".startswith(text[:6].lower()) or not text:
        return ""
    if text.startswith("{"):
        value = re.search(r'"(?:prompt|enhanced_prompt|enhanced)"\s*:\s*"((?:[^"\\]|\\.)*)', text)
        if value is None:
            return ""
        try:
            return _CONTROL.sub("", json.loads(f'"{value[1]}"', strict=False))
        except ValueError:  # an escape sequence is incomplete
            return ""
    return _LABEL.sub("", _LEAD_IN.sub("", text))


def check_answer(answer: ModelOutput, prompt: str, family: Family) -> ModelOutput:
    """Check ``answer`` and restore the protected parts of ``prompt`` in it.

    Raises:
        Rejected: it is a refusal, in another language, off topic, unfinished, …
    """
    text = answer.prompt
    _check_sense(text, refusing=_REFUSAL.match(prompt) is not None)
    _check_language(text, prompt)
    _check_subject(text, prompt)
    text = _tidied(remove_foreign_syntax(text, prompt))
    text = _shortened(text, prompt, family)
    try:
        text = restore_protected_parts(text, prompt)
    except ProtectedSpanLostError as lost:
        lost_parts = ", ".join(part.text for part in lost.parts[:3])
        raise Rejected(f"it lost {lost_parts}") from lost
    if _same(text, prompt):
        raise Rejected("it changed nothing")
    negative = _tidied(remove_foreign_syntax(answer.negative, ""))[:1000]
    return replace(
        answer,
        prompt=text,
        negative=negative if family.negative and not _REFUSAL.match(negative) else "",
        lyrics=answer.lyrics[:_MAX_CHARACTERS] if family.lyrics else "",
    )


def check_description(answer: ModelOutput, family: Family) -> str:
    """Check the description of an image.

    Raises:
        Rejected: it is not usable as a prompt.
    """
    _check_sense(answer.prompt)
    text = _tidied(remove_foreign_syntax(answer.prompt, ""))
    return _shortened(text, "", family)


def _check_sense(text: str, *, refusing: bool = False) -> None:
    """Reject refusals. ``refusing``: the prompt itself begins like one, so the answer may, too."""
    if not words(text):
        raise Rejected("it was empty")
    if _REFUSAL.match(text) and not refusing:
        raise Rejected("it refused")
    if len(text) > _MAX_CHARACTERS:
        raise Rejected("it was far too long")
    _check_repeats(text)


def _bare(text: str) -> str:
    """Remove reasoning, control characters and the surrounding fence."""
    text = _CONTROL.sub("", _THOUGHT.sub("", text.replace("\r\n", "\n"))).strip()
    fence = _FENCE.search(text)
    return fence[1].strip() if fence and len(fence[1].strip()) > 3 else text


def _json_object(text: str, keys: Collection[str]) -> dict[str, object] | None:
    start = text.find("{")
    if start < 0:
        return None
    try:
        data, _ = json.JSONDecoder(strict=False).raw_decode(text[start:])
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    fields = {str(key).casefold(): value for key, value in data.items()}
    return fields if any(key in fields for key in keys) else None


def _field(fields: dict[str, object], keys: tuple[str, ...]) -> str:
    value = next((fields[key] for key in keys if fields.get(key)), "")
    if isinstance(value, list):
        value = ", ".join(part for part in value if isinstance(part, str))
    return _CONTROL.sub("", value) if isinstance(value, str) else ""


def _plain(text: str) -> str:
    """Extract the prompt from an answer without structure: no chatter, labels or markup."""
    text = _LEAD_IN.sub("", text, count=1)
    blocks = [block.strip() for block in re.split(r"\n\s*\n", text) if block.strip()]
    while len(blocks) > 1 and _CHATTER.match(blocks[-1]):
        del blocks[-1]
    while len(blocks) > 1 and (_CHATTER.match(blocks[0]) or _LABEL.fullmatch(blocks[0] + " ")):
        del blocks[0]
    lines = [_BULLET.sub("", line) for block in blocks for line in block.split("\n")]
    text = _LABEL.sub("", _one_line(" ".join(lines)), count=1)
    text = re.sub(r"(\*\*|__)(?=\S)(.{1,300}?)(?<=\S)\1", _unbold, text).strip("`* ")
    return _unquoted(text)


def _unbold(match: re.Match[str]) -> str:
    # __name__ is a wildcard here; it means bold only with spaces, which file names do not have.
    return match[2] if match[1] == "**" or " " in match[2] else match[0]


def _unquoted(text: str) -> str:
    for opening, closing in ('""', "“”", "''", "«»"):
        inner = text[1:-1]
        if text[:1] == opening and text[-1:] == closing and opening not in inner:
            return inner.strip()
    return text


def _one_line(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _tidied(text: str) -> str:
    text = re.sub(r"\s+([,.;!?])", r"\1", _one_line(text))
    return re.sub(r",(?:\s*,)+", ",", text).strip(" ,;")


def _check_repeats(text: str) -> None:
    text_words = words(text)
    threes = Counter(zip(text_words, text_words[1:], text_words[2:], strict=False))
    if threes and max(threes.values()) > max(3, len(text_words) // 12):
        raise Rejected("it repeated itself")
    if len(text_words) >= 40 and len(set(text_words)) < len(text_words) * 0.3:
        raise Rejected("it repeated itself")


def _check_language(text: str, prompt: str) -> None:
    if is_latin(prompt) and not is_latin(text):
        raise Rejected("it came in another script")
    language, prompt_words = language_of(text), set(words(prompt))
    # A prompt is often too short for language detection; one common word is a hint.
    hints = {name for name, common in COMMON.items() if prompt_words & common}
    if language and hints and language not in hints:
        raise Rejected("it came in another language")


def _check_subject(text: str, prompt: str) -> None:
    """Require at least one of the prompt's significant words in the answer, in some form."""
    if not is_latin(prompt):
        return  # scripts without spaces have no words to compare
    stems = {word[:4] for word in words(prompt) if word not in EMPTY_WORDS and len(word) > 2}
    if stems and not stems & {word[:4] for word in words(text)}:
        raise Rejected("it was about something else")


def _shortened(text: str, prompt: str, family: Family) -> str:
    """Cut at whole tags or sentences to the encoder's length, or to the prompt's if longer."""
    name = family.names[0] if family.names else ""
    limit = max(family.limit, count_tokens(prompt, name).used)
    if family.chunk:  # a prompt that already needs two chunks may fill them
        limit = -(-limit // family.chunk) * family.chunk
    joint = ", " if family.reads == "tags" and ", " in text else " "
    pieces = text.split(", ") if joint == ", " else re.split(r"(?<=[.!?])\s+", text)
    while len(pieces) > 1 and count_tokens(joint.join(pieces), name).used > limit:
        del pieces[-1]
    return joint.join(pieces)


def _same(text: str, prompt: str) -> bool:
    return words(text) == words(prompt)
