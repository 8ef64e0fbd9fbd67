"""Prompt styles: text around a prompt, shipped or read from the user's files.

Formats: TOML (as ``styles.toml``), JSON as Fooocus writes it (a list of ``name``, ``prompt`` with
``{prompt}`` in it, ``negative_prompt``) and CSV as A1111 writes it
(``name,prompt,negative_prompt``).
"""

from __future__ import annotations

import csv
import io
import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..errors import Problem, ValidationError, closest
from ..resources import assets_dir

__all__ = [
    "MAX_FILE_BYTES",
    "STYLE_FILES",
    "Merged",
    "Style",
    "Styles",
    "find_style",
    "load_styles",
    "merge_style",
    "read_styles",
    "shipped_styles",
    "style_picture",
]

_PLACE = "{prompt}"
MAX_FILE_BYTES = 5_000_000
STYLE_FILES = (".csv", ".json", ".toml")


@dataclass(frozen=True, slots=True)
class Style:
    """A style. ``{prompt}`` in ``prompt`` marks the user's words; without it they come first."""

    name: str
    prompt: str = ""
    negative: str = ""

    @property
    def around(self) -> tuple[str, str]:
        """Return the text before and after the user's words."""
        before, place, after = self.prompt.partition(_PLACE)
        return (before, after) if place else ("", f", {before}" if before else "")


@dataclass(frozen=True, slots=True)
class Merged:
    """A prompt combined with its style, as it would be sent."""

    prompt: str
    negative: str


@dataclass(frozen=True, slots=True)
class Styles:
    """The styles of a folder, and the files or entries that could not be read."""

    styles: Mapping[str, Style]
    problems: tuple[Problem, ...] = ()


def merge_style(prompt: str, style: Style, *, negative: str = "") -> Merged:
    """Combine ``prompt`` and ``negative`` with the text of ``style``.

    >>> merge_style("a cat", Style("ink", "{prompt}, ink on paper", "photo")).prompt
    'a cat, ink on paper'
    """
    before, after = style.around
    words = prompt.strip()
    if after[:1] in {",", "."}:
        words = words.rstrip(" ,.")
    negatives = [part.strip(" ,") for part in (negative, style.negative)]
    return Merged(f"{before}{words}{after}".strip(), ", ".join(filter(None, negatives)))


def read_styles(content: bytes | str, name: str) -> list[Style]:
    """Read the styles in a file's ``content``; the suffix of ``name`` selects the format.

    Raises:
        ValidationError: it is not a file of styles.
    """
    text = content.decode("utf-8-sig", "replace") if isinstance(content, bytes) else content
    ending = Path(name).suffix.lower()
    try:
        if ending == ".csv":
            entries: Any = list(csv.DictReader(io.StringIO(text.lstrip("\ufeff"))))
        elif ending == ".toml":
            entries = tomllib.loads(text).get("style")
        else:
            entries = json.loads(text)
    except (ValueError, csv.Error, RecursionError) as error:
        raise ValidationError(f"{name} cannot be read: {error}.") from error
    if isinstance(entries, dict):  # {"name": {"prompt": …}} is in use, too
        entries = [
            {"name": key, **value} for key, value in entries.items() if isinstance(value, dict)
        ]
    styles = list(_styles(entries)) if isinstance(entries, list) else []
    if not styles:
        raise ValidationError(
            f"{name} contains no styles.",
            hint="Expected a CSV with the columns name, prompt, negative_prompt, or a JSON list"
            " with these keys.",
        )
    return styles


def _styles(entries: Iterable[Any]) -> Iterable[Style]:
    for entry in entries:
        if not isinstance(entry, dict):
            continue
        name, prompt, negative = (
            value.strip() if isinstance(value, str) else ""
            for value in (
                entry.get("name"),
                entry.get("prompt"),
                entry.get("negative_prompt") or entry.get("negative"),
            )
        )
        if name and (prompt or negative):
            yield Style(name[:120], prompt[:5000], negative[:5000])


@cache
def shipped_styles() -> Mapping[str, Style]:
    """Return the shipped styles by name."""
    text = files(__package__).joinpath("styles.toml").read_text(encoding="utf-8")
    return {style.name: style for style in read_styles(text, "styles.toml")}


def style_picture(name: str) -> Path:
    """Return the path of a shipped style's image; other styles have none."""
    return assets_dir() / "styles" / f"{name.replace(' ', '_')}.webp"


def load_styles(folder: Path | None = None) -> Styles:
    """Load the shipped styles and those in ``folder``, which override shipped names."""
    styles, problems = dict(shipped_styles()), []
    paths = sorted(folder.iterdir()) if folder is not None and folder.is_dir() else []
    for path in paths:
        if path.suffix.lower() not in STYLE_FILES:
            continue
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ValidationError(f"{path.name} is larger than 5 MB.")
            styles |= {style.name: style for style in read_styles(path.read_bytes(), path.name)}
        except OSError as error:
            problems.append(Problem("unreadable_style", f"{path.name} cannot be read: {error}."))
        except ValidationError as error:
            problems.append(Problem("unreadable_style", error.message, error.hint))
    return Styles(styles, tuple(problems))


def find_style(name: str, styles: Mapping[str, Style], also: Iterable[str] = ()) -> Style | str:
    """Find a style of ``known`` by name, or return ``name`` itself if it is in ``also``.

    Raises:
        ValidationError: there is no such style; the hint names the closest one.
    """
    also = list(also)
    if name in also:
        return name
    if name in styles:
        return styles[name]
    raise ValidationError(f"There is no style '{name}'.", hint=closest(name, [*also, *styles]))
