"""Extraction in shards, and a fit from them: the same bytes however it is split, the same model."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from models.bundle.files import MODEL
from models.bundle.store import current_version
from tests.images import DrawData
from training.__main__ import main
from training.data.cache import Cache
from training.features.extract import Extractor

BACKBONE = ("--backbone", "resnet50_thin_160")
COUNTS = {"bar": 14, "disc": 14}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, draw_data: DrawData) -> Path:
    folder = draw_data(tmp_path_factory.mktemp("extract") / "data", COUNTS)
    (folder / "bar" / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    return folder


@pytest.fixture(scope="module")
def features(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    assert extract(pictures, folder) == 0
    return folder


def extract(pictures: Path, folder: Path, *options: str) -> int:
    return main(
        [
            "extract",
            str(pictures),
            str(folder),
            *BACKBONE,
            "--shard-size=9",
            "--progress=none",
            *options,
        ]
    )


def fit(pictures: Path, store: Path, *options: str) -> bytes:
    """Fit with a cache of its own, and return the model's file."""
    cache = store.parent / f"{store.name}-cache"
    command = ["fit", str(pictures), "--out", str(store), "--cache", str(cache), *BACKBONE]
    assert main([*command, "--precision=fp32", "--views=1", *options]) == 0
    return (store / current_version(store) / MODEL).read_bytes()


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_each_picture_is_one_row_with_its_label_or_its_error(
    features: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = pq.read_table(features).to_pylist()
    assert len(rows) == 29
    (broken,) = (row for row in rows if row["error"])
    assert (broken["key"], broken["error_code"]) == ("bar/broken.jpg", "undecodable_image")
    assert len(broken["sha256"]) == 64
    assert broken["features"] is None
    for row in rows:
        assert row["label"] == row["key"].split("/")[0]
        assert row is broken or (len(row["features"]), row["width_px"]) == (3072, 64)


def test_tasks_and_threads_write_the_same_bytes(
    pictures: Path, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in (2, 0, 1):
        assert not (tmp_path / "_manifest.json").exists()
        assert extract(pictures, tmp_path, f"--task={index}/3", "--threads=1") == 0
    assert "28 of 29 pictures have 3072 features each" in capsys.readouterr().out
    assert bytes_of(tmp_path) == bytes_of(features)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning"
)
def test_ray_writes_the_same_bytes(pictures: Path, features: Path, tmp_path: Path) -> None:
    import ray

    try:
        assert extract(pictures, tmp_path, "--ray") == 0
    finally:
        ray.shutdown()
    assert bytes_of(tmp_path) == bytes_of(features)


def test_complete_output_is_not_extracted_again(
    pictures: Path, features: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in features.glob("*.parquet")}
    monkeypatch.setattr(Extractor, "__call__", None)
    assert extract(pictures, features) == 0
    assert {path: path.stat().st_mtime_ns for path in features.glob("*.parquet")} == before


def test_fit_from_features_publishes_the_bytes_of_a_fit_on_the_folder_alone(
    pictures: Path,
    features: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = fit(pictures, tmp_path / "alone")
    assert "28 pictures (14 bar, 14 disc), 0 of them from the cache." in capsys.readouterr().out
    given = fit(pictures, tmp_path / "given", "--features", str(features))
    log = "".join(capsys.readouterr())
    assert "28 pictures have features in" in log
    assert "28 pictures (14 bar, 14 disc), 28 of them from the cache." in log
    assert "broken.jpg" in log
    assert given == wanted


def test_features_of_another_version_are_used_and_named(
    features: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = bytes_of(features)
    manifest = json.loads(wanted["_manifest.json"])
    manifest["extractor"]["versions"] = ["9.9", "AVX9"]
    folder = tmp_path / "features"
    folder.mkdir()
    for name, content in (wanted | {"_manifest.json": json.dumps(manifest).encode()}).items():
        (folder / name).write_bytes(content)
    fit(pictures, tmp_path / "store", "--features", str(folder))
    log = "".join(capsys.readouterr())
    assert "extracted by PyTorch 9.9 with AVX9" in log
    assert "28 of them from the cache." in log


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ({"backbone": "resnet50_thin"}, "has features of resnet50_thin_160"),
        ({"options": ["--precision", "int8"]}, "leave out --precision int8"),
        ({"options": ["--crop", "faces"]}, "--crop faces"),
        ({"remove": "_manifest.json"}, "run `python -m training extract` again"),
        ({"remove": "0000001-*"}, "run `python -m training extract` again"),
        ({"manifest": {"shards": [], "inputs": 0}}, "the shards of another run"),
    ],
)
def test_features_that_do_not_fit_end_the_run(
    features: Path,
    pictures: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: dict[str, Any],
    sentence: str,
) -> None:
    folder = tmp_path / "features"
    folder.mkdir()
    for name, content in bytes_of(features).items():
        (folder / name).write_bytes(content)
    for path in folder.glob(fault.get("remove", "none")):
        path.unlink()
    if "manifest" in fault:
        (folder / "_manifest.json").write_text(json.dumps(fault["manifest"]))
    command = ["fit", str(pictures), "--out", str(tmp_path / "store"), "--features", str(folder)]
    command += ["--cache", str(tmp_path / "cache"), *fault.get("options", [])]
    assert main([*command, "--backbone", fault.get("backbone", "resnet50_thin_160")]) == 4
    assert sentence in capsys.readouterr().err
    with Cache(tmp_path / "cache") as cache:
        assert cache.get("none") is None
