"""Decoded pictures of a fine-tuning run, in memory or in a mapped file, and batches of them."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.imaging.decode import DECODER, decode_image
from training.data.parallel import map_chunks_parallel
from training.data.progress import SILENT, Progress
from training.data.source import Source
from training.errors import OutputError
from training.evaluation.head import Classes
from training.finetuning import team

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

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name of a file of pixels, not its content: it may be larger than memory."""
        path = self.pixels.untyped_storage().filename
        if path is None:
            return LabelledPixels, (self.pixels, self.classes, self.groups)
        return _from_file, (Path(path), tuple(self.pixels.shape), self.classes, self.groups)


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
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}).") from error
    return _map(path.absolute(), shape)


def _map(path: Path, shape: tuple[int, ...]) -> Tensor:
    return torch.from_file(str(path), size=int(np.prod(shape)), dtype=torch.uint8).view(shape)


def _from_file(
    path: Path, shape: tuple[int, ...], classes: Classes, groups: NDArray[np.int64]
) -> LabelledPixels:
    return LabelledPixels(_map(path, shape), classes, groups)


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
    batches: Sequence[NDArray[np.int64]], augment: Callable[[int], Tensor], empty: Tensor
) -> Iterator[Tensor]:
    """Yield the augmented pictures (b, 3, S, S) of each batch; prepare the next meanwhile.

    Args:
        batches: Indices (b,) of each batch.
        augment: Index -> uint8 (3, S, S); called by several threads.
        empty: uint8 (0, 3, S, S), for a batch without pictures.
    """
    pending: deque[list[Future[Tensor]]] = deque()
    pool = ThreadPoolExecutor(team.cores(), "augment", initializer=lambda: torch.set_num_threads(1))
    try:
        for number in range(len(batches)):
            while len(pending) < _BATCHES_AHEAD and number + len(pending) < len(batches):
                ahead = batches[number + len(pending)]
                pending.append([pool.submit(augment, int(index)) for index in ahead])
            pictures = [future.result() for future in pending.popleft()]
            yield torch.stack(pictures) if pictures else empty
    finally:  # also after an interrupt
        pool.shutdown(wait=True, cancel_futures=True)
