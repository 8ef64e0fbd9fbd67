"""``python -m tests.web.inside FILE``: the app, which writes to FILE what it has in use.

From outside only what the system gave is seen. Python's allocator asks for 1 MiB at a time and
gives one back when nothing at all in it lives, so this grows in steps, with the greatest rush so
far, and says little about an hour. A leak shows in what is in use. Needs glibc and CPython.
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
            "hblkhd",  # bytes in pieces that have their own mapping
            "usmblks",
            "fsmblks",
            "uordblks",  # bytes in use of the others
            "fordblks",
            "keepcost",
        )
    ]


def in_use_mib() -> float:
    """What this process holds of Python's own allocator (pieces up to 512 bytes) and of malloc.

    AttributeError where they do not tell.
    """
    malloc = _libc().mallinfo2()
    told = re.search(r"# bytes in allocated blocks += +([\d,]+)", _python_allocator())
    assert told
    return float((malloc.uordblks + malloc.hblkhd + int(told[1].replace(",", ""))) / 2**20)


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)  # each one is a heap of garbage afterwards
    libc.mallinfo2.restype = _Mallinfo2
    libc.open_memstream.restype = ctypes.c_void_p
    return libc


def _python_allocator() -> str:
    """What ``sys._debugmallocstats`` prints, as a text."""
    tell = ctypes.pythonapi._PyObject_DebugMallocStats
    libc = _libc()
    text, length = ctypes.c_char_p(), ctypes.c_size_t()
    stream = ctypes.c_void_p(libc.open_memstream(ctypes.byref(text), ctypes.byref(length)))
    tell(stream)
    libc.fclose(stream)
    told = (text.value or b"").decode()
    libc.free(text)
    return told


def read(file: Path) -> float:
    """What the app told last."""
    return float(file.read_text())


def _tell(file: Path) -> None:
    new = file.with_suffix(".new")
    while True:
        new.write_text(str(in_use_mib()))
        new.replace(file)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    threading.Thread(target=_tell, args=(Path(sys.argv.pop()),), daemon=True).start()
    runpy.run_path("app.py", run_name="__main__")
