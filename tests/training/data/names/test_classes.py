"""Class folders: splits instead of classes, and names that cannot be labels."""

import os
import unicodedata
import zipfile
from pathlib import Path

import pytest

from training.data.dataset import Listing, scan
from training.data.source import open_source
from training.errors import BadLayout


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode("utf-8", "surrogateescape"))
    return folder


def zipped(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.jpg")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def listed(path: Path) -> Listing:
    return scan(open_source(path))


def error_of(path: Path) -> str:
    with pytest.raises(BadLayout) as caught:
        listed(path)
    return str(caught.value)


@pytest.mark.parametrize("outer", ["", "export/"])
@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Train", "Validation"),
        ("training_set", "test_set"),
        ("TRAINING", "TESTING"),
        ("train2017", "val2017"),
        ("trainset", "testset"),
        ("train", "dev"),
        ("train-images", "eval images"),
    ],
)
def test_splits_are_refused_with_the_command_to_run(
    tmp_path: Path, outer: str, train: str, test: str
) -> None:
    data = tmp_path / "data"
    for split in (train, test):
        make(data, f"{outer}{split}/mask/1.jpg", f"{outer}{split}/no_mask/1.jpg")
    folder = f"{data}/{outer}"
    text = error_of(data)
    assert f"python -m training fit {folder}{train} --test {folder}{test}." in text
    assert f"fit FOLDER/{outer}{train} --test FOLDER/{outer}{test}" in error_of(zipped(data))
    assert listed(data / outer / train).labels == ("mask", "no_mask")


def test_three_splits_are_refused(tmp_path: Path) -> None:
    make(tmp_path, *(f"{split}/{c}/1.jpg" for split in ("train", "valid", "test") for c in "ab"))
    assert f"--test {tmp_path}/valid --test {tmp_path}/test" in error_of(tmp_path)


def test_splits_beside_another_folder_are_refused_if_they_share_classes(tmp_path: Path) -> None:
    make(tmp_path, *(f"{split}/{label}/1.jpg" for split in ("train", "test") for label in "ab"))
    make(tmp_path, "unsorted/1.jpg")
    assert "test, train are splits" in error_of(tmp_path)


@pytest.mark.parametrize("inner", ["images", "images/deep"])
def test_splits_of_object_detection_are_refused(tmp_path: Path, inner: str) -> None:
    for split in ("train", "valid", "test"):
        make(tmp_path, f"{split}/{inner}/1.jpg", f"{split}/labels/1.txt")
    assert "object detection" in error_of(tmp_path)


def test_flat_test_folder_is_not_offered_as_test_set(tmp_path: Path) -> None:
    make(tmp_path, "train/a/1.jpg", "train/b/1.jpg", "test/1.jpg")
    text = error_of(tmp_path)
    assert f"fit {tmp_path}/train." in text


@pytest.mark.parametrize("folders", [("train", "plane"), ("test", "mask"), ("val", "col")])
def test_classes_with_the_name_of_one_split_are_classes(
    tmp_path: Path, folders: tuple[str, str]
) -> None:
    make(tmp_path, *(f"{folder}/1.jpg" for folder in folders))
    assert listed(tmp_path).labels == tuple(sorted(folders))


@pytest.mark.parametrize("name", ["uncertain", "Uncertain", "unfamiliar", " uncertain", "-"])
def test_reserved_names_are_refused(tmp_path: Path, name: str) -> None:
    make(tmp_path, "mask/1.jpg", f"{name}/1.jpg")
    assert f"no class can be called {name.strip()!r}" in error_of(tmp_path)


@pytest.mark.parametrize("twin", ["Mask", "MASK", "mask ", " mask"])
def test_two_spellings_of_a_class_are_refused(tmp_path: Path, twin: str) -> None:
    make(tmp_path, "mask/1.jpg", f"{twin}/1.jpg", "none/1.jpg")
    text = error_of(tmp_path)
    assert "differ in spelling only" in text
    assert repr(twin) in text


@pytest.mark.parametrize("name", [b"m\xe9mo", b"a\x1b[31m", b"a\nb", "\u202eksam".encode()])
def test_class_folder_that_is_no_visible_text_is_refused(tmp_path: Path, name: bytes) -> None:
    make(tmp_path, "mask/1.jpg", f"{os.fsdecode(name)}/1.jpg")
    text = error_of(tmp_path)
    assert "is not UTF-8, or has characters that cannot be seen" in text
    text.encode()
    assert text.isprintable()


def test_labels_are_in_one_spelling(tmp_path: Path) -> None:
    nfd = unicodedata.normalize("NFD", "Bärte")
    make(tmp_path, f"{nfd}/1.jpg", "no mask /1.jpg")
    (tmp_path / "labels.csv").write_text("file,label\nno mask /1.jpg,Bärte\n")
    found = listed(tmp_path)
    assert found.labels == ("Bärte", "no mask")
    assert list(found.corrected.values()) == ["no mask"]
