"""Listing holdout sets: which pictures count, and their classes and slices."""

import zipfile
from pathlib import Path

import pytest

from tests.images import encode, photograph
from training.data.holdout import HoldoutSet, find_holdout_set
from training.errors import NoSuchData, TooFewPictures

LABELS = ["cat", "dog", "eel"]


def make(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(photograph(24, 20, seed)))
    return folder


def rows(found: HoldoutSet) -> list[tuple[str, str, str]]:
    """(name, label, slice) of every picture."""
    return [
        (name, LABELS[k], part)
        for name, k, part in zip(
            found.names,
            found.classes,
            found.slices.get("folder", [""] * len(found.names)),
            strict=True,
        )
    ]


def test_find_holdout_set_lists_class_folders_and_ignores_others(tmp_path: Path) -> None:
    make(tmp_path, "eel/2.png", "cat/2.png", "cat/10.png", "mouse/1.png", "loose.png", "Dog/1.png")
    (tmp_path / "cat" / "notes.txt").write_text("")
    make(tmp_path, "cat/.hidden.png", "__MACOSX/cat/1.png", ".git/cat/1.png")
    found = find_holdout_set(tmp_path, LABELS)
    assert rows(found) == [
        ("cat/10.png", "cat", ""),
        ("cat/2.png", "cat", ""),
        ("eel/2.png", "eel", ""),
    ]
    unknown = "in no folder with the name of a class"
    assert {file.name: file.reason for file in found.skipped} == {
        ".git/": "hidden or made by the system",
        "__MACOSX/": "hidden or made by the system",
        "cat/.hidden.png": "hidden or made by the system",
        "Dog/1.png": f"{unknown} (is dog meant?)",
        "cat/notes.txt": "not a picture by its name (.txt)",
        "loose.png": unknown,
        "mouse/1.png": unknown,
    }


def test_find_holdout_set_takes_subfolders_as_slices(tmp_path: Path) -> None:
    make(tmp_path, "cat/1.png", "cat/night/1.png", "cat/night/deep/1.png", "dog/fog/1.png")
    assert rows(find_holdout_set(tmp_path, LABELS)) == [
        ("cat/1.png", "cat", ""),
        ("cat/night/1.png", "cat", "night"),
        ("cat/night/deep/1.png", "cat", "night"),
        ("dog/fog/1.png", "dog", "fog"),
    ]


def test_find_holdout_set_takes_the_outermost_class_folder(tmp_path: Path) -> None:
    make(tmp_path, "2024/cat/1.png", "2024/dog/fog/1.png", "2025/cat/dog/1.png")
    assert rows(find_holdout_set(tmp_path, LABELS)) == [
        ("2024/cat/1.png", "cat", ""),
        ("2024/dog/fog/1.png", "dog", "fog"),
        ("2025/cat/dog/1.png", "cat", "dog"),
    ]


def test_find_holdout_set_with_label_gives_all_pictures_that_class(
    tmp_path: Path,
) -> None:
    make(tmp_path, "1.png", "cat/1.png", "fog/deep/1.png")
    assert rows(find_holdout_set(tmp_path, LABELS, label="dog")) == [
        ("1.png", "dog", ""),
        ("cat/1.png", "dog", "cat"),
        ("fog/deep/1.png", "dog", "fog"),
    ]


def test_find_holdout_set_reads_zip_like_folder(tmp_path: Path) -> None:
    folder = make(tmp_path / "data", "cat/1.png", "dog/fog/2.png")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as writer:
        for path in sorted(folder.rglob("*.png")):
            writer.write(path, path.relative_to(folder).as_posix())
    found, plain = find_holdout_set(tmp_path / "data.zip", LABELS), find_holdout_set(folder, LABELS)
    assert rows(found) == rows(plain) == [("cat/1.png", "cat", ""), ("dog/fog/2.png", "dog", "fog")]
    assert [found.source.read(name) for name in found.names] == [
        plain.source.read(name) for name in plain.names
    ]


def test_find_holdout_set_without_pictures_raises(tmp_path: Path) -> None:
    make(tmp_path, "mouse/1.png")
    with pytest.raises(TooFewPictures, match=r"no picture in a folder named cat or dog or eel\.$"):
        find_holdout_set(tmp_path, LABELS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(TooFewPictures, match=r"empty has no picture\.$"):
        find_holdout_set(tmp_path / "empty", LABELS, label="cat")
    with pytest.raises(NoSuchData, match="absent"):
        find_holdout_set(tmp_path / "absent", LABELS)
