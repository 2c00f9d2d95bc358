"""The fixed extractor: each picture is decoded once and goes through the backbone once.

Batches always hold `EXTRACTION_BATCH` pictures (the last is padded), because the last bits of
a result can depend on the size of its batch, and a run that continues from the cache must give
the same bytes as one that does not.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.errors import PictureError
from models.imaging.decode import DECODER
from training.backbones.pooling import BANDS, pyramid_pool
from training.backbones.registry import LoadedBackbone
from training.config import EXTRACTION_BATCH
from training.data.cache import Cache
from training.data.dataset import Left
from training.data.image_stats import PictureFacts, measure
from training.data.parallel import in_lanes
from training.data.source import Source
from training.errors import OutputError

_FACTS_VERSION = "4"  # of PictureFacts: change it when a fact is measured otherwise


@dataclass(frozen=True)
class Extracted:
    """What is known of the pictures that could be read.

    Attributes:
        kept: Places, in the names given, of the pictures that could be read (n of them).
        features: float32 (n, F): the feature map's means in bands, in a file mapped into memory,
            whose pages the system may write out where memory is short.
        facts: One a picture.
        unreadable: The files that could not be read, and why.
        cached: How many pictures came from the cache.
    """

    kept: NDArray[np.int64]
    features: NDArray[np.float32]
    facts: list[PictureFacts]
    unreadable: list[Left]
    cached: int


class Extractor:
    """A frozen backbone from uint8 pixels to one feature vector a picture."""

    def __init__(self, backbone: LoadedBackbone, *, variant: str = "") -> None:
        """Put a backbone's network to use.

        Args:
            backbone: Frozen; its network may be quantised.
            variant: What tells the network from the backbone's published one, for the cache.
        """
        spec = backbone.spec
        self.input_px = spec.input_px
        self.width = spec.pooled_width
        # channels-last is the layout that CPU convolutions are fastest in.
        self._network = backbone.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(spec.mean_rgb).view(1, 3, 1, 1)
        self._std = torch.tensor(spec.std_rgb).view(1, 3, 1, 1)
        identity = (
            spec.name,
            backbone.facts.weights_sha256,
            spec.input_px,
            DECODER,
            BANDS,
            variant,
        )
        versions = (torch.__version__, torch.backends.cpu.get_cpu_capability())
        self.key = hashlib.sha256(repr((identity, versions)).encode()).hexdigest()[:16]

    def feature_map(self, pixels: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) -> float32 (N, D, h, w)."""
        with torch.inference_mode():
            features: Tensor = self._network(self.scale(pixels))
        return features

    def scale(self, pixels: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) -> float32 (N, 3, S, S), as the network takes it."""
        scaled = (pixels.to(torch.float32) - self._mean) / self._std
        return scaled.contiguous(memory_format=torch.channels_last)

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) -> float32 (N, F): the feature map's means in bands."""
        return pyramid_pool(self.feature_map(pixels))


class FactsOnly:
    """In place of an extractor where only the facts are wanted: features of width 0."""

    width = 0
    key = "none"

    def __init__(self, input_px: int) -> None:
        self.input_px = input_px

    def __call__(self, pixels: Tensor) -> Tensor:
        """uint8 (N, 3, S, S) -> float32 (N, 0)."""
        return torch.empty((len(pixels), 0))


@dataclass(frozen=True)
class _Item:
    facts: PictureFacts | None
    vector: NDArray[np.float32] | None
    why: str = ""
    cached: bool = False


def extract(
    source: Source,
    names: Sequence[str],
    extractor: Extractor | FactsOnly,
    cache: Cache,
    *,
    progress: Callable[[int], object] = lambda done: None,
) -> Extracted:
    """Turn pictures into features, in parallel and in order.

    Args:
        source: Where to read the pictures.
        names: Which pictures.
        extractor: The backbone, or what stands for it where only facts are wanted.
        cache: Consulted by content, and filled chunk by chunk: an interrupted run goes on.
        progress: Called with the number of pictures just done.

    Raises:
        OutputError: The cache's folder cannot be written to.
    """
    features = mapped(cache.folder, (len(names), extractor.width))
    kept: list[int] = []
    facts: list[PictureFacts] = []
    unreadable: list[Left] = []
    cached = 0
    done = 0
    for chunk in in_lanes(names, lambda part: _extract_chunk(source, part, extractor, cache)):
        for item in chunk:
            if item.facts is None or item.vector is None:
                unreadable.append(Left(names[done], item.why))
            else:
                features[len(kept)] = item.vector
                kept.append(done)
                facts.append(item.facts)
                cached += item.cached
            done += 1
        progress(len(chunk))
    return Extracted(
        np.array(kept, dtype=np.int64), features[: len(kept)], facts, unreadable, cached
    )


def mapped(folder: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """An array of zeros in a file without a name, which goes when the array does."""
    size = shape[0] * shape[1] * 4
    if not size:  # nothing cannot be mapped
        return np.zeros(shape, dtype=np.float32)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)  # a full disk shows here, not as SIGBUS
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        raise OutputError(
            f"{folder} has no room for features of {size} bytes ({error.strerror})."
        ) from error


def _extract_chunk(
    source: Source, names: Sequence[str], extractor: Extractor | FactsOnly, cache: Cache
) -> list[_Item]:
    """Read one chunk; what the cache does not hold is decoded and run as one padded batch."""
    items: list[_Item] = []
    missing: list[int] = []
    batch = torch.zeros(
        (EXTRACTION_BATCH, 3, extractor.input_px, extractor.input_px), dtype=torch.uint8
    )
    for name in names:
        try:
            data = source.read(name)
            item = _cached(cache, data, extractor)
            if item is None:
                pixels, facts = measure(data, size=extractor.input_px)
                batch[len(items)] = pixels
                missing.append(len(items))
                item = _Item(facts, None)
        except (PictureError, OSError) as error:
            item = _Item(None, None, why=str(error))
        items.append(item)
    if missing:
        vectors = extractor(batch).numpy()
        for place in missing:
            items[place] = _Item(items[place].facts, vectors[place])
        cache.put(entry for place in missing for entry in _entries(items[place], extractor))
    return items


def _keys(sha256: str, extractor: Extractor | FactsOnly) -> tuple[str, str]:
    facts_key = f"facts:{_FACTS_VERSION}:{DECODER}:{extractor.input_px}:{sha256}"
    return facts_key, f"features:{extractor.key}:{sha256}"


def _cached(cache: Cache, data: bytes, extractor: Extractor | FactsOnly) -> _Item | None:
    facts_key, features_key = _keys(hashlib.sha256(data).hexdigest(), extractor)
    facts = cache.get(facts_key)
    vector = cache.get(features_key) if extractor.width else b""
    if facts is None or vector is None or len(vector) != extractor.width * 4:
        return None
    return _Item(
        PictureFacts(**json.loads(facts)), np.frombuffer(vector, dtype=np.float32), cached=True
    )


def _entries(item: _Item, extractor: Extractor | FactsOnly) -> list[tuple[str, bytes]]:
    assert item.facts is not None
    assert item.vector is not None
    facts_key, features_key = _keys(item.facts.sha256, extractor)
    facts = json.dumps(item.facts.as_dict()).encode()
    vector = [(features_key, item.vector.tobytes())] if extractor.width else []
    return [(facts_key, facts), *vector]
