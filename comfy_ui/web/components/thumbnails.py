"""Thumbnails of results; a click on one opens the viewer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ...storage.records import LibraryItem
from .html import Html, page_text
from .templates import render

__all__ = ["Thumbnail", "file_url", "gallery", "thumb_url", "thumbnail"]


_NARROWEST: Final = 0.5
_WIDEST: Final = 2.4


class Thumbnail(NamedTuple):
    """The values of the template's ``thumb``: everything that the viewer needs to open a result."""

    id: int
    job_id: str
    kind: str
    url: str
    image_url: str | None
    filename: str
    prompt: str
    label: str
    seed: int | None
    is_preview: bool
    starred: bool
    ratio: float
    """Width by height, within the limits of a row of thumbnails."""


def gallery(items: Sequence[LibraryItem], *, more: bool = False) -> Html:
    """The newest results as thumbnails; empty if there are none.

    ``more``: the Library has further ones.
    """
    if not items:
        return Html("")
    thumbnails = [thumbnail(item) for item in items]
    return render("thumbnails.html", "gallery", thumbnails=thumbnails, more=more)


def thumbnail(item: LibraryItem) -> Thumbnail:
    """The thumbnail of ``item``."""
    return Thumbnail(
        id=item.id,
        job_id=item.job_id,
        kind=item.kind,
        url=file_url(item),
        image_url=thumb_url(item),
        filename=item.filename,
        prompt=page_text(item.prompt, limit=2000),
        label=page_text(item.prompt or item.filename, limit=120),
        seed=item.seed,
        is_preview=item.is_preview,
        starred=item.starred,
        ratio=_ratio(item),
    )


def _ratio(item: LibraryItem) -> float:
    if not item.width or not item.height:
        return 1.0
    return round(min(max(item.width / item.height, _NARROWEST), _WIDEST), 3)


def file_url(item: LibraryItem) -> str:
    """The URL of a result's original bytes."""
    return f"files/{item.id}"


def thumb_url(item: LibraryItem) -> str | None:
    """The URL of a result's thumbnail, if it has one."""
    return f"thumbs/{item.id}" if item.thumbnail else None
