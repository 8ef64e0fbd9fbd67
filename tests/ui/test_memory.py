"""What the app does to glibc, in processes of their own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")

ARENAS = """
import ctypes, sys, threading
from comfy_ui.ui.memory import share_arenas
if "shared" in sys.argv:
    share_arenas()
there = threading.Barrier(12)
def hold():
    held = bytearray(90_000)  # malloc's, below what it maps apart
    there.wait(20)
threads = [threading.Thread(target=hold) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
told = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(told))
libc.fflush(ctypes.c_void_p(told))
"""
RUSH = """
import psutil
from comfy_ui.ui.memory import give_back
held = [bytearray(90_000) for _ in range(1000)]
last = bytearray(90_000)  # above them, so that glibc cannot give them back of its own accord
del held
before = psutil.Process().memory_info().rss
give_back()
print(before - psutil.Process().memory_info().rss)
"""


def said(code: str, *arguments: str, **environment: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=inherited | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


def test_threads_share_two_arenas() -> None:
    assert said(ARENAS, "as they come").count("<heap nr=") > 2
    assert said(ARENAS, "shared").count("<heap nr=") <= 2


def test_a_number_of_arenas_that_somebody_chose_stays() -> None:
    assert said(ARENAS, "shared", MALLOC_ARENA_MAX="5").count("<heap nr=") == 5


def test_what_a_rush_needed_is_given_back() -> None:
    assert int(said(RUSH)) > 80_000_000
