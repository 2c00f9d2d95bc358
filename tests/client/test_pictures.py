"""Which files of a folder are classified: nothing is left out in silence."""

import os
from pathlib import Path

import pytest

from facemask_client import find_pictures
from facemask_client.__main__ import main
from facemask_client.batches import read_batches
from tests.client.stub import serving


def make(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"one image")


def deny(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make a folder unlistable, for root too."""
    scandir, listdir = os.scandir, os.listdir

    def guarded_scandir(path: str) -> object:
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    def guarded_listdir(path: str) -> object:
        if os.fspath(path) == str(folder):
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    monkeypatch.setattr(os, "scandir", guarded_scandir)
    monkeypatch.setattr(os, "listdir", guarded_listdir)


def test_find_pictures_searches_folders_and_skips_hidden_and_other_files(tmp_path: Path) -> None:
    wanted = [tmp_path / "a" / "b" / "1.JPG", tmp_path / "c.heic"]
    for path in [*wanted, tmp_path / "notes.txt", tmp_path / ".cache" / "2.png"]:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    named = tmp_path / "notes.txt"
    assert list(find_pictures([tmp_path, named])) == [*wanted, named]


def test_find_pictures_reports_what_it_skips(tmp_path: Path) -> None:
    wanted = [tmp_path / "a.JPE", tmp_path / "b", tmp_path / "c.jfif"]
    others = [
        tmp_path / ".hidden.png",
        tmp_path / ".cache",
        tmp_path / "@eaDir",
        tmp_path / "notes.txt",
    ]
    make(*wanted, others[0], others[1] / "a.png", others[2] / "a.png", others[3])
    os.mkfifo(tmp_path / "pipe.png")
    skipped: list[Path] = []
    assert list(find_pictures([tmp_path], on_skip=skipped.append)) == wanted
    assert sorted(skipped) == sorted([*others, tmp_path / "pipe.png"])


def test_find_pictures_follows_links_to_folders_without_loops(tmp_path: Path) -> None:
    make(tmp_path / "there" / "a.png")
    data = tmp_path / "data"
    data.mkdir()
    (data / "link").symlink_to("../there")
    (data / "loop").symlink_to(".")
    (tmp_path / "there" / "back").symlink_to("../data")
    assert list(find_pictures([data])) == [data / "link" / "a.png"]


def test_find_pictures_yields_a_broken_link(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to("nowhere.png")
    assert list(find_pictures([tmp_path])) == [tmp_path / "a.png"]


def test_main_returns_1_and_names_a_folder_that_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make(tmp_path / "mask" / "a.png", tmp_path / "no_mask" / "b.png")
    deny(monkeypatch, tmp_path / "no_mask")
    with serving() as address:
        assert main([address, str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        f"{tmp_path}/mask/a.png\tmask\t0.7500",
        f"{tmp_path}/no_mask\tThe folder cannot be listed: Permission denied.",
    ]
    assert f"error: {tmp_path}/no_mask: The folder cannot be listed" in captured.err


def test_main_returns_1_if_a_named_folder_cannot_be_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deny(monkeypatch, tmp_path)
    with serving() as address:
        assert main([address, str(tmp_path)]) == 1
    assert str(tmp_path) in capsys.readouterr().err


def test_main_counts_what_it_skips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "a.png", tmp_path / "b.txt", tmp_path / "c.txt")
    with serving() as address:
        assert main([address, str(tmp_path)]) == 0
    error = capsys.readouterr().err
    assert error.startswith("Skipped 2 files or folders")
    assert "txt" in error


@pytest.mark.parametrize("name", ["a\0b", "a" * 5000, "none.png"])
def test_a_path_that_no_file_has_is_answered_with_an_error(name: str) -> None:
    (answer,) = read_batches(find_pictures([name]))
    assert getattr(answer, "code", None) == "unreadable_file"


def test_a_file_without_end_is_answered_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("facemask_client.pictures._MAX_FILE_BYTES", 1000)
    (answer,) = read_batches(find_pictures(["/dev/zero"]))
    assert "larger than 1,000 bytes" in str(getattr(answer, "error", None))
