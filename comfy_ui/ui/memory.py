"""What glibc keeps of the memory that the app has freed. With another libc all this does nothing.

Measured by ``python -m tests.ui.soak``, with fifty people.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from typing import Any, Final

__all__ = ["give_back", "share_arenas"]

_ARENA_MAX: Final = -8  # M_ARENA_MAX of mallopt(3)


def share_arenas() -> None:
    """Let all threads of this process have two arenas, instead of up to eight per core.

    What is free in one serves no thread of another, so each grows to the most that its threads ever
    held at once: after 18 minutes the app had 288 MiB, and with two arenas 256 MiB.
    ``MALLOC_ARENA_MAX`` in the environment stays in force.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        _call("mallopt", _ARENA_MAX, 2)


def give_back() -> None:
    """Give what is free back to the system: of its own accord glibc keeps what a rush needed."""
    _call("malloc_trim", 0)


def _call(function: str, *values: Any) -> None:
    with suppress(AttributeError, OSError, TypeError):  # another libc, another system
        getattr(ctypes.CDLL(None), function)(*values)
