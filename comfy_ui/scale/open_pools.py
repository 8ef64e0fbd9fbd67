"""The pools of database connections that this process has open, for its metrics.

Apart from ``postgres_database``, which needs the extra [scale].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

_open: dict[str, Callable[[], Mapping[str, float]]] = {}


def pool_opened(name: str, stats: Callable[[], Mapping[str, float]]) -> None:
    """Add a pool. ``name`` says what it is for, such as "queue"."""
    _open[name] = stats


def pool_closed(name: str) -> None:
    """Forget a pool."""
    _open.pop(name, None)


def pool_stats() -> dict[str, Mapping[str, float]]:
    """Return psycopg's statistics of each open pool."""
    return {name: stats() for name, stats in _open.items()}
