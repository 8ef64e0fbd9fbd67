"""Build escaped HTML fragments in Python; whole views are templates (see ``templates.py``).

::

    el("p", "a < b", class_="note")      ->  <p class="note">a &lt; b</p>
    el("img", src=url, alt=file_name)    ->  attributes are escaped too

:class:`Html` marks a string as safe. Concatenating one with a plain ``str`` gives a plain
``str``, which is escaped again when it is used: a mistake shows as visible markup and never
becomes an injection.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import cache
from html import escape
from typing import Final

from markupsafe import Markup

from ...client.transfer.files import without_invisible

__all__ = [
    "Html",
    "act",
    "duration",
    "el",
    "icon",
    "icon_button",
    "join",
    "number",
    "page_text",
    "rough_duration",
    "safe_url",
    "size",
]

_VOID: Final = frozenset({"br", "hr", "img", "input", "source", "track", "wbr", "path"})
_URL_ATTRIBUTES: Final = frozenset({"href", "src", "poster", "action"})
_SAFE_URL: Final = re.compile(r"/|#|https?://|data:image/|[a-z]+/", re.IGNORECASE)


class Html(str):
    """A string that is HTML already; Jinja and MarkupSafe do not escape it either."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


def _text(child: object) -> str:
    if child is None or child is False:
        return ""
    if isinstance(child, Html | Markup):
        return child
    if isinstance(child, str):
        return escape(child, quote=False)
    if isinstance(child, Iterable):
        return "".join(_text(part) for part in child)
    return escape(str(child), quote=False)


def _attribute(name: str, value: object) -> str:
    name = name.rstrip("_").replace("_", "-")
    if value is None or value is False:
        return ""
    if value is True:
        return f" {name}"
    text = str(value)
    if name in _URL_ATTRIBUTES and not safe_url(text):
        return ""
    return f' {name}="{escape(text)}"'


def safe_url(url: str) -> str:
    """``url`` if it is http(s), relative, of this site, or an image in a ``data:`` URL; else empty.

    >>> safe_url("files/1"), safe_url("javascript:alert(1)")
    ('files/1', '')
    """
    return url if _SAFE_URL.match(url) else ""


def el(tag: str, *children: object, **attributes: object) -> Html:
    """Build one element; ``class_`` becomes ``class``, ``data_job`` becomes ``data-job``.

    Children are text, numbers, :class:`Html`, iterables of these, or None. Attributes that are
    None or False and URLs that :func:`safe_url` refuses are left out.

    >>> el("a", "<b>", href="javascript:alert(1)", title='"x"')
    '<a title="&quot;x&quot;">&lt;b&gt;</a>'
    """
    opened = f"<{tag}{''.join(_attribute(name, value) for name, value in attributes.items())}>"
    if tag in _VOID:
        return Html(opened)
    return Html(f"{opened}{_text(children)}</{tag}>")


def join(*parts: object) -> Html:
    """Join the parts, escaped as :func:`el` does.

    >>> join("a&b", el("br"))
    'a&amp;b<br>'
    """
    return Html(_text(parts))


def page_text(text: str, *, limit: int = 400) -> str:
    """Strip ``text`` and cut it to ``limit`` characters, the last of which is then '…'.

    Invisible characters are removed: they could make a file name look like another one.
    """
    text = without_invisible(text).strip()
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


# Line icons on a 24 × 24 grid, drawn for this project; the stroke has the color of the text.
_ICONS: Final[dict[str, str]] = {
    "again": "M4 12a8 8 0 1 0 2.6-5.9M4 4v4.5h4.5",
    "alert": "M12 4 2.8 20h18.4zM12 10v4.5M12 17.4v.1",
    "arrow": "M6 9l6 6 6-6",
    "bin": "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
    "brush": "M20 4 11 13M9.5 12.5l2.5 2.5c0 3-2.5 5-8 5 1.5-1 1.5-2 2-4a3.6 3.6 0 0 1 3.5-3.5",
    "check": "M5 12.5 10 17.5 19.5 7",
    "clock": "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M12 7.5V12l3.2 2",
    "close": "M6 6l12 12M18 6 6 18",
    "compare": "M12 3v18M4 6h5v12H4zM15 6h5v12h-5z",
    "copy": "M9 9h10v11H9zM15 9V5H5v11h4",
    "cube": "M12 3 4 7.5v9L12 21l8-4.5v-9zM4 7.5l8 4.5 8-4.5M12 12v9",
    "dice": "M5 5h14v14H5zM9 9v.1M15 9v.1M9 15v.1M15 15v.1M12 12v.1",
    "download": "M12 4v11M7.5 11 12 15.5 16.5 11M5 20h14",
    "dot": "M12 8.5a3.5 3.5 0 1 0 0 7 3.5 3.5 0 0 0 0-7",
    "flow": "M4 5h6v5H4zM14 14h6v5h-6zM7 10v3.5a3 3 0 0 0 3 3h4",
    "extend": "M3 6h9v12H3zM15.5 12h6M18.5 9l3 3-3 3",
    "folder": "M3.5 6h6l2 2.5h9V19h-17z",
    "first": "M5 4h14M12 20V8.5M7 13l5-5 5 5",
    "full": "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
    "globe": "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17M3.5 12h17"
    "M12 3.5c-5 5-5 12 0 17c5-5 5-12 0-17",
    "grid": "M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z",
    "grip": "M9 6v.1M15 6v.1M9 12v.1M15 12v.1M9 18v.1M15 18v.1",
    "grow": "M4 13v7h7M20 11V4h-7M4 20l6.5-6.5M20 4l-6.5 6.5",
    "image": "M4 5h16v14H4zM4 16l4.5-4.5 4 4L15.5 13 20 17M15 8.8v.1",
    "input": "M12 20V9M7.5 13 12 8.5 16.5 13M5 4h14",
    "keyboard": "M3 7h18v11H3zM7 11v.1M11 11v.1M15 11v.1M8 14.5h8",
    "user": "M12 12.5a4 4 0 1 0 0-8 4 4 0 0 0 0 8M5 20c.6-3.6 3.4-5.5 7-5.5s6.4 1.9 7 5.5",
    "leave": "M13 4H5v16h8M10 12h10M16.5 8 20.5 12l-4 4",
    "share": "M12 15V4M8 7.5 12 3.5l4 4M6 12v8h12v-8",
    "moon": "M19.5 14.5A8 8 0 1 1 9.5 4.5a6.5 6.5 0 0 0 10 10",
    "pause": "M8.5 5v14M15.5 5v14",
    "play": "M8 5v14l11-7z",
    "pen": "M5 19l1-4L16 5l3 3L9 18zM14 7l3 3",
    "pick": "M4 4h12v12H4zM7 10l2.5 2.5L20 3M20 9v11H9",
    "plug": "M9 3v5M15 3v5M6 8h12v3a6 6 0 0 1-12 0zM12 17v4",
    "prompt": "M5 6h14M5 11h14M5 16h8",
    "save": "M5 4h11l3 3v13H5zM8 4v5h7V4M8 20v-6h8v6",
    "search": "M10.5 4a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13M15.5 15.5 20 20",
    "scissors": "M8.5 8.5 20 17M8.5 15.5 20 7M6.5 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5"
    "M6.5 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5",
    "sound": "M5 10v4h3l4 3.5v-11L8 10zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
    "spark": "M11 4l1.8 5.2L18 11l-5.2 1.8L11 18l-1.8-5.2L4 11l5.2-1.8zM18.5 16v4M16.5 18h4",
    "tag": "M4 4h7l9 9-7 7-9-9zM8 8h.01",
    "star": "M12 3.8l2.6 5.3 5.8.8-4.2 4.1 1 5.8-5.2-2.7-5.2 2.7 1-5.8L3.6 9.9l5.8-.8z",
    "stop": "M7 7h10v10H7z",
    "sun": "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2"
    "M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4",
    "swap": "M4 9h14M14.5 5.5 18 9l-3.5 3.5M20 15H6M9.5 11.5 6 15l3.5 3.5",
    "vary": "M4 7h3l9 10h4M4 17h3l2.5-2.8M13.5 9.8 16 7h4"
    "M17.5 4.5 20 7l-2.5 2.5M17.5 14.5 20 17l-2.5 2.5",
    "video": "M4 6h11v12H4zM15 10.5 20 7.5v9l-5-3z",
}


@cache
def icon(name: str, class_: str = "icon") -> Html:
    """A line icon. It is hidden from screen readers, so it needs a text or label beside it."""
    return el(
        "svg",
        el("path", d=_ICONS[name]),
        class_=class_,
        viewBox="0 0 24 24",
        aria_hidden="true",
        focusable="false",
    )


def act(image: str, label: str, *, class_: str = "act", **attributes: object) -> Html:
    """A button with an icon and a label."""
    return el("button", icon(image), label, type="button", class_=class_, **attributes)


def icon_button(image: str, label: str, *, title: object = None, **attributes: object) -> Html:
    """A button with an icon only.

    ``label`` is for screen readers, and the tooltip if there is no ``title``.
    """
    return el(
        "button",
        icon(image),
        type="button",
        **{"class_": "tool", **attributes},
        aria_label=label,
        title=title or label,
    )


def duration(seconds: float) -> str:
    """Format a duration, rounded up to whole seconds.

    >>> duration(4.2), duration(95), duration(7260)
    ('5 s', '1 min 35 s', '2 h 1 min')
    """
    total = max(1, int(seconds + 0.999))
    if total < 60:
        return f"{total} s"
    if total < 3600:
        return f"{total // 60} min {total % 60} s"
    return f"{total // 3600} h {total % 3600 // 60} min"


def rough_duration(seconds: float) -> str:
    """Format an estimated duration, with as much precision as an estimate has.

    >>> rough_duration(7.2), rough_duration(43), rough_duration(100), rough_duration(7300)
    ('8 s', '45 s', '2 min', '2 h 0 min')
    """
    if seconds <= 10:
        return f"{max(1, math.ceil(seconds))} s"
    if seconds <= 55:
        return f"{math.ceil(seconds / 5) * 5} s"
    minutes = max(1, round(seconds / 60))
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(round(minutes / 5) * 5, 60)
    return f"{hours} h {minutes} min"


def size(size_bytes: float) -> str:
    """Format a size in decimal units.

    >>> size(8_040_000_000), size(319_800_000), size(2_340_000), size(4_100)
    ('8.0 GB', '320 MB', '2.3 MB', '4 kB')
    """
    if size_bytes >= 1e9:
        return f"{size_bytes / 1e9:.1f} GB"
    if size_bytes >= 1e6:
        return f"{size_bytes / 1e6:.{0 if size_bytes >= 1e7 else 1}f} MB"
    return f"{max(1, round(size_bytes / 1e3))} kB"


def number(value: object) -> str:
    """Format a value without the '.0' of whole floats; None becomes an empty string.

    >>> number(7.0), number(0.25), number("euler"), number(None)
    ('7', '0.25', 'euler', '')
    """
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
