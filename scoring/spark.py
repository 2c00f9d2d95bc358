"""Function for Spark: `files.mapInPandas(score_partitions("model"), SPARK_SCHEMA)`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scoring.inputs import Entry
from scoring.job import BATCH

if TYPE_CHECKING:
    import pandas as pd

SPARK_SCHEMA: Final = (
    "key string, label string, decision string, score double, familiar boolean, distance double, "
    "error_code string, error string, model_version string"
)
_COLUMNS: Final = tuple(column.split()[0] for column in SPARK_SCHEMA.split(", "))


def score_partitions(
    bundle: str,
) -> "Callable[[Iterator[pd.DataFrame]], Iterator[pd.DataFrame]]":
    """Return a function for `mapInPandas` over rows of Spark's `binaryFile` source.

    Args:
        bundle: Folder of a bundle on every worker; loaded once per partition.
    """

    def score(frames: "Iterator[pd.DataFrame]") -> "Iterator[pd.DataFrame]":
        import pandas as pd

        from scoring.scorer import ModelScorer

        scorer = ModelScorer.open(Path(bundle))
        for frame in frames:
            entries = [Entry(str(path)) for path in frame["path"]]
            contents = [bytes(content) for content in frame["content"]]
            rows = [
                row
                for start in range(0, len(entries), BATCH)
                for row in scorer.rows(
                    entries[start : start + BATCH], contents[start : start + BATCH]
                )
            ]
            yield pd.DataFrame(
                [[row.get(name) for name in _COLUMNS] for row in rows], columns=_COLUMNS
            )

    return score
