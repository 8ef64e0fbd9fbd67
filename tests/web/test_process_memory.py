"""Memory settings of the process, each tested in its own process."""

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
stdout = libc.fopen(b"/dev/stdout", b"w")
libc.malloc_info(0, ctypes.c_void_p(stdout))
libc.fflush(ctypes.c_void_p(stdout))
"""
ARENAS = f"""{START}
there = threading.Barrier(12)
def hold():
    held = bytearray(90_000)  # allocated by malloc, below its mmap threshold
    there.wait(20)
threads = [threading.Thread(target=hold) for _ in range(12)]
for thread in threads: thread.start()
for thread in threads: thread.join()
{TELL}"""
PIECES = f"""{START}
bytearray(2_000_000)  # once freed, glibc raises its mmap threshold
held = [bytearray(200_000) for _ in range(20)]
{TELL}"""
RUSH = """
import psutil
from comfy_ui.web.process_memory import give_back
held = [bytearray(90_000) for _ in range(1000)]
last = bytearray(90_000)  # above them, so that glibc cannot trim the heap by itself
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


def output_of(code: str, *arguments: str, **environment: str) -> str:
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
def test_keep_little_limits_malloc_to_two_arenas() -> None:
    assert output_of(ARENAS, "as they come").count("<heap nr=") > 2
    assert output_of(ARENAS, "little").count("<heap nr=") <= 2


def mapped(*arguments: str, **environment: str) -> int:
    """Count the blocks that malloc mapped outside of its arenas."""
    counts = re.findall(r'type="mmap" count="(\d+)"', output_of(PIECES, *arguments, **environment))
    return max(map(int, counts))


@with_glibc
def test_keep_little_keeps_large_blocks_in_mmap() -> None:
    assert mapped("as they come") < 20
    assert mapped("little") >= 20


@with_glibc
def test_keep_little_respects_malloc_environment_variables() -> None:
    assert output_of(ARENAS, "little", MALLOC_ARENA_MAX="5").count("<heap nr=") == 5
    assert mapped("little", MALLOC_MMAP_THRESHOLD_="1000000") < 20


@with_glibc
@pytest.mark.parametrize("code", [RUSH, RINGS], ids=["freed", "garbage"])
def test_give_back_returns_freed_memory_to_the_system(code: str) -> None:
    assert int(output_of(code)) > 80_000_000


def test_set_apart_excludes_startup_objects_from_garbage_collection() -> None:
    assert float(output_of(APART)) > 10
