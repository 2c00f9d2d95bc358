"""glibc's allocator, set to return freed memory to the kernel or to keep it.

No effect on other C libraries.
"""

import ctypes
import os
import sys
from typing import Final

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8

# Larger blocks come from the kernel and return to it when they are freed. By default the threshold
# grows up to 32 MiB with the blocks that are freed, and Pillow's blocks of 16 MiB then leave holes
# in the heap. A much smaller one would fetch the outputs of a network's layers anew each time.
_MMAP_THRESHOLD_BYTES: Final = 15 * 2**20
# Free bytes that a heap keeps at its end: the next forward pass needs them again. With half of
# this, batches of 8 took 40 % more processor time.
_TRIM_THRESHOLD_BYTES: Final = 64 * 2**20

# To keep memory: glibc's maximum; larger blocks still return to the kernel.
_MAX_MMAP_THRESHOLD_BYTES: Final = 32 * 2**20
_NEVER_TRIM_BYTES: Final = 2**31 - 1


def limit_retained_memory() -> None:
    """Set the two thresholds above, unless a MALLOC_* environment variable is set."""
    _set({_M_MMAP_THRESHOLD: _MMAP_THRESHOLD_BYTES, _M_TRIM_THRESHOLD: _TRIM_THRESHOLD_BYTES})


def retain_memory() -> None:
    """Keep freed memory for the next batch, in one heap of all threads, for work without pauses.

    With batches of 8 the kernel cleared some 1,000 pages per picture, 2 of 13 ms in int8; now none.
    No effect if a MALLOC_* environment variable is set.
    """
    _set(
        {
            _M_ARENA_MAX: 1,
            _M_MMAP_THRESHOLD: _MAX_MMAP_THRESHOLD_BYTES,
            _M_TRIM_THRESHOLD: _NEVER_TRIM_BYTES,
        }
    )


def release_free_memory() -> None:
    """Return all free memory to the kernel; later allocations must fetch it again."""
    libc = _glibc()
    if libc is not None:
        libc.malloc_trim(0)


def _set(parameters: dict[int, int]) -> None:
    libc = _glibc()
    chosen = any(value for name, value in os.environ.items() if name.startswith("MALLOC_"))
    if libc is not None and not chosen:
        for parameter, value in parameters.items():
            libc.mallopt(parameter, value)


def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    libc = ctypes.CDLL(None)
    return libc if hasattr(libc, "gnu_get_libc_version") else None
