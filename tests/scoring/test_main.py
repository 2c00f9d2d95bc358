"""`python -m scoring`: rows, resumption, tasks, refusals."""

import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch import Tensor

import models.bundle.load
from models.bundle.device import Outputs
from models.bundle.load import Bundle, open_bundle
from models.bundle.store import current_version
from scoring.__main__ import main
from scoring.output import MANIFEST, Output
from scoring.spark import SPARK_SCHEMA, score_batches
from tests import ROOT
from tests.scoring.conftest import BROKEN, CODES
from tests.service.fixtures import (
    code_picture,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)


def _run(archive: Path, output: Path, store: Path, *options: str) -> int:
    command = [str(archive), str(output), "--model", str(store), "--shard-size", "10", *options]
    return main(command)


def _rows(output: Path) -> list[dict[str, Any]]:
    rows = []
    for path in sorted(output.glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return rows


def _bytes(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.iterdir()}


def _shards(output: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in output.glob("*.parquet")}


def test_every_input_is_one_row(
    archive: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(archive, tmp_path / "out", store) == 0
    rows = _rows(tmp_path / "out")
    keys = sorted([*(f"{code % 3}/{code:04}.png" for code in CODES), BROKEN])
    assert [row["key"] for row in rows] == keys
    (broken,) = (row for row in rows if row["key"] == BROKEN)
    assert broken["error_code"] == "undecodable_image"
    assert broken["decision"] is None
    assert broken["sha256"]
    good = [row for row in rows if row["key"] != BROKEN]
    assert {row["decision"] for row in good} == {"mask", "no_mask", "uncertain", "unfamiliar"}
    assert {(row["width"], row["height"]) for row in good} == {(32, 32)}
    assert all(row["error"] is None for row in good)
    printed = capsys.readouterr().out
    assert f"{len(keys)} inputs" in printed
    assert "error undecodable_image" in printed


def test_rows_are_the_answers_of_the_service(archive: Path, store: Path, tmp_path: Path) -> None:
    assert _run(archive, tmp_path / "out", store) == 0
    rows = _rows(tmp_path / "out")

    async def ask() -> list[httpx.Response]:
        engine = make_engine(open_bundle(store / current_version(store)))
        async with serving(settings_of(store), engine) as (client, _):
            return [
                await client.post(
                    "/predict",
                    content=(archive / row["key"]).read_bytes(),
                    headers={"Content-Type": "image/png"},
                )
                for row in rows
            ]

    for row, response in zip(rows, wait(ask()), strict=True):
        if row["error_code"]:
            assert response.json()["code"] == row["error_code"]
            continue
        (entry,) = response.json()["predictions"]
        for name in ("label", "decision", "familiar"):
            assert row[name] == entry[name], row["key"]
        # In fp32 the last bits depend on the size of the batch, and one of them may turn the sixth
        # decimal.
        for name in ("score", "scores", "distance"):
            assert row[name] == pytest.approx(entry[name], rel=0, abs=1.01e-6), row["key"]


def test_bytes_do_not_depend_on_who_scores_a_shard(
    archive: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each answer depends on all pictures of its batch here, as it does in fp32's last bits."""

    def answer(self: Bundle, pixels: Tensor) -> Outputs:
        outputs = models.bundle.load.answer(self.model, pixels, self.device)
        assert outputs.distance is not None
        return outputs._replace(distance=outputs.distance + pixels.float().mean() * 1e-6)

    assert _run(archive, tmp_path / "plain", store, "--threads", "1") == 0
    # The golden pictures of a bundle are checked before, with a tolerance above the change.
    monkeypatch.setattr(Bundle, "answer", answer)
    assert _run(archive, tmp_path / "one", store, "--threads", "1") == 0
    assert _run(archive, tmp_path / "three", store, "--threads", "3") == 0
    for task in ("1/3", "2/3", "0/3"):
        assert _run(archive, tmp_path / "tasks", store, "--task", task) == 0

    one = _shards(tmp_path / "one")
    assert one == _shards(tmp_path / "three") == _shards(tmp_path / "tasks")
    assert one != _shards(tmp_path / "plain")


def test_finished_run_again_loads_no_model(
    archive: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _run(archive, tmp_path / "out", store) == 0
    before = _bytes(tmp_path / "out")
    monkeypatch.setattr("scoring.run.Run.open_model", None)
    assert _run(archive, tmp_path / "out", store) == 0
    assert _bytes(tmp_path / "out") == before


def test_missing_shards_alone_are_scored_again(
    archive: Path, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    assert _run(archive, output, store) == 0
    before = _bytes(output)
    first = min(output.glob("*.parquet"))
    first.unlink()
    (output / MANIFEST).unlink()
    scored = []
    write_shard = Output.write_shard

    def write(self: Output, name: str, table: pa.Table) -> None:
        scored.append(name)
        write_shard(self, name, table)

    monkeypatch.setattr(Output, "write_shard", write)
    assert _run(archive, output, store) == 0
    assert scored == [first.name]
    assert _bytes(output) == before


def test_tasks_share_the_shards(
    archive: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(archive, tmp_path / "whole", store) == 0
    capsys.readouterr()
    assert _run(archive, tmp_path / "parts", store, "--task", "0/2") == 0
    assert "shards are left to other tasks" in capsys.readouterr().out
    assert not (tmp_path / "parts" / MANIFEST).exists()
    assert _run(archive, tmp_path / "parts", store, "--task", "1/2") == 0
    assert _bytes(tmp_path / "parts").keys() == _bytes(tmp_path / "whole").keys()
    assert _rows(tmp_path / "parts") == _rows(tmp_path / "whole")


def test_another_model_needs_another_folder(archive: Path, store: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    assert _run(archive, output, store) == 0
    before = _bytes(output)
    publish_bundle(tmp_path / "other", ("mask", "no_mask", "neither"))
    assert _run(archive, output, tmp_path / "other") == 4
    assert _bytes(output) == before
    assert _run(archive, output, tmp_path / "other", "--replace") == 0
    assert {row["model_version"] for row in _rows(output)} != {None}
    assert len(_rows(output)) == len(CODES) + 1
    assert not before.keys() & {path.name for path in output.glob("*.parquet")}


def test_threshold_decides(archive: Path, store: Path, tmp_path: Path) -> None:
    assert _run(archive, tmp_path / "out", store, "--threshold", "0") == 0
    assert "uncertain" not in {row["decision"] for row in _rows(tmp_path / "out")}


def test_show_sums_up(
    archive: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _run(archive, tmp_path / "out", store) == 0
    printed = capsys.readouterr().out
    assert main(["show", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out == printed
    assert "0.9000 in cross-validation" in printed
    assert "5.0% of pictures as in training" in printed


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["nowhere", "out"], 3, "does not exist"),
        (["empty", "out"], 3, "holds no pictures"),
        (["show", "empty"], 5, "run the same command again"),
    ],
)
def test_refusal_is_one_sentence(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEMASK_STORE", str(store))
    (tmp_path / "empty").mkdir()
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert sentence in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.parametrize("option", [["--task", "2/2"], ["--threshold", "2"], ["--shard-size", "0"]])
def test_wrong_option_is_refused(option: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["in", "out", *option])


def test_pictures_in_a_tar_and_in_parquet_get_the_same_rows(
    archive: Path, store: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        packed.add(archive, arcname=".")
    files = sorted(path for path in archive.rglob("*") if path.suffix in (".png", ".jpg"))
    table = pa.table({"bytes": [path.read_bytes() for path in files]})
    pq.write_table(table, tmp_path / "x.parquet")
    rows = []
    for source in (archive, tmp_path / "x.tar", tmp_path / "x.parquet"):
        output = tmp_path / f"out-{source.name}"
        assert _run(source, output, store) == 0
        rows.append(sorted((row["sha256"], row["score"]) for row in _rows(output)))
    assert rows[0] == rows[1] == rows[2]


def test_spark_function_answers_each_row(store: Path) -> None:
    batch = pa.RecordBatch.from_pydict(
        {"path": ["a", "b"], "content": [code_picture(5), b"broken"]}
    )
    score = score_batches(str(store / current_version(store)))
    (answer,) = score(iter([batch]))
    assert answer.schema.names == [column.split()[0] for column in SPARK_SCHEMA.split(", ")]
    good, broken = answer.to_pylist()
    assert (good["key"], good["label"]) == ("a", "no_mask")
    assert (broken["key"], broken["error_code"]) == ("b", "unsupported_format")


def test_killed_runs_end_as_an_undisturbed_one(archive: Path, store: Path, tmp_path: Path) -> None:
    assert _run(archive, tmp_path / "whole", store) == 0
    command = [
        *(sys.executable, "-m", "scoring", str(archive), str(tmp_path / "killed")),
        *("--model", str(store), "--shard-size", "10"),
    ]
    chance = random.Random(0)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(4):
        process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + chance.uniform(1.0, 6.0)
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert _bytes(tmp_path / "killed").keys() == _bytes(tmp_path / "whole").keys()
    for name, content in _bytes(tmp_path / "whole").items():
        if name != MANIFEST:  # it names the folder
            assert (tmp_path / "killed" / name).read_bytes() == content
