"""Cutting of the sorted inputs into shards, each with the name of its result.

A shard's file is named by a hash of its inputs, of the model and of the options: a file of that
name is the shard's complete result, wherever and whenever it was made. So running a shard
again, or at the same time on another machine, changes nothing, and runs need no coordinator.
"""

import hashlib
import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Final

from models.text import clean
from scoring.errors import BadInput
from scoring.inputs.entry import Entry, Input

ROWS_VERSION: Final = 1
"""Change it when the columns of a shard or their meaning change."""

_HASH_CHARS: Final = 20


@dataclass(frozen=True)
class Options:
    """Options of the answers; part of every shard's name.

    Attributes:
        faces: Find the faces of each picture and answer each of them, too.
        framing: `auto`, or `whole` to answer the whole picture always.
        threshold: Score below which the decision is `uncertain`; None for the model's.
        shard_size: Max inputs per shard.
    """

    faces: bool = False
    framing: str = "auto"
    threshold: float | None = None
    shard_size: int = 1000


@dataclass(frozen=True)
class Shard:
    """Consecutive inputs, scored and written together.

    Attributes:
        index: Its index among the shards.
        name: Name of its Parquet file.
        inputs: Number of its entries.
        lines: The entries, one line each, compressed: a plan may hold millions of them.
    """

    index: int
    name: str
    inputs: int
    lines: bytes

    def entries(self) -> list[Entry]:
        """Return the entries of this shard."""
        return [Entry.parse(line) for line in zlib.decompress(self.lines).decode().splitlines()]


def cut(source: Input, options: Options, model_sha256: str) -> Iterator[Shard]:
    """Yield the shards of an input, in the order of their keys.

    Args:
        source: The pictures to score.
        options: Options of the answers.
        model_sha256: Checksum of the bundle's manifest, which lists the checksums of its files.

    Raises:
        BadInput: The input cannot be listed, is empty, or names one key twice.
    """
    chosen = json.dumps({**asdict(options), "model": model_sha256, "rows": ROWS_VERSION})
    lines: list[str] = []
    last: str | None = None
    index = 0
    for entry in source.entries():
        if entry.key == last:
            raise BadInput(clean(f"The input names {entry.key} twice."))
        last = entry.key
        lines.append(entry.line())
        if len(lines) == options.shard_size:
            yield _shard(index, lines, chosen)
            index, lines = index + 1, []
    if lines:
        yield _shard(index, lines, chosen)
    elif not index:
        skipped = f" ({source.skipped} other files)" if source.skipped else ""
        raise BadInput(f"The input holds no pictures{skipped}.")


def _shard(index: int, lines: list[str], chosen: str) -> Shard:
    text = "\n".join(lines).encode()
    digest = hashlib.sha256(chosen.encode() + b"\n" + text).hexdigest()[:_HASH_CHARS]
    return Shard(index, f"{index:07}-{digest}.parquet", len(lines), zlib.compress(text, 1))
