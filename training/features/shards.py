"""Features in Parquet shards: extracted on many machines, read into the cache of one.

The shards are those of `python -m scoring`, with features in the place of answers. A row is named
by the content of its picture, as in the cache, so that pictures may be moved or relabelled.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final

import numpy as np
import pyarrow as pa
import torch

from models.errors import PictureError
from models.text import clean
from scoring.errors import ScoringError
from scoring.inputs.entry import Entry, Unreadable
from scoring.output import Output
from training.config import EXTRACTION_BATCH
from training.data.cache import Cache
from training.data.image_stats import ImageStats, decode_and_measure
from training.data.progress import SILENT, Progress
from training.errors import BadFeatures
from training.features.extract import STATS_VERSION, Extractor, cache_keys

_ROWS_VERSION: Final = 1  # change it when the columns or their meaning change
_STATS: Final = [field.name for field in fields(ImageStats)]
_TYPES: Final = {str: pa.string(), int: pa.int64(), float: pa.float64()}


def columns_of(extractor: Extractor) -> pa.Schema:
    """Return the columns of a shard: key, label, statistics, features, error."""
    stats = [(field.name, _TYPES[field.type]) for field in fields(ImageStats)]  # type: ignore[index]
    return pa.schema(
        [
            ("key", pa.string()),
            ("label", pa.string()),
            *stats,
            ("features", pa.list_(pa.float32(), extractor.width)),
            ("error_code", pa.string()),
            ("error", pa.string()),
        ]
    )


def digest_of(extractor: Extractor) -> str:
    """Return the checksum that stands for the extractor in the names of shards."""
    content = f"features:{_ROWS_VERSION}:{STATS_VERSION}:{extractor.key}"
    return hashlib.sha256(content.encode()).hexdigest()


def extractor_facts(extractor: Extractor) -> dict[str, Any]:
    """Return the extractor's entry in the manifest of the output."""
    return {
        "identity": list(extractor.identity),
        "versions": list(extractor.versions),
        "stats": STATS_VERSION,
    }


class FeatureRows:
    """Worker of a run over shards: bytes of pictures in, rows out.

    Attributes:
        columns: Columns of the rows.
    """

    def __init__(self, extractor: Extractor) -> None:
        """Take the extractor, which several threads may use at once."""
        self.columns = columns_of(extractor)
        self._extractor = extractor

    def rows(
        self, entries: Sequence[Entry], contents: Sequence[bytes | Unreadable]
    ) -> list[dict[str, Any]]:
        """Return one row per entry, in order."""
        torch.set_num_threads(1)  # of this thread: one thread per core is faster than one picture
        pairs = list(zip(entries, contents, strict=True))
        starts = range(0, len(pairs), EXTRACTION_BATCH)
        return [
            row for start in starts for row in self._batch(pairs[start : start + EXTRACTION_BATCH])
        ]

    def _batch(self, pairs: Sequence[tuple[Entry, bytes | Unreadable]]) -> list[dict[str, Any]]:
        """Return the rows of one batch, which is padded as in `training.features.extract`."""
        size = self._extractor.input_px
        batch = torch.zeros((EXTRACTION_BATCH, 3, size, size), dtype=torch.uint8)
        rows: list[dict[str, Any]] = []
        for index, (entry, content) in enumerate(pairs):
            key = clean(entry.key)
            row: dict[str, Any] = {"key": key, "label": key.split("/")[0] if "/" in key else None}
            if isinstance(content, Unreadable):
                error = clean(f"It cannot be read ({content}).")
                row |= {"error_code": "unreadable_input", "error": error}
            else:
                row["sha256"] = hashlib.sha256(content).hexdigest()
                try:
                    batch[index], stats = decode_and_measure(content, size=size)
                    row |= asdict(stats)
                except PictureError as error:
                    row |= {"error_code": error.code, "error": clean(str(error))}
            rows.append(row)
        vectors = self._extractor(batch).numpy()
        for index, row in enumerate(rows):
            if "error" not in row:
                row["features"] = vectors[index]
        return rows


def load_features(
    address: str, extractor: Extractor, cache: Cache, *, progress: Progress = SILENT
) -> None:
    """Copy the features and statistics of all shards to the cache.

    If the shards come from another version of PyTorch or kind of CPU, the extractor takes their
    key: theirs and its own are told apart in the cache, because their last digits differ.

    Args:
        address: Folder of the shards, a path or URL.
        extractor: The backbone of the run.
        cache: Takes the rows; shards that it has taken before are not read again.
        progress: Logs the number of pictures, and other versions; advanced per shard.

    Raises:
        BadFeatures: They are of another backbone, not complete, or cannot be read.
        OutputError: The disk of the cache is full.
    """
    output = Output(address)
    try:
        manifest = output.manifest()
        facts, shards = manifest["extractor"], manifest["shards"]
        _check(address, facts, extractor, progress)
        done = 0
        for name in shards:
            rows = _load_shard(output, name, extractor, cache)
            done += rows
            progress.advance(rows, manifest["inputs"])
    except KeyError as error:
        raise BadFeatures(f"{address} holds no features, but the shards of another run.") from error
    except ScoringError as error:
        raise BadFeatures(
            f"{address} is not complete, or cannot be read: run `python -m training extract` "
            f"again. ({error})"
        ) from error
    progress.log(f"{done:,} pictures have features in {clean(address)}.")


def _check(address: str, facts: dict[str, Any], extractor: Extractor, progress: Progress) -> None:
    """Raise unless the features are of this extractor; take over their versions."""
    if facts["identity"] != list(extractor.identity) or facts["stats"] != STATS_VERSION:
        raise BadFeatures(
            clean(
                f"{address} has features of {facts['identity'][0]} (weights "
                f"{facts['identity'][1][:8]}), and this run is on {extractor.identity[0]} (weights "
                f"{extractor.identity[1][:8]}), or they are of another version of this program."
            )
        )
    if facts["versions"] != list(extractor.versions):
        there, here = (" with ".join(each) for each in (facts["versions"], extractor.versions))
        progress.warning(
            f"The features were extracted by PyTorch {clean(there)}, and this is {here}: the last "
            "digits of both differ."
        )
        extractor.key = extractor.key_with(facts["versions"])


def _load_shard(output: Output, name: str, extractor: Extractor, cache: Cache) -> int:
    """Copy one shard to the cache, and return the number of its rows with features."""
    mark = f"shard:{extractor.key}:{name}"
    if (known := cache.get(mark)) is not None:
        return int(json.loads(known))
    table = output.read_shard(name, [*_STATS, "features"])
    table = table.filter(table["features"].is_valid()).combine_chunks()
    vectors = np.zeros((0, extractor.width), np.float32)
    if len(table):
        flat = table["features"].chunk(0).flatten().to_numpy()
        vectors = np.ascontiguousarray(flat.reshape(len(table), extractor.width))
    entries: list[tuple[str, bytes]] = []
    for row, vector in zip(table.select(_STATS).to_pylist(), vectors, strict=True):
        stats = ImageStats(**row)
        stats_key, features_key = cache_keys(stats.sha256, extractor)
        entries += [(stats_key, stats.to_json()), (features_key, vector.tobytes())]
    cache.put([*entries, (mark, json.dumps(len(table)).encode())])
    return len(table)
