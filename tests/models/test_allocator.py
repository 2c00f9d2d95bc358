"""Memory that a process keeps after it has freed it."""

import os
import platform
import subprocess
import sys

import pytest

from tests import WAIT_S

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's only")

# Like a decoder: a large block is freed, after which glibc keeps such blocks; then blocks as large
# as Pillow's, each followed by a small one that stays.
_SCRIPT = """
import ctypes, pathlib, sys
from models import allocator

libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]

def filled(size):
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    return block

def resident_mib():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * 4096 >> 20

before = resident_mib()
if "bound" in sys.argv:
    allocator.limit_retained_memory()
libc.free(filled(31 << 20))
if "kept" in sys.argv:
    allocator.retain_memory()
blocks = [(filled(16 * 10**6), filled(100_000)) for _ in range(8)]
for block, _ in blocks:
    libc.free(block)
if "rest" in sys.argv:
    allocator.release_free_memory()
print(resident_mib() - before)
"""


def _kept_mib(*what: str, **environment: str) -> int:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, *what],
        env={**plain, **environment},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    return int(done.stdout)


def test_limit_retained_memory_returns_large_blocks_when_freed() -> None:
    assert _kept_mib() > 100
    assert _kept_mib("bound") < 20


def test_limit_retained_memory_respects_malloc_variables() -> None:
    assert _kept_mib("bound", MALLOC_ARENA_MAX="2") > 100


def test_retain_memory_keeps_freed_blocks_for_the_next_batch() -> None:
    assert _kept_mib("bound", "kept") > 100


def test_release_free_memory_returns_all_free_memory() -> None:
    assert _kept_mib("rest") < 20
