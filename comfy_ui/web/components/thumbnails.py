"""Results as small pictures: each opens large in the viewer, wherever it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from ...storage.records import LibraryItem
from .html import Html, el, icon, page_text

__all__ = ["file_url", "gallery", "thumb", "thumb_url"]


def gallery(items: Sequence[LibraryItem]) -> Html:
    """Thumbnails of the newest results. A click opens one large, with everything it offers."""
    if not items:
        return Html("")
    return el(
        "section",
        el("h2", "Results", el("span", str(len(items)), class_="count")),
        el("div", [thumb(item) for item in items], class_="thumbs"),
        class_="gallery",
        aria_label="Results",
    )


def file_url(item: LibraryItem) -> str:
    """Where the page gets the original bytes of a result."""
    return f"/files/{item.id}"


def thumb_url(item: LibraryItem) -> str | None:
    """Where the page gets a small picture of a result, if there is one."""
    return f"/thumbs/{item.id}" if item.thumbnail else None


def thumb(item: LibraryItem, *, tabindex: str | None = None) -> Html:
    """A button with all that the viewer needs, so that opening a result asks nobody."""
    label = page_text(item.prompt or item.filename, limit=120)
    small = thumb_url(item)
    picture = (
        el("img", src=small, alt="", loading="lazy", decoding="async")
        if small
        else icon("sound" if item.kind == "audio" else "save", class_="icon hero")
    )
    badge = el("span", icon("video"), "Video", class_="badge") if item.kind == "video" else None
    return el(
        "button",
        picture,
        badge,
        type="button",
        class_="thumb",
        data_open=str(item.id),
        data_kind=item.kind,
        data_src=file_url(item),
        data_name=item.filename,
        data_prompt_text=page_text(item.prompt, limit=2000),
        data_seed=None if item.seed is None else str(item.seed),
        aria_label=f"Open: {label}",
        title=label,
        translate="no",
        tabindex=tabindex,
    )
