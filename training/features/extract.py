"""Feature extraction: each picture is decoded once and goes through the frozen backbone once.

Batches always hold `EXTRACTION_BATCH` pictures (the last is padded), because the last bits of
a result can depend on the size of its batch, and a run that continues from the cache must give
the same bytes as one that does not.
"""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

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
from training.data.decoding import remembered_failure
from training.data.image_stats import ImageStats, decode_and_measure
from training.data.parallel import map_chunks_parallel
from training.data.progress import SILENT, Progress
from training.data.source import SkippedFile, Source
from training.errors import OutputError

STATS_VERSION: Final = "4"  # change it when a field of ImageStats is measured differently


@dataclass(frozen=True)
class Extracted:
    """Features and statistics of the n readable pictures of a list of names.

    Attributes:
        kept: int64 (n,) indices of the readable pictures among the names.
        features: float32 (n, F): pyramid-pooled feature maps, in a file mapped into memory,
            whose pages the system may write out when memory is short.
        stats: Statistics of each picture.
        unreadable: The other files.
        num_cached: Number of pictures that came from the cache.
    """

    kept: NDArray[np.int64]
    features: NDArray[np.float32]
    stats: list[ImageStats]
    unreadable: list[SkippedFile]
    num_cached: int


class Extractor:
    """Frozen backbone from uint8 pixels to one feature vector per picture.

    Attributes:
        input_px: Edge S of its pictures.
        width: Length F of a vector.
        identity: All that defines a vector, but for its last digits.
        versions: What its last digits depend on: PyTorch, and the instructions that it uses.
        key: Names its vectors in the cache.
    """

    def __init__(self, backbone: LoadedBackbone, *, variant: str = "") -> None:
        """Wrap a backbone's network.

        Args:
            backbone: Frozen; its network may be quantised.
            variant: Distinguishes the network from the backbone's published one, for the cache.
        """
        spec = backbone.spec
        self.input_px = spec.input_px
        self.width = spec.pooled_width
        # channels-last is the layout that CPU convolutions are fastest in.
        self._network = backbone.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(spec.mean_rgb).view(1, 3, 1, 1)
        self._std = torch.tensor(spec.std_rgb).view(1, 3, 1, 1)
        weights = backbone.facts.weights_sha256
        self.identity = (spec.name, weights, spec.input_px, DECODER, BANDS, variant)
        self.versions = (str(torch.__version__), torch.backends.cpu.get_cpu_capability())
        self.key = self.key_with(self.versions)

    def key_with(self, versions: Sequence[str]) -> str:
        """Return the key of the same extractor where other versions are in use."""
        return hashlib.sha256(repr((self.identity, tuple(versions))).encode()).hexdigest()[:16]

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return pyramid-pooled features: uint8 (N, 3, S, S) -> float32 (N, F)."""
        return pyramid_pool(self.feature_map(pixels))

    def feature_map(self, pixels: Tensor) -> Tensor:
        """Run the backbone: uint8 (N, 3, S, S) -> float32 (N, D, h, w)."""
        with torch.inference_mode():
            features: Tensor = self._network(self.scale(pixels))
        return features

    def scale(self, pixels: Tensor) -> Tensor:
        """Normalise pixels for the network: uint8 (N, 3, S, S) -> float32 (N, 3, S, S)."""
        scaled = (pixels.to(torch.float32) - self._mean) / self._std
        return scaled.contiguous(memory_format=torch.channels_last)


class StatsOnly:
    """Stand-in for an `Extractor` if only statistics are wanted: features of width 0."""

    width = 0
    key = "none"

    def __init__(self, input_px: int) -> None:
        """Set the size that statistics are measured at, in pixels."""
        self.input_px = input_px

    def __call__(self, pixels: Tensor) -> Tensor:
        """Return no features: uint8 (N, 3, S, S) -> float32 (N, 0)."""
        return torch.empty((len(pixels), 0))


@dataclass(frozen=True)
class _Picture:
    """One picture's result."""

    stats: ImageStats
    vector: NDArray[np.float32]
    cached: bool = False


def extract(
    source: Source,
    names: Sequence[str],
    extractor: Extractor | StatsOnly,
    cache: Cache,
    *,
    progress: Progress = SILENT,
) -> Extracted:
    """Extract the features of pictures, in parallel and in order.

    Args:
        source: Where to read the pictures.
        names: File names of the pictures.
        extractor: The backbone, or its stand-in.
        cache: Read by content, and filled chunk by chunk: an interrupted run continues.
        progress: Advanced per chunk.

    Raises:
        OutputError: The cache's folder cannot be written to.
        ChangedData: A picture that was read before has another content now.
    """
    features = create_mapped_array(cache.folder, (len(names), extractor.width))
    kept: list[int] = []
    stats: list[ImageStats] = []
    unreadable: list[SkippedFile] = []
    num_cached = 0
    index = 0
    for chunk in map_chunks_parallel(
        names, lambda part: _extract_chunk(source, part, extractor, cache)
    ):
        for item in chunk:
            if isinstance(item, SkippedFile):
                unreadable.append(item)
            else:
                features[len(kept)] = item.vector
                kept.append(index)
                stats.append(item.stats)
                num_cached += item.cached
            index += 1
        progress.advance(len(chunk), len(names))
    return Extracted(
        np.array(kept, dtype=np.int64), features[: len(kept)], stats, unreadable, num_cached
    )


def create_mapped_array(folder: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Create an array of zeros in an unnamed file, which is deleted together with the array.

    Raises:
        OutputError: The folder has no room, or is not writable.
    """
    num_bytes = shape[0] * shape[1] * 4
    if not num_bytes:  # an empty file cannot be mapped
        return np.zeros(shape, dtype=np.float32)
    try:
        folder.mkdir(parents=True, exist_ok=True)  # the cache may be emptied while a run uses it
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a full disk fails here, not by SIGBUS
            return np.memmap(file, np.float32, "r+", shape=shape)
    except OSError as error:
        raise OutputError(
            f"{folder} has no room for features of {num_bytes} bytes ({error.strerror})."
        ) from error


def _extract_chunk(
    source: Source, names: Sequence[str], extractor: Extractor | StatsOnly, cache: Cache
) -> list[_Picture | SkippedFile]:
    """Read one chunk; decode pictures missing in the cache and run them as one padded batch."""
    results: dict[int, _Picture | SkippedFile] = {}
    missing: dict[int, ImageStats] = {}
    batch = torch.zeros(
        (EXTRACTION_BATCH, 3, extractor.input_px, extractor.input_px), dtype=torch.uint8
    )
    for index, name in enumerate(names):
        try:
            data = source.read(name)
            sha256 = hashlib.sha256(data).hexdigest()
            if cached := _read_cached(cache, sha256, extractor):
                results[index] = cached
                continue
            with remembered_failure(cache, sha256):
                batch[index], missing[index] = decode_and_measure(data, size=extractor.input_px)
        except (PictureError, OSError) as error:
            results[index] = SkippedFile(name, str(error))
    if missing:
        vectors = extractor(batch).numpy()
        computed = {index: _Picture(stats, vectors[index]) for index, stats in missing.items()}
        cache.put(
            entry for picture in computed.values() for entry in _cache_entries(picture, extractor)
        )
        results |= computed
    return [results[index] for index in range(len(names))]


def cache_keys(sha256: str, extractor: Extractor | StatsOnly) -> tuple[str, str]:
    """Return the keys of a picture's statistics and of its features."""
    stats_key = f"facts:{STATS_VERSION}:{DECODER}:{extractor.input_px}:{sha256}"
    return stats_key, f"features:{extractor.key}:{sha256}"


def _read_cached(cache: Cache, sha256: str, extractor: Extractor | StatsOnly) -> _Picture | None:
    stats_key, features_key = cache_keys(sha256, extractor)
    stats_json = cache.get(stats_key)
    vector = cache.get(features_key) if extractor.width else b""
    stats = ImageStats.from_json(stats_json) if stats_json else None
    features = parse_features(vector, extractor.width)
    if stats is None or stats.sha256 != sha256 or features is None:
        return None
    return _Picture(stats, features, cached=True)


def parse_features(cached: bytes | None, width: int) -> NDArray[np.float32] | None:
    """Return a vector from the cache; None if it is not what was stored."""
    if cached is None or len(cached) != width * 4:
        return None
    vector = np.frombuffer(cached, dtype=np.float32)
    return vector if np.isfinite(vector).all() else None


def _cache_entries(picture: _Picture, extractor: Extractor | StatsOnly) -> list[tuple[str, bytes]]:
    stats_key, features_key = cache_keys(picture.stats.sha256, extractor)
    vector = [(features_key, picture.vector.tobytes())] if extractor.width else []
    return [(stats_key, picture.stats.to_json()), *vector]
