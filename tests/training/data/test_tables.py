"""Tables: groups.csv, labels.csv and slices.csv."""

import unicodedata
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pytest

from models.bundle.manifest import DatasetFacts
from tests.images import DrawData, encode, photograph
from training.audit.run import audit
from training.config import FitConfig
from training.data.cache import Cache
from training.data.csv_file import parse_csv
from training.data.dataset import Listing, scan
from training.data.source import open_source
from training.data.tables import groups_by_pattern
from training.errors import BadTable
from training.features.extract import StatsOnly
from training.features.feature_set import FeatureSet, read_feature_set

NAMES = ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return make(tmp_path / "data")


def make(folder: Path, *names: str) -> Path:
    for name in names or NAMES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def zipped(folder: Path, *, root: str = "", backslashes: bool = False) -> Path:
    """Write the folder's files to a zip file beside it."""
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as writer:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                entry = zipfile.ZipInfo(root + file.relative_to(folder).as_posix())
                if backslashes:
                    entry.filename = entry.filename.replace("/", "\\")
                writer.writestr(entry, file.read_bytes())
    return path


def listed(path: Path, **options: object) -> Listing:
    return scan(open_source(path), **options)  # type: ignore[arg-type]


def labelled(listing: Listing) -> dict[str, str]:
    return {name: listing.labels[k] for name, k in zip(listing.names, listing.classes, strict=True)}


def error_of(path: Path, **options: object) -> str:
    with pytest.raises(BadTable) as caught:
        listed(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# --- slices.csv ----------------------------------------------------------------------------


def test_slices_csv_gives_slices(data: Path) -> None:
    (data / "slices.csv").write_text("file,slice\ncat/1.jpg,day\ndog/2.jpg,night\ncat/2.jpg,\n")
    found = listed(data)
    assert found.slices == {"slice": {"cat/1.jpg": "day", "dog/2.jpg": "night"}}
    assert found.skipped == ()


def test_slices_csv_with_several_attributes(data: Path) -> None:
    rows = ["file,attribute,slice", "cat/1.jpg,light,day", "cat/1.jpg,age,old", "dog/1.jpg,age,new"]
    (data / "slices.csv").write_text("\n".join(rows))
    assert listed(data).slices == {
        "age": {"cat/1.jpg": "old", "dog/1.jpg": "new"},
        "light": {"cat/1.jpg": "day"},
    }


def test_subfolders_are_slices_unless_slices_csv_has_folder(
    tmp_path: Path,
) -> None:
    names = ("cat/in/1.jpg", "cat/2.jpg", "dog/out/far/1.jpg")
    data = make(tmp_path / "data", *names)
    inner = {"cat/in/1.jpg": "in", "dog/out/far/1.jpg": "out"}
    assert listed(data).slices == {"folder": inner}
    assert listed(zipped(data, root="all/")).slices == {
        "folder": {f"all/{name}": part for name, part in inner.items()}
    }
    (data / "slices.csv").write_text("file,attribute,slice\ncat/2.jpg,folder,none\n")
    assert listed(data).slices == {"folder": {"cat/2.jpg": "none"}}


def test_bad_slices_csv_raises(data: Path) -> None:
    (data / "slices.csv").write_text("file,slice\ncat/1.jpg,day\ncat/1.jpg,night\n")
    assert "has both 'day' and 'night'" in error_of(data)
    (data / "slices.csv").write_text("file,kind\ncat/1.jpg,day\n")
    assert "no column 'slice'" in error_of(data)
    (data / "slices.csv").write_text("file,slice\nmouse/1.jpg,day\n")
    assert "no row names a picture" in error_of(data)


# --- labels.csv ----------------------------------------------------------------------------


def test_labels_csv_corrects_classes(data: Path) -> None:
    (data / "labels.csv").write_text("file,label\ncat/2.jpg,dog\ndog/1.jpg,dog\n")
    found = listed(data)
    assert labelled(found) == {
        "cat/1.jpg": "cat",
        "cat/2.jpg": "dog",
        "dog/1.jpg": "dog",
        "dog/2.jpg": "dog",
    }
    assert found.corrected == {"cat/2.jpg": "cat"}  # repeating the folder is not a change
    assert found.skipped == ()


@pytest.mark.parametrize("cell", ["-", "", "  "])
def test_labels_csv_excludes_pictures(data: Path, cell: str) -> None:
    (data / "labels.csv").write_text(f"file,label\ncat/2.jpg,{cell}\n")
    found = listed(data)
    assert found.names == ("cat/1.jpg", "dog/1.jpg", "dog/2.jpg")
    assert [(file.name, file.reason) for file in found.skipped] == [("cat/2.jpg", "by labels.csv")]
    assert found.corrected == {}


def test_labels_csv_with_unknown_class_raises_and_lists_classes(data: Path) -> None:
    (data / "labels.csv").write_text("file,label\ncat/2.jpg,Dog\n")
    text = error_of(data)
    assert "labels.csv" in text
    assert "cat/2.jpg" in text
    assert "'Dog'" in text
    assert "cat, dog" in text


@pytest.mark.parametrize(("table", "column"), [("labels.csv", "label"), ("groups.csv", "group")])
def test_contradicting_rows_raise(data: Path, table: str, column: str) -> None:
    row = "cat/2.jpg,cat\n"
    (data / table).write_text(f"file,{column}\n{row}{row}cat/2.jpg,dog\n")
    with pytest.raises(BadTable, match=f"{table} has both 'cat' and 'dog' for cat/2.jpg"):
        scan(open_source(data))


def test_rows_about_missing_files_are_counted_and_ignored(data: Path) -> None:
    (data / "labels.csv").write_text("file,label\ncat/gone.jpg,mouse\ncat/2.jpg,dog\n")
    found = listed(data)
    assert found.corrected == {"cat/2.jpg": "cat"}
    (rows,) = found.unmatched
    assert (rows.table, rows.files, rows.rows) == ("labels.csv", ("cat/gone.jpg",), 2)
    assert rows.sentence == "labels.csv: 1 of 2 rows names no picture, the first cat/gone.jpg."


def test_table_without_rows_changes_nothing(data: Path) -> None:
    (data / "labels.csv").write_text("file,label\n")
    (data / "groups.csv").write_text("file,group\n")
    found = listed(data)
    assert found.names == NAMES
    assert (found.corrected, found.groups, found.skipped) == ({}, {}, ())


@pytest.mark.parametrize("table", ["groups.csv", "labels.csv"])
def test_table_without_matching_row_raises_with_example(data: Path, table: str) -> None:
    column = table.removesuffix("s.csv")
    (data / table).write_text(f"file,{column}\n1.jpg,cat\n2.jpg,dog\n")
    text = error_of(data)
    assert table in text
    assert "no row names a picture" in text
    assert "like cat/1.jpg" in text


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_example_of_unmatched_table_is_valid_inside_wrapping_folder(
    tmp_path: Path, kind: str
) -> None:
    outer = tmp_path / "outer"
    folder = make(outer / "wrapped")
    (folder / "groups.csv").write_text("file,group\nnonsense.jpg,g\n")
    path = outer if kind == "folder" else zipped(outer)
    example = error_of(path).rsplit(" like ", 1)[1].removesuffix(".")
    (folder / "groups.csv").write_text(f"file,group\n{example},g\n")
    assert listed(outer if kind == "folder" else zipped(outer)).groups == {
        f"wrapped/{example}": "g"
    }


def test_given_table_without_matching_row_raises(data: Path, tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("file,group\nelsewhere/1.jpg,g\n")
    text = error_of(data, groups=table)
    assert "mine.csv" in text
    assert "no row names a picture" in text


@pytest.mark.parametrize("spelt", [r"cat\2.jpg", "./cat/2.jpg", r".\cat\2.jpg", " cat/2.jpg "])
def test_tables_accept_other_spellings_of_paths(data: Path, spelt: str) -> None:
    (data / "labels.csv").write_text(f"file,label\n{spelt},dog\n")
    (data / "groups.csv").write_text(f"file,group\n{spelt},g\n")
    found = listed(data)
    assert found.corrected == {"cat/2.jpg": "cat"}
    assert found.groups == {"cat/2.jpg": "g"}


@pytest.mark.parametrize("root", ["", "wrapped/"])
@pytest.mark.parametrize("backslashes", [False, True])
def test_tables_of_zip_file_are_read(data: Path, root: str, backslashes: bool) -> None:
    (data / "labels.csv").write_text("file,label\ncat/2.jpg,dog\ndog/2.jpg,-\n")
    (data / "groups.csv").write_text("file,group\ncat/1.jpg,g\n")
    found = listed(zipped(data, root=root, backslashes=backslashes))
    assert found.labels == ("cat", "dog")
    assert labelled(found) == {
        f"{root}cat/1.jpg": "cat",
        f"{root}cat/2.jpg": "dog",
        f"{root}dog/1.jpg": "dog",
    }
    assert found.corrected == {f"{root}cat/2.jpg": "cat"}
    assert [file.name for file in found.skipped] == [f"{root}dog/2.jpg"]
    assert found.groups == {f"{root}cat/1.jpg": "g"}
    assert {found.source.read(name) for name in found.names} == {b"x"}


def test_table_outside_wrapping_folder_is_reported_and_not_read(tmp_path: Path) -> None:
    make(tmp_path / "wrapped")
    (tmp_path / "labels.csv").write_text("file,label\ncat/2.jpg,dog\n")
    found = listed(tmp_path)
    assert found.corrected == {}
    assert [(file.name, file.reason) for file in found.skipped] == [
        ("labels.csv", "in no class folder")
    ]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"file,class\ncat/1.jpg,dog\n", "no column 'label'"),
        (b"file,label\ncat/1.jpg\n", "row 1: a cell is missing"),
        (b"file,label\n\xff\xfe,x\n", "not UTF-8"),
    ],
)
def test_bad_labels_csv_raises_and_names_it(data: Path, content: bytes, reason: str) -> None:
    (data / "labels.csv").write_bytes(content)
    text = error_of(data)
    assert "labels.csv" in text
    assert reason in text


def test_groups_csv_about_excluded_pictures_only_is_valid(data: Path) -> None:
    (data / "labels.csv").write_text("file,label\n" + "".join(f"{name},-\n" for name in NAMES))
    (data / "groups.csv").write_text("file,group\ncat/1.jpg,g\n")
    found = listed(data)
    assert found.names == ()
    assert found.groups == {}
    assert len(found.skipped) == 4


# --- rows that name no picture -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelt", "nearest"),
    [
        ("Cat/1.JPG", "cat/1.jpg"),
        ("cat/1.jpeg", "cat/1.jpg"),
        ("/home/me/data/cat/1.jpg", "cat/1.jpg"),
        (r"C:\me\data\cat\1.jpg", "cat/1.jpg"),
        ("data/dog/2.jpg", "dog/2.jpg"),
        ("../cat/1.jpg", "cat/1.jpg"),
        ("mouse/99.jpg", None),
    ],
)
@pytest.mark.parametrize("table", ["groups.csv", "labels.csv", "slices.csv"])
def test_row_that_names_no_picture_is_counted(
    data: Path, table: str, spelt: str, nearest: str | None
) -> None:
    column = table.removesuffix("s.csv")
    (data / table).write_text(f"file,{column}\n{spelt},cat\ndog/1.jpg,dog\nother/1.jpg,cat\n")
    (rows,) = listed(data).unmatched
    assert (rows.table, rows.files, rows.rows, rows.nearest) == (
        table,
        (spelt, "other/1.jpg"),
        3,
        nearest,
    )
    assert rows.sentence.startswith(f"{table}: 2 of 3 rows name no picture, the first {spelt}")


@pytest.mark.parametrize("spelt", ["cat//1.jpg", "/cat/1.jpg", ".//cat/./1.jpg", r"\cat\1.jpg"])
def test_tables_accept_paths_with_more_slashes(data: Path, spelt: str) -> None:
    (data / "groups.csv").write_text(f"file,group\n{spelt},g\n")
    found = listed(data)
    assert (found.groups, found.unmatched) == ({"cat/1.jpg": "g"}, ())


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC"), ("NFD", "NFD")])
def test_tables_match_composed_and_decomposed_names(
    tmp_path: Path, forms: Sequence[Literal["NFC", "NFD"]]
) -> None:
    on_disk, in_table = (
        [unicodedata.normalize(form, name) for name in ("Bärte/Müller.jpg", "Bärte")]
        for form in forms
    )
    data = make(tmp_path / "data", on_disk[0], "cat/1.jpg", "cat/2.jpg")
    (data / "groups.csv").write_text(f"file,group\n{in_table[0]},g\ncat/1.jpg,g\n")
    (data / "slices.csv").write_text(f"file,slice\n{in_table[0]},old\n")
    (data / "labels.csv").write_text(f"file,label\n{in_table[0]},cat\ncat/2.jpg,{in_table[1]}\n")
    for found in (listed(data), listed(zipped(data))):
        assert found.labels == ("Bärte", "cat")
        assert found.groups == {"Bärte/Müller.jpg": "g", "cat/1.jpg": "g"}
        assert found.slices == {"slice": {"Bärte/Müller.jpg": "old"}}
        assert found.corrected == {"Bärte/Müller.jpg": "Bärte", "cat/2.jpg": "cat"}
        assert found.unmatched == ()


def test_unmatched_rows_are_findings(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12, "disc": 12})
    (data / "groups.csv").write_text("file,group\nbar/000.jpg,g\nbar/000.jpeg,g\n")
    sentence = (
        "groups.csv: 1 of 2 rows names no picture, the first bar/000.jpeg; is bar/000.jpg meant?"
    )
    (found,) = [
        finding
        for finding in audit(read(data, tmp_path / "cache"))
        if finding.kind == "unmatched_rows"
    ]
    assert (found.level, found.message) == ("warning", sentence)
    assert found.details == {"table": "groups.csv", "rows": 2, "unmatched": ["bar/000.jpeg"]}


@pytest.mark.parametrize("name", ["Groups.csv", "LABELS.CSV"])
def test_table_in_other_case_is_named(data: Path, name: str) -> None:
    (data / name).write_text("file,group\ncat/1.jpg,g\n")
    (file,) = listed(data).skipped
    assert file.reason == f"not read: a table must be called {name.lower()}"


# --- feature set ---------------------------------------------------------------------------


def read(path: Path, cache: Path) -> FeatureSet:
    with Cache(cache) as opened:
        return read_feature_set(listed(path), StatsOnly(32), opened, FitConfig())


def test_dataset_facts_count_corrected_and_excluded(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 14, "disc": 14})
    (data / "bar" / "broken.jpg").write_bytes(b"no picture")
    (data / "bar" / "notes.txt").write_text("left out, but not by the table")
    plain = read(data, tmp_path / "cache").dataset_facts()
    assert plain.model_dump(exclude={"fingerprint"}) == {
        "pictures": {"bar": 14, "disc": 14},
        "groups": 28,
        "skipped": 1,
        "corrected": 0,
        "left_out": 0,
    }
    found: list[DatasetFacts] = []
    for rows in (
        "bar/000.jpg,disc\nbar/001.jpg,disc\ndisc/000.jpg,-\ndisc/001.jpg,disc\n",
        "bar/000.jpg,disc\n",
        "disc/001.jpg,disc\n",
    ):
        (data / "labels.csv").write_text(f"file,label\n{rows}")
        found.append(read(data, tmp_path / "cache").dataset_facts())
    both, one, none = found
    assert both.model_dump(exclude={"fingerprint"}) == {
        "pictures": {"bar": 12, "disc": 15},
        "groups": 27,
        "skipped": 1,
        "corrected": 2,
        "left_out": 1,
    }
    assert len({plain.fingerprint, both.fingerprint, one.fingerprint}) == 3
    assert none == plain


def test_labels_csv_confirms_labels(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12, "disc": 12})
    (data / "labels.csv").write_text(
        "file,label\nbar/001.jpg,bar\nbar/002.jpg,disc\nbar/003.jpg,-\n"
    )
    pictures = read(data, tmp_path / "cache")
    decided = {"bar/001.jpg": "bar", "bar/002.jpg": "disc", "bar/003.jpg": None}
    assert pictures.listing.decided == decided
    assert pictures.listing.corrected == {"bar/002.jpg": "bar"}  # a confirmed label is no change
    confirmed = [name for name, it in zip(pictures.names, pictures.confirmed, strict=True) if it]
    assert confirmed == ["bar/001.jpg", "bar/002.jpg"]


def test_tables_take_names_with_the_wrapping_folder(tmp_path: Path) -> None:
    root = make(tmp_path / "data" / "pictures")
    (root / "labels.csv").write_text("file,label\npictures/cat/1.jpg,dog\ncat/2.jpg,dog\n")
    found = listed(tmp_path / "data")
    assert found.decided == {"pictures/cat/1.jpg": "dog", "pictures/cat/2.jpg": "dog"}


def test_feature_set_has_corrected_classes(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12, "disc": 12})
    (data / "labels.csv").write_text("file,label\ndisc/003.jpg,bar\nbar/005.jpg,-\n")
    (data / "groups.csv").write_text("file,group\ndisc/003.jpg,g\nbar/000.jpg,g\nbar/005.jpg,g\n")
    pictures = read(data, tmp_path / "cache")
    assert "bar/005.jpg" not in pictures.names
    index = pictures.names.index("disc/003.jpg")
    assert pictures.labels[pictures.classes[index]] == "bar"
    assert pictures.read(index) == (data / "disc" / "003.jpg").read_bytes()
    assert pictures.groups[index] == pictures.groups[pictures.names.index("bar/000.jpg")]
    assert len(set(pictures.groups.tolist())) == 22


# --- groups --------------------------------------------------------------------------------


def test_group_pattern_without_match_raises(data: Path) -> None:
    assert "matches no picture's name" in error_of(data, pattern=r"(p\d+)_")


def test_group_pattern_is_searched_in_whole_name() -> None:
    found = groups_by_pattern(r"^([^/]+)/.*-(?:x|y)", ["a/1-x.jpg", "b/2-y.jpg", "b/3.jpg"])
    assert found == {"a/1-x.jpg": "a", "b/2-y.jpg": "b"}


def test_rows_returns_columns_in_given_order() -> None:
    assert parse_csv(b"a,b,c\n1,2,3\n", "t").rows("c", "a") == [("3", "1")]


# --- links ---------------------------------------------------------------------------------


def test_scan_follows_links_but_no_circles(tmp_path: Path) -> None:
    store = make(tmp_path / "store", "kittens/1.jpg", "kittens/deep/2.jpg")
    data = make(tmp_path / "data", "dog/1.jpg")
    (data / "cat").symlink_to(store / "kittens", target_is_directory=True)
    (data / "dog" / "back").symlink_to(data, target_is_directory=True)
    (store / "kittens" / "self").symlink_to(store / "kittens", target_is_directory=True)
    found = listed(data)
    assert found.labels == ("cat", "dog")
    assert found.names == ("cat/1.jpg", "cat/deep/2.jpg", "dog/1.jpg")


@pytest.mark.parametrize(("link", "target"), [("a/other", "b"), ("b/other", "a")])
def test_scan_lists_linked_class_folder_twice(tmp_path: Path, link: str, target: str) -> None:
    data = make(tmp_path / "data", "a/1.jpg", "b/1.jpg")
    (data / link).symlink_to(data / target, target_is_directory=True)
    found = listed(data)
    assert labelled(found) == {
        "a/1.jpg": "a",
        "b/1.jpg": "b",
        f"{link}/1.jpg": link[0],
    }


def test_links_to_pictures_are_read(tmp_path: Path, draw_data: DrawData) -> None:
    data = draw_data(tmp_path / "data", {"bar": 12, "disc": 11})
    (tmp_path / "elsewhere.png").write_bytes(encode(photograph(90, 80)))
    (data / "disc" / "linked.png").symlink_to(tmp_path / "elsewhere.png")
    (data / "disc" / "broken.png").symlink_to(tmp_path / "absent.png")
    facts = read(data, tmp_path / "cache").dataset_facts()
    assert facts.pictures == {"bar": 12, "disc": 12}
    assert facts.skipped == 1
