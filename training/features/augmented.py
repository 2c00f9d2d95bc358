"""Features of augmented copies of the training pictures, for the head to learn from as well.

A mirrored, cropped, turned or coarse face is still of its class, and a few hundred pictures
from one source do not show that. Evaluation never sees augmented copies: cross-validation and
holdout sets take plain pictures only.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.imaging.decode import decode_image
from training.config import EXTRACTION_BATCH
from training.data.cache import Cache
from training.data.parallel import map_chunks_parallel
from training.data.progress import SILENT, Progress
from training.features.augment import Augment, Augmentation, make_augment
from training.features.extract import Extractor, create_mapped_array, parse_features
from training.features.feature_set import FeatureSet

COPY_AUGMENTATION: Final = Augmentation(
    turn=0.4,
    crop_area=(0.55, 1.0),
    light=0.0,
    colour=0.0,
    grey=0.0,
    relight=0.25,
    coarse=0.4,
    coarsest=7.0,
    blur=0.0,
    erase=0.0,
)
"""Chosen by ablation (`python -m benchmarks.views`, docs/benchmarks.md).

Shapes drawn over the face help if something covers it, and cost as much on pictures of another
source."""


def extract_augmented(
    feature_set: FeatureSet,
    extractor: Extractor,
    cache: Cache,
    num_copies: int,
    *,
    augmentation: Augmentation = COPY_AUGMENTATION,
    progress: Progress = SILENT,
) -> NDArray[np.float32]:
    """Extract the features of augmented copies of each picture.

    A copy depends on the picture's bytes and the copy's number alone, so that neither the order
    of the files nor a resumed run changes it.

    Args:
        feature_set: The n pictures.
        extractor: The backbone.
        cache: Read by content, and filled chunk by chunk.
        num_copies: Copies V per picture.
        augmentation: The random changes.
        progress: Advanced per chunk.

    Returns:
        float32 (n, V, F), in a file mapped into memory.

    Raises:
        OutputError: The cache's folder has no room.
        ChangedData: A picture has another content than before, or none.
    """
    total, size = len(feature_set.names), extractor.input_px
    features = create_mapped_array(cache.folder, (total, num_copies * extractor.width))
    augment = make_augment(augmentation)
    # Rows of the prefix "views:" may be of other pictures, exchanged while a run of 0.1 read them.
    key_prefix = f"copies:{_fingerprint(augmentation, num_copies)}:{extractor.key}:"

    def extract_chunk(indices: Sequence[int]) -> list[NDArray[np.float32]]:
        """Return one row (V * F) per picture, from one padded batch per number of copy."""
        digests = {index: feature_set.stats[index].sha256 for index in indices}
        rows: dict[int, NDArray[np.float32]] = {}
        for index, sha256 in digests.items():
            cached = cache.get(key_prefix + sha256)
            if (row := parse_features(cached, num_copies * extractor.width)) is not None:
                rows[index] = row
        missing = [index for index in indices if index not in rows]
        if missing:
            batches = torch.zeros((num_copies, EXTRACTION_BATCH, 3, size, size), dtype=torch.uint8)
            for slot, index in enumerate(missing):
                plain = decode_image(feature_set.read(index), size=size)
                for number in range(num_copies):
                    batches[number, slot] = augmented_copy(plain, digests[index], number, augment)
            vectors = torch.stack([extractor(batch) for batch in batches], dim=1).flatten(1).numpy()
            rows |= {index: vectors[slot] for slot, index in enumerate(missing)}
            cache.put((key_prefix + digests[index], rows[index].tobytes()) for index in missing)
        return [rows[index] for index in indices]

    done = 0
    for chunk in map_chunks_parallel(range(total), extract_chunk):
        features[done : done + len(chunk)] = chunk
        done += len(chunk)
        progress.advance(len(chunk), total)
    return features.reshape(total, num_copies, extractor.width)


def augmented_copy(pixels: Tensor, sha256: str, number: int, augment: Augment) -> Tensor:
    """Return one augmented copy of a picture: uint8 (3, S, S) -> uint8 (3, S, S).

    Args:
        pixels: The plain picture.
        sha256: Digest of its file, in hexadecimal; with `number`, the seed.
        number: Which copy, from 0.
        augment: Makes the random changes.
    """
    seed = hashlib.sha256(f"{sha256}:{number}".encode()).digest()[:8]
    return augment(pixels, torch.Generator().manual_seed(int.from_bytes(seed, "big") >> 1))


def _fingerprint(augmentation: Augmentation, num_copies: int) -> str:
    # Lists, not tuples: `repr` is part of the keys in existing caches.
    content: dict[str, Any] = json.loads(json.dumps(asdict(augmentation))) | {"views": num_copies}
    return hashlib.sha256(repr(sorted(content.items())).encode()).hexdigest()[:16]
