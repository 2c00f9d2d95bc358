"""glibc's allocator, told to give memory back to the kernel; other libraries' are left alone."""

import ctypes
import os
import sys
from typing import Final

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

# Blocks from this size on come from the kernel and go back to it as they are freed. Left alone,
# the size grows to 32 MiB with what is freed, and Pillow's blocks, of 16 MiB, stay in pieces. Much
# smaller, and the outputs of a network's layers would be new to the kernel each time.
_LARGE_BYTES: Final = 15 * 2**20
# A heap keeps so much at its end: what a forward pass frees it soon takes again. With half of it,
# batches of 8 took 40 % more processor time.
_KEPT_BYTES: Final = 64 * 2**20


def limit_retained_memory() -> None:
    """Set these sizes, unless the environment says something of the allocator."""
    libc = _glibc()
    if libc is not None and not any(name.startswith("MALLOC_") for name in os.environ):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def release_free_memory() -> None:
    """Return what is free to the kernel; whoever needs memory next has to ask for it anew."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
