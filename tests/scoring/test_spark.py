"""The documented function in a local Spark: needs `pip install pyspark pandas` and Java."""

import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.bundle.store import current_version
from scoring.__main__ import main
from scoring.spark import SPARK_SCHEMA, score_batches

sql: Any = pytest.importorskip("pyspark.sql", reason="pyspark, 490 MB, is not installed")
pytest.importorskip("pandas", reason="pandas, which Spark's mapInArrow needs, is not installed")
if shutil.which("java") is None:
    pytest.skip("Spark needs a Java runtime", allow_module_level=True)


@pytest.fixture
def spark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    session = (
        sql.SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.local.dir", str(tmp_path))
        .getOrCreate()
    )
    yield session
    session.stop()


@pytest.mark.filterwarnings("ignore")
def test_spark_gives_the_answers_of_a_run(
    archive: Path, store: Path, tmp_path: Path, spark: Any
) -> None:
    bundle = store / current_version(store)
    assert main([str(archive), str(tmp_path / "out"), "--model", str(bundle)]) == 0
    names = [column.split()[0] for column in SPARK_SCHEMA.split(", ")]
    (shard,) = (tmp_path / "out").glob("*.parquet")
    expected = {row["key"]: row for row in pq.read_table(shard, columns=names).to_pylist()}

    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true")
    files = files.option("pathGlobFilter", "*.{png,jpg}").load(str(archive))
    answers = files.select("path", "content").mapInArrow(score_batches(str(bundle)), SPARK_SCHEMA)
    rows = [row.asDict() for row in answers.collect()]

    keys = Counter(row["key"].removeprefix(f"file:{archive}/") for row in rows)
    assert keys == Counter(expected.keys())
    for row in rows:
        wanted = expected[row["key"].removeprefix(f"file:{archive}/")]
        for name in names[1:]:
            if name in ("score", "distance") and not row["error"]:  # the batches are Spark's
                assert row[name] == pytest.approx(wanted[name], rel=0, abs=1.01e-6)
            else:
                assert row[name] == wanted[name], row
