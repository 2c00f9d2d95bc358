"""Decoded pictures of a fine-tuning run, in memory or in a mapped file, and batches of them."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.cpu import usable_cores
from models.imaging.decode import DECODER, decode_image
from training.data.parallel import map_chunks_parallel
from training.data.progress import SILENT, Progress
from training.data.source import Source
from training.errors import OutputError
from training.evaluation.head import Classes

# 7,000 pictures of 224 x 224. More are written to a file, of which the system keeps in memory as
# much as fits.
MAX_BYTES_IN_MEMORY: Final = 1_000_000_000
_BATCHES_AHEAD: Final = 2


@dataclass(frozen=True)
class LabelledPixels:
    """The decoded pictures of a data set, with their classes and groups.

    Attributes:
        pixels: uint8 (n, 3, S, S), as the service decodes pictures.
        classes: int64 (n,).
        groups: int64 (n,) group numbers.
    """

    pixels: Tensor
    classes: Classes
    groups: NDArray[np.int64]

    @property
    def num_classes(self) -> int:
        """Classes K."""
        return int(self.classes.max()) + 1


def read_pixels(
    source: Source,
    names: Sequence[str],
    digests: Sequence[str],
    *,
    size: int,
    folder: Path,
    max_bytes_in_memory: int = MAX_BYTES_IN_MEMORY,
    progress: Progress = SILENT,
) -> Tensor:
    """Decode pictures as the service does.

    Args:
        source: Where to read them.
        names: Their file names.
        digests: sha256 of each file, which name the file of pixels.
        size: Edge S, in pixels.
        folder: Folder of the file, if they need more than `max_bytes_in_memory`. A complete file
            from an earlier run is used again.
        max_bytes_in_memory: Limit for holding them in memory.
        progress: Advanced per chunk.

    Returns:
        uint8 (n, 3, S, S).

    Raises:
        ChangedData: A file is missing or has changed.
        OutputError: The file of pixels cannot be written.
    """
    shape = (len(names), 3, size, size)
    num_bytes = int(np.prod(shape))
    chunks = _decode_chunks(source, names, size, progress)
    if num_bytes <= max_bytes_in_memory:
        pixels = np.empty(shape, dtype=np.uint8)
        done = 0
        for chunk in chunks:
            pixels[done : done + len(chunk)] = chunk
            done += len(chunk)
        return torch.from_numpy(pixels)
    identity = repr((DECODER, size, list(digests)))
    path = folder / f"pixels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.u8"
    try:
        if path.is_file() and path.stat().st_size == num_bytes:
            progress.advance(len(names), len(names))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            with open(partial, "wb") as file:
                for chunk in chunks:
                    file.write(chunk.tobytes())
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        # Opened for writing because PyTorch has no read-only tensors; it is never written.
        return torch.from_numpy(np.memmap(path, np.uint8, "r+", shape=shape))
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}).") from error


def _decode_chunks(
    source: Source, names: Sequence[str], size: int, progress: Progress
) -> Iterator[NDArray[np.uint8]]:
    """Decode in parallel; yield arrays (c, 3, S, S) in order."""

    def decode(chunk: Sequence[str]) -> list[NDArray[np.uint8]]:
        return [decode_image(source.read(name), size=size).numpy() for name in chunk]

    for pictures in map_chunks_parallel(names, decode):
        yield np.stack(pictures)
        progress.advance(len(pictures), len(names))


def iterate_batches(
    order: NDArray[np.int64], batch_size: int, augment: Callable[[int], Tensor]
) -> Iterator[tuple[NDArray[np.int64], Tensor]]:
    """Yield indices (b,) and augmented pictures (b, 3, S, S); prepare the next batch meanwhile.

    Args:
        order: Indices of the pictures of an epoch.
        batch_size: Pictures per batch; the last may be smaller.
        augment: Index -> uint8 (3, S, S); called by several threads.
    """
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    pending: deque[list[Future[Tensor]]] = deque()
    pool = ThreadPoolExecutor(
        usable_cores(), "augment", initializer=lambda: torch.set_num_threads(1)
    )
    try:
        for number, batch in enumerate(batches):
            while len(pending) < _BATCHES_AHEAD and number + len(pending) < len(batches):
                ahead = batches[number + len(pending)]
                pending.append([pool.submit(augment, int(index)) for index in ahead])
            yield batch, torch.stack([future.result() for future in pending.popleft()])
    finally:  # also after an interrupt
        pool.shutdown(wait=True, cancel_futures=True)
