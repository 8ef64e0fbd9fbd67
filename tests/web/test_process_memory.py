"""What the app does to its process's memory, each in a process of its own."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys

import pytest

with_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")

START = """
import ctypes, sys, threading
from comfy_ui.web.process_memory import keep_little
if "little" in sys.argv:
    keep_little()
"""
TELL = """
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
told = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(told))
libc.fflush(ctypes.c_void_p(told))
"""
ARENAS = f"""{START}
there = threading.Barrier(12)
def hold():
    held = bytearray(90_000)  # malloc's, below what it maps apart
    there.wait(20)
threads = [threading.Thread(target=hold) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
{TELL}"""
PIECES = f"""{START}
bytearray(2_000_000)  # once freed, glibc maps smaller ones apart no more
held = [bytearray(200_000) for _ in range(20)]
{TELL}"""
RUSH = """
import psutil
from comfy_ui.web.process_memory import give_back
held = [bytearray(90_000) for _ in range(1000)]
last = bytearray(90_000)  # above them, so that glibc cannot give them back of its own accord
del held
before = psutil.Process().memory_info().rss
give_back()
print(before - psutil.Process().memory_info().rss)
"""
RINGS = f"""
import gc
gc.disable()
class Ring:
    def __init__(self):
        self.me, self.held = self, bytearray(90_000)
{RUSH.replace("bytearray(90_000) for", "Ring() for")}"""

APART = """
import gc, time
from comfy_ui.web.process_memory import set_apart
held = [[] for _ in range(1_000_000)]
def search():
    began = time.perf_counter()
    gc.collect()
    return time.perf_counter() - began
search()
before = search()
set_apart()
print(before / search())
"""


def said(code: str, *arguments: str, **environment: str) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=inherited | environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout


@with_glibc
def test_threads_share_two_arenas() -> None:
    assert said(ARENAS, "as they come").count("<heap nr=") > 2
    assert said(ARENAS, "little").count("<heap nr=") <= 2


def mapped(*arguments: str, **environment: str) -> int:
    """How many pieces of memory stand outside of all arenas."""
    found = re.findall(r'type="mmap" count="(\d+)"', said(PIECES, *arguments, **environment))
    return max(map(int, found))


@with_glibc
def test_large_pieces_are_mapped_apart() -> None:
    assert mapped("as they come") < 20
    assert mapped("little") >= 20


@with_glibc
def test_what_somebody_chose_stays() -> None:
    assert said(ARENAS, "little", MALLOC_ARENA_MAX="5").count("<heap nr=") == 5
    assert mapped("little", MALLOC_MMAP_THRESHOLD_="1000000") < 20


@with_glibc
@pytest.mark.parametrize("code", [RUSH, RINGS], ids=["freed", "garbage"])
def test_what_a_rush_needed_is_given_back(code: str) -> None:
    assert int(said(code)) > 80_000_000


def test_searches_for_garbage_pass_over_what_was_there_at_the_start() -> None:
    assert float(said(APART)) > 10
