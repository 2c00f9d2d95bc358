"""glibc's allocator, set to return freed memory to the kernel; no effect on other C libraries."""

import ctypes
import os
import sys
from typing import Final

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3

# Larger blocks come from the kernel and return to it when they are freed. By default the threshold
# grows up to 32 MiB with the blocks that are freed, and Pillow's blocks of 16 MiB then leave holes
# in the heap. A much smaller one would fetch the outputs of a network's layers anew each time.
_MMAP_THRESHOLD_BYTES: Final = 15 * 2**20
# Free bytes that a heap keeps at its end: the next forward pass needs them again. With half of
# this, batches of 8 took 40 % more processor time.
_TRIM_THRESHOLD_BYTES: Final = 64 * 2**20


def limit_retained_memory() -> None:
    """Set the two thresholds above, unless a MALLOC_* environment variable is set."""
    libc = _glibc()
    chosen = any(value for name, value in os.environ.items() if name.startswith("MALLOC_"))
    if libc is not None and not chosen:
        libc.mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        libc.mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)


def release_free_memory() -> None:
    """Return all free memory to the kernel; later allocations must fetch it again."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
