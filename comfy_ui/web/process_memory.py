"""Keep little unused memory: settings of glibc and of Python's garbage collector.

Measured by ``python -m tests.web.soak``, with fifty users.
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
    """Make glibc keep little of the freed memory. Another libc is left unchanged.

    Environment variables take precedence.

    All threads share two arenas instead of up to eight per core. Free memory in one arena serves
    no thread of another, so each grows to the most that its threads ever held at once: after 18
    minutes the app had 288 MiB, and with two arenas 256 MiB.

    Blocks of 128 KiB and more go back to the system when they are freed: pages, pictures and
    buffers do not fragment the heap. By default glibc raises that limit to the largest block ever
    freed, up to 32 MiB.
    """
    for name, parameter, value in (_ARENAS, _MAPPED):
        if name not in os.environ:
            _call("mallopt", parameter, value)


def give_back() -> None:
    """Collect garbage and return free memory to the system; glibc keeps the peak by default.

    By default Python collects when a quarter of all objects is new. Closed connections are cycles,
    which only a collection frees: with fifty users some 8,000 blocks in 15 seconds, on top of which
    the next peak came. It takes 30 ms.
    """
    gc.collect()
    _call("malloc_trim", 0)


def set_apart() -> None:
    """Exclude existing objects (modules, the page, its handlers) from garbage collection.

    A full collection visited these 200,000 objects each time and blocked all requests for 0.13 s.
    And because Python starts one only when a quarter of all objects is new, garbage waited long.
    """
    gc.collect()
    gc.freeze()
    gc.collect()  # only this call updates Python's count of objects to visit


def _call(function: str, *values: Any) -> None:
    with suppress(AttributeError, OSError, TypeError):  # another libc, another system
        getattr(ctypes.CDLL(None), function)(*values)
