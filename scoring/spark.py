"""Function for Spark, over rows of its `binaryFile` source.

files = spark.read.format("binaryFile").load("s3://archive/")
files.select("path", "content").mapInArrow(score_batches("/models/bundle"), SPARK_SCHEMA)
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa

from scoring.inputs.entry import Entry
from scoring.job import BATCH
from scoring.plan import Options

SPARK_SCHEMA: Final = (
    "key string, label string, decision string, score double, familiar boolean, distance double, "
    "error_code string, error string, model_version string"
)
"""Columns that the function returns, as `mapInArrow` takes them."""

_COLUMNS: Final = tuple(column.split()[0] for column in SPARK_SCHEMA.split(", "))


def score_batches(
    bundle: str, options: Options | None = None
) -> Callable[[Iterator[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    """Return a function for `mapInArrow`, which yields one row per input row.

    Args:
        bundle: Folder of a bundle on every worker; loaded once per partition.
        options: Options of the answers.
    """

    def score(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from scoring.scorer import ModelScorer  # on the worker

        answers = options or Options()
        with ModelScorer(Path(bundle), "", answers, threads=1, trusted_keys="") as scorer:
            schema = pa.schema([scorer.columns.field(name) for name in _COLUMNS])
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH):
                    part = batch.slice(start, BATCH).to_pydict()
                    entries = [Entry(path) for path in part["path"]]
                    rows = scorer.rows(entries, part["content"])
                    kept = [{name: row.get(name) for name in _COLUMNS} for row in rows]
                    yield pa.RecordBatch.from_pylist(kept, schema=schema)

    return score
