"""``python -m tests.web.memory_probe FILE``: the app, which writes its memory in use to FILE.

From outside only the resident memory is visible. Python's allocator takes 1 MiB at a time and
returns it only when nothing in it is alive, so resident memory grows in steps with the highest
load so far and says little about an hour. Memory in use shows a leak. Needs glibc and CPython.
"""

from __future__ import annotations

import ctypes
import functools
import re
import runpy
import sys
import threading
import time
from pathlib import Path

__all__ = ["in_use_mib", "read"]

EVERY_S = 2.0


class _Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",  # bytes in blocks with their own mapping
            "usmblks",
            "fsmblks",
            "uordblks",  # bytes in use by all others
            "fordblks",
            "keepcost",
        )
    ]


def in_use_mib() -> float:
    """Return the MiB in use by Python's own allocator (blocks up to 512 bytes) and by malloc.

    Raises AttributeError if one of the two reports nothing.
    """
    malloc = _libc().mallinfo2()
    match = re.search(r"# bytes in allocated blocks += +([\d,]+)", _python_allocator())
    assert match
    return float((malloc.uordblks + malloc.hblkhd + int(match[1].replace(",", ""))) / 2**20)


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)  # cached: each instance leaves much garbage
    libc.mallinfo2.restype = _Mallinfo2
    libc.open_memstream.restype = ctypes.c_void_p
    return libc


def _python_allocator() -> str:
    """Return the output of ``sys._debugmallocstats``."""
    print_stats = ctypes.pythonapi._PyObject_DebugMallocStats
    libc = _libc()
    text, length = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(length)))
    print_stats(stream)
    libc.fclose(stream)
    stats = (text.value or b"").decode()
    libc.free(text)
    return stats


def read(file: Path) -> float:
    """Return the value that the app wrote last."""
    return float(file.read_text())


def _write_in_use(file: Path) -> None:
    new = file.with_suffix(".new")
    while True:
        new.write_text(str(in_use_mib()))
        new.replace(file)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    threading.Thread(target=_write_in_use, args=(Path(sys.argv.pop()),), daemon=True).start()
    runpy.run_path("app.py", run_name="__main__")
