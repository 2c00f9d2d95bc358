"""Listing of a data set: pictures, classes, groups, and skipped files."""

import zipfile
from pathlib import Path

import pytest

from training.data.dataset import Listing, scan
from training.data.source import open_source
from training.errors import BadTable, TooFewClasses


def make(folder: Path, *names: str, content: bytes = b"x") -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def listed(folder: Path, **options: object) -> Listing:
    return scan(open_source(folder), **options)  # type: ignore[arg-type]


def labelled(listing: Listing) -> dict[str, str]:
    return {name: listing.labels[k] for name, k in zip(listing.names, listing.classes, strict=True)}


def reasons(listing: Listing) -> dict[str, str]:
    return {file.name: file.reason for file in listing.skipped}


def test_scan_takes_first_folder_as_class_at_any_depth(tmp_path: Path) -> None:
    found = listed(make(tmp_path, "dog/1.jpg", "cat/1.jpg", "cat/anna/2021/2.png"))
    assert found.labels == ("cat", "dog")
    assert labelled(found) == {
        "cat/1.jpg": "cat",
        "cat/anna/2021/2.png": "cat",
        "dog/1.jpg": "dog",
    }
    assert found.skipped == ()


@pytest.mark.parametrize(
    "name",
    ["1.jpg", "1.JPG", "1.jpeg", "1.jfif", "1.mpo", "1.PnG", "1.webp", "1.bmp", "1.gif",
     "1.tif", "1.TIFF", "1.HEIC", "1.heif", "1.hif", "1.avif", "DSC0001", "ünïcödé.jpg",
     "with space.jpg", "two.dots.jpg"],
)  # fmt: skip
def test_scan_accepts_picture_names(tmp_path: Path, name: str) -> None:
    assert f"a/{name}" in listed(make(tmp_path, f"a/{name}", "b/1.jpg")).names


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a/notes.txt", "not a picture by its name (.txt)"),
        ("a/video.mp4", "a video, not a picture (.mp4)"),
        ("a/1.MOV", "the video of a Live Photo, whose picture is beside it (.MOV)"),
        ("a/1.AAE", "edits of a photograph, kept beside it (.AAE)"),
        ("b/2.MOV", "a video, not a picture (.MOV)"),
        ("a/1.jpg.part", "not a picture by its name (.part)"),
        ("a/.hidden.jpg", "hidden or made by the system"),
        ("a/._1.jpg", "hidden or made by the system"),
        (".git/a/1.jpg", "hidden or made by the system"),
        ("a/.thumbnails/1.jpg", "hidden or made by the system"),
        ("__MACOSX/a/1.jpg", "hidden or made by the system"),
        ("a/@eaDir/1.jpg", "hidden or made by the system"),
        ("a/Thumbs.db", "hidden or made by the system"),
        ("a/desktop.ini", "hidden or made by the system"),
        ("loose.jpg", "in no class folder"),
        ("README.md", "in no class folder"),
    ],
)
def test_scan_reports_skipped_files_with_reason(tmp_path: Path, name: str, reason: str) -> None:
    found = listed(make(tmp_path, "a/1.jpg", "b/1.jpg", name))
    shown = name
    for folder in (".git/", "__MACOSX/", "a/@eaDir/", "a/.thumbnails/"):
        shown = folder if name.startswith(folder) else shown  # one line for all that is in it
    assert reasons(found) == {shown: reason}
    assert found.names == ("a/1.jpg", "b/1.jpg")


def test_scan_skips_tables_silently(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/1.jpg")
    make(tmp_path, "groups.csv", content=b"file,group\n")
    make(tmp_path, "labels.csv", content=b"file,label\n")
    assert listed(tmp_path).skipped == ()


def test_scan_ignores_empty_folders(tmp_path: Path) -> None:
    make(tmp_path, "a/1.jpg", "b/1.jpg", "notes/readme.txt")
    (tmp_path / "empty").mkdir()
    assert listed(tmp_path).labels == ("a", "b")


@pytest.mark.parametrize("beside", [(), ("__MACOSX/data/._a",), ("LICENSE.txt",)])
def test_scan_enters_one_folder_around_all_classes(tmp_path: Path, beside: tuple[str, ...]) -> None:
    found = listed(make(tmp_path, "data/a/1.jpg", "data/b/x/2.jpg", *beside))
    assert found.labels == ("a", "b")
    assert found.names == ("data/a/1.jpg", "data/b/x/2.jpg")


def test_scan_of_zip_equals_scan_of_folder(tmp_path: Path) -> None:
    folder = make(tmp_path / "data", "a/1.jpg", "b/2.jpg", "__MACOSX/x.jpg")
    (folder / "groups.csv").write_text("file,group\na/1.jpg,anna\n")
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as writer:
        for path in sorted(folder.rglob("*")):
            writer.write(path, "data/" + path.relative_to(folder).as_posix())
    plain, zipped = listed(folder), listed(tmp_path / "data.zip")
    assert zipped.labels == plain.labels == ("a", "b")
    assert zipped.names == ("data/a/1.jpg", "data/b/2.jpg")
    assert zipped.groups == {"data/a/1.jpg": "anna"}
    assert plain.groups == {"a/1.jpg": "anna"}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (("a/1.jpg", "a/2.jpg"), "only 'a' has any"),
        (("a/x/1.jpg", "a/2.jpg"), "only 'a' has any"),
        (("data/a/1.jpg",), "only 'a' has any"),
        (("1.jpg", "a/1.jpg"), "only 'a' has any"),
        (("1.jpg", "2.jpg"), "none has any"),
        (("a/notes.txt", "b/notes.txt"), "none has any"),
        ((), "none has any"),
    ],
)
def test_scan_of_fewer_than_two_classes_raises(
    tmp_path: Path, names: tuple[str, ...], found: str
) -> None:
    with pytest.raises(TooFewClasses, match=found):
        listed(make(tmp_path, *names))


# --- groups --------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make(tmp_path / "data", "a/p1_1.jpg", "a/p1_2.jpg", "a/x.jpg", "b/p2_1.jpg")


def test_scan_without_table_has_no_groups(data: Path) -> None:
    assert listed(data).groups == {}


@pytest.mark.parametrize(
    "text",
    [
        "file,group\na/p1_1.jpg,anna\nb/p2_1.jpg,ben\n",
        "\ufefffile,group\r\na/p1_1.jpg,anna\r\nb/p2_1.jpg,ben\r\n",
        "note,group,file\n,anna,a/p1_1.jpg\n,ben,b/p2_1.jpg\n",
        'file,group\n"a/p1_1.jpg", anna \nb/p2_1.jpg,ben\na/gone.jpg,carl\na/x.jpg,\n',
    ],
    ids=["plain", "bom-crlf", "more-columns", "quotes-spaces-and-gone"],
)
def test_scan_reads_groups_csv(data: Path, text: str) -> None:
    (data / "groups.csv").write_bytes(text.encode())
    assert listed(data).groups == {"a/p1_1.jpg": "anna", "b/p2_1.jpg": "ben"}


def test_scan_prefers_given_table_of_groups(data: Path, tmp_path: Path) -> None:
    (data / "groups.csv").write_text("nonsense")
    table = tmp_path / "mine.csv"
    table.write_text("file,group\na/x.jpg,me\n")
    assert listed(data, groups=table).groups == {"a/x.jpg": "me"}


def test_scan_prefers_group_pattern(data: Path) -> None:
    (data / "groups.csv").write_text("nonsense")
    assert listed(data, pattern=r"/(p\d+)_").groups == {
        "a/p1_1.jpg": "p1",
        "a/p1_2.jpg": "p1",
        "b/p2_1.jpg": "p2",
    }


def test_scan_ignores_empty_groups_of_pattern(data: Path) -> None:
    assert listed(data, pattern=r"/(p1)?").groups == {"a/p1_1.jpg": "p1", "a/p1_2.jpg": "p1"}


@pytest.mark.parametrize(
    ("pattern", "reason"), [("(", "not a regular expression"), ("p1", "has no (bracket)")]
)
def test_scan_with_bad_pattern_raises(data: Path, pattern: str, reason: str) -> None:
    with pytest.raises(BadTable) as caught:
        listed(data, pattern=pattern)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no column 'file'"),
        (b"file\na/x.jpg\n", "no column 'group'"),
        (
            b"name;group\n",
            "its first line is 'name;group'",
        ),
        (b"file,group\na/x.jpg\n", "row 1: a cell is missing"),
        (b"file,group\n\xff\xfe,x\n", "not UTF-8"),
        (b'file,group\n"' + b"a" * 200_000, "field"),
    ],
    ids=["empty", "one-column", "semicolons", "short-row", "latin-1", "open-quote"],
)
def test_scan_with_bad_table_raises_and_names_it(data: Path, content: bytes, reason: str) -> None:
    (data / "groups.csv").write_bytes(content)
    with pytest.raises(BadTable) as caught:
        listed(data)
    assert "groups.csv" in str(caught.value)
    assert reason in str(caught.value)


def test_scan_with_missing_table_raises(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadTable, match=r"absent\.csv cannot be read"):
        listed(data, groups=tmp_path / "absent.csv")


def test_scan_with_unreadable_table_raises(data: Path) -> None:
    (data / "groups.csv").symlink_to(data / "absent")
    with pytest.raises(BadTable, match=r"groups\.csv cannot be read"):
        listed(data)
