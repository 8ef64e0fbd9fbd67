"""Format seconds, bytes and numbers for the page."""

from __future__ import annotations

__all__ = ["duration", "number", "size"]


def duration(seconds: float) -> str:
    """Format a duration, rounded up to whole seconds.

    >>> duration(4.2), duration(95), duration(7260)
    ('5 s', '1 min 35 s', '2 h 1 min')
    """
    whole = max(1, int(seconds + 0.999))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


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
