"""Changed copies of the training pictures, which the head learns from beside the plain ones.

A mirrored, cropped, turned or coarse face is still of its class, and a few hundred pictures
from one source do not say so. Judging never comes here: cross-validation and test sets take
plain pictures only.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.imaging.decode import decode_image
from training.config import EXTRACTION_BATCH
from training.data.cache import Cache
from training.data.parallel import in_lanes
from training.features.augment import Augment, Augmentation, augmenter
from training.features.extract import Extractor, mapped
from training.features.feature_set import Pictures

# Chosen by ablation (`python -m benchmarks.views`, docs/benchmarks.md). Things drawn over the face
# help where something is before it, and cost as much on pictures of another source.
VIEWS: Final = Augmentation(
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


def view_features(
    pictures: Pictures,
    extractor: Extractor,
    cache: Cache,
    count: int,
    *,
    changes: Augmentation = VIEWS,
    progress: Callable[[int], object] = lambda done: None,
) -> NDArray[np.float32]:
    """Extract the features of some views of each picture.

    What a view looks like depends on the picture's bytes and the view's number alone, so that
    neither the order of the files nor a resumed run changes it.

    Args:
        pictures: The data.
        extractor: The backbone.
        cache: Consulted by content.
        count: Views V a picture.
        changes: How pictures are changed.
        progress: Called with the number of pictures just done.

    Returns:
        float32 (n, V, F), in a file mapped into memory.

    Raises:
        OutputError: The cache's folder has no room.
        PictureError, OSError: A picture that could be read a moment ago no longer can.
    """
    features = mapped(cache.folder, (len(pictures.names), count * extractor.width))
    augment = augmenter(changes)
    prefix = f"views:{_fingerprint(changes, count)}:{extractor.key}:"

    def work(places: Sequence[int]) -> list[NDArray[np.float32]]:
        return _chunk(pictures, places, extractor, cache, augment, prefix, count)

    done = 0
    for chunk in in_lanes(range(len(pictures.names)), work):
        for row in chunk:
            features[done] = row
            done += 1
        progress(len(chunk))
    return features.reshape(len(pictures.names), count, extractor.width)


def _chunk(
    pictures: Pictures,
    places: Sequence[int],
    extractor: Extractor,
    cache: Cache,
    augment: Augment,
    prefix: str,
    count: int,
) -> list[NDArray[np.float32]]:
    """Rows (V * F) of one chunk: one padded batch for each number of view."""
    rows: dict[int, NDArray[np.float32]] = {}
    digests = [pictures.extracted.facts[place].sha256 for place in places]
    for at, digest in enumerate(digests):
        known = cache.get(prefix + digest)
        if known is not None and len(known) == count * extractor.width * 4:
            rows[at] = np.frombuffer(known, dtype=np.float32)
    missing = [at for at in range(len(places)) if at not in rows]
    if missing:
        size = extractor.input_px
        plain = [decode_image(pictures.data(places[at]), size=size) for at in missing]
        batches = torch.zeros((count, EXTRACTION_BATCH, 3, size, size), dtype=torch.uint8)
        for slot, (at, pixels) in enumerate(zip(missing, plain, strict=True)):
            for number in range(count):
                batches[number, slot] = view(pixels, digests[at], number, augment)
        vectors = torch.stack([extractor(batch) for batch in batches], dim=1).flatten(1).numpy()
        rows |= {at: vectors[slot] for slot, at in enumerate(missing)}
        cache.put((prefix + digests[at], rows[at].tobytes()) for at in missing)
    return [rows[at] for at in range(len(places))]


def view(pixels: Tensor, digest: str, number: int, augment: Augment) -> Tensor:
    """One view of a picture: uint8 (3, S, S) -> uint8 (3, S, S).

    Args:
        pixels: The plain picture.
        digest: sha256 of its file, in hexadecimal.
        number: Of the view.
        augment: Changes it.
    """
    seed = hashlib.sha256(f"{digest}:{number}".encode()).digest()[:8]
    return augment(pixels, torch.Generator().manual_seed(int.from_bytes(seed, "big") >> 1))


def _fingerprint(changes: Augmentation, count: int) -> str:
    facts: dict[str, Any] = changes.as_dict() | {"views": count}
    return hashlib.sha256(repr(sorted(facts.items())).encode()).hexdigest()[:16]
