"""Pictures decoded once for all epochs: in memory, or in a file that is mapped into it."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.cpu import usable_cores
from models.errors import PictureError
from models.imaging.decode import DECODER, decode_image
from training.data.source import Source
from training.errors import OutputError, UnreadableData

# 7,000 pictures of 224 x 224. More of them go to a file, of which the system keeps in memory
# what fits.
IN_MEMORY_BYTES: Final = 1_000_000_000
_CHUNK: Final = 64  # pictures in flight


def read_pixels(
    source: Source,
    names: Sequence[str],
    digests: Sequence[str],
    *,
    size: int,
    folder: Path,
    in_memory_bytes: int = IN_MEMORY_BYTES,
    progress: Callable[[int], object] = lambda done: None,
) -> Tensor:
    """Decode pictures as the service does.

    Args:
        source: Where to read them.
        names: Which.
        digests: sha256 of each file as it was when its features were extracted.
        size: Edge S, in pixels.
        folder: Where the file goes if they are too many for memory. One that a killed run left
            whole is used again.
        in_memory_bytes: Most to hold in memory.
        progress: Called with the number of pictures just done.

    Returns:
        uint8 (n, 3, S, S).

    Raises:
        UnreadableData: A file is gone or is not the one it was.
        OutputError: The file cannot be written.
    """
    shape = (len(names), 3, size, size)
    total = int(np.prod(shape))
    if total <= in_memory_bytes:
        pixels = np.empty(shape, dtype=np.uint8)
        at = 0
        for chunk in _decoded(source, names, digests, size, progress):
            pixels[at : at + len(chunk)] = chunk
            at += len(chunk)
        return torch.from_numpy(pixels)
    identity = repr((DECODER, size, list(digests)))
    path = folder / f"pixels-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.u8"
    try:
        if path.is_file() and path.stat().st_size == total:
            progress(len(names))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".partial")
            with open(partial, "wb") as handle:
                for chunk in _decoded(source, names, digests, size, progress):
                    handle.write(chunk.tobytes())
                handle.flush()
                os.fsync(handle.fileno())
            partial.replace(path)
        # Writable, for PyTorch has no read-only tensors; nobody writes.
        return torch.from_numpy(np.memmap(path, np.uint8, "r+", shape=shape))
    except OSError as error:
        raise OutputError(f"{path} cannot be written ({error.strerror}).") from error


def _decoded(
    source: Source,
    names: Sequence[str],
    digests: Sequence[str],
    size: int,
    progress: Callable[[int], object],
) -> Iterator[NDArray[np.uint8]]:
    """Decode in parallel; yields (c, 3, S, S) arrays in order."""

    def decode(place: int) -> NDArray[np.uint8]:
        name = names[place]
        try:
            data = source.read(name)
            if hashlib.sha256(data).hexdigest() != digests[place]:
                raise UnreadableData(f"{name} has changed since this run began: run it again.")
            return np.asarray(decode_image(data, size=size).numpy(), dtype=np.uint8)
        except (PictureError, OSError) as error:
            raise UnreadableData(
                f"{name} could be read before and cannot now ({error})."
            ) from error

    with ThreadPoolExecutor(usable_cores(), "decoder") as pool:
        for at in range(0, len(names), _CHUNK):
            end = min(at + _CHUNK, len(names))
            yield np.stack(list(pool.map(decode, range(at, end))))
            progress(end - at)
