"""``analyze_prompt``: what a prompt is about, and which preset suits it."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import ValidationError
from .enhance import Kind
from .vocabulary import said_in, subject_of, vocabulary, words

# Words that ask for something other than a still picture.
_ASKS_FOR: dict[Kind, frozenset[str]] = {
    "video": frozenset({"video", "clip", "animation", "animated", "timelapse", "footage", "gif"}),
    "audio": frozenset({"song", "music", "melody", "soundtrack", "jingle", "beat", "sound"}),
}
_STYLE_WORDS: dict[str, frozenset[str]] = {
    "photo": frozenset({"photo", "photograph", "photography", "polaroid", "35mm", "dslr"}),
    "cinematic": frozenset({"cinematic", "film", "movie", "anamorphic", "noir"}),
    "anime": frozenset({"anime", "manga", "ghibli", "chibi"}),
    "painting": frozenset({"painting", "oil", "watercolor", "watercolour", "gouache", "acrylic"}),
    "minimal": frozenset({"minimal", "minimalist", "flat", "logo", "icon"}),
    "cyberpunk": frozenset({"cyberpunk", "neon", "synthwave"}),
    "fantasy": frozenset({"dragon", "elf", "wizard", "castle", "fantasy", "magic"}),
}
_SUGGESTED: dict[Kind, str] = {
    "image": "z_image_turbo",
    "video": "wan21_t2v_1_3b",
    "audio": "ace_step_15",
}


@dataclass(frozen=True, slots=True)
class PromptAnalysis:
    """What was found. ``reasons`` says in words why.

    ``intent`` is the group of the subject (portrait, landscape, city, …, other); ``said`` are
    the aspects that the prompt describes already (light, colour, framing, …).
    """

    intent: str
    kind: Kind
    styles: tuple[str, ...]
    said: tuple[str, ...]
    suggested_preset: str
    reasons: tuple[str, ...]


def analyze_prompt(prompt: str) -> PromptAnalysis:
    """Find subject, styles and the kind of result that a prompt asks for, by rules.

    Raises:
        ValidationError: the prompt is empty.
    """
    found = words(prompt)
    if not found:
        raise ValidationError("There is no prompt to analyse.", hint="Type a few words first.")
    present = set(found)
    subject = subject_of(found)
    kind: Kind = next((kind for kind, asking in _ASKS_FOR.items() if asking & present), "image")
    asked = present & _ASKS_FOR.get(kind, frozenset())
    styles = tuple(style for style, known in _STYLE_WORDS.items() if known & present)
    reasons = [f"'{word}' asks for {kind}" for word in sorted(asked)]
    told = present & set(vocabulary()["subjects"].get(subject, ()))
    reasons += [f"'{word}' is a word for {subject}" for word in found if word in told]
    reasons += [
        f"'{word}' is a word of the style {style}"
        for style in styles
        for word in sorted(_STYLE_WORDS[style] & present)
    ]
    return PromptAnalysis(
        intent=subject,
        kind=kind,
        styles=styles,
        said=tuple(sorted(said_in(found))),
        suggested_preset=_SUGGESTED[kind],
        reasons=tuple(dict.fromkeys(reasons)),
    )
