"""What is kept of the memory that the app no longer needs: by glibc, and by Python's collector.

Measured by ``python -m tests.web.soak``, with fifty people.
"""

from __future__ import annotations

import ctypes
import gc
import os
from contextlib import suppress
from typing import Any, Final

__all__ = ["give_back", "keep_little", "set_apart"]

# Parameters of mallopt(3): the name in the environment, the number, and the value.
_ARENAS: Final = ("MALLOC_ARENA_MAX", -8, 2)
_MAPPED: Final = ("MALLOC_MMAP_THRESHOLD_", -3, 128 * 1024)


def keep_little() -> None:
    """Let glibc keep little of what this process frees. Another libc is left as it is.

    What the environment says stays in force.

    All threads share two arenas, instead of up to eight per core. What is free in one serves no
    thread of another, so each grows to the most that its threads ever held at once: after 18
    minutes the app had 288 MiB, and with two arenas 256 MiB.

    From 128 KiB on, a piece of memory goes back to the system when it is freed: pages, pictures
    and buffers do not tear holes between what stays. Of its own accord glibc raises that limit to
    the largest piece ever freed, up to 32 MiB.
    """
    for name, parameter, value in (_ARENAS, _MAPPED):
        if name not in os.environ:
            _call("mallopt", parameter, value)


def give_back() -> None:
    """Give what is free back to the system: of its own accord glibc keeps what a rush needed.

    And what is garbage: of its own accord Python looks for that when there is a quarter more of
    everything. Closed connections are garbage, which nothing but a search frees: with fifty people
    some 8,000 pieces of memory in 15 seconds, which the next rush came on top of. It takes 30 ms.
    """
    gc.collect()
    _call("malloc_trim", 0)


def set_apart() -> None:
    """Leave what exists by now out of all searches for garbage: modules, the page, its handlers.

    A full search went through these 200,000 objects each time, and everybody waited for it, 0.13 s.
    And as Python makes one only when a quarter of what it has is new, garbage waited long for it.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # only this one tells Python how little it has to look through now


def _call(function: str, *values: Any) -> None:
    with suppress(AttributeError, OSError, TypeError):  # another libc, another system
        getattr(ctypes.CDLL(None), function)(*values)
