"""The audit as a whole: order of findings, files and counts."""

import dataclasses
import json
from pathlib import Path

import pytest

from tests.training.audit.data_sets import (
    kinds,
    make_feature_set,
    make_stats,
    only,
    sound,
)
from training.audit.findings import LEVELS, format_lines, worst_level
from training.audit.run import audit, holdout_findings
from training.data.duplicates import find_near_duplicates
from training.data.holdout import find_holdout_set
from training.data.source import SkippedFile


@pytest.mark.parametrize("classes", [2, 3])
def test_audit_of_faultless_set_finds_nothing(classes: int) -> None:
    stats, given = sound(60 * classes, classes)
    labels = ("cat", "dog", "emu")[:classes]
    assert audit(make_feature_set(stats, given, labels=labels)) == []
    assert format_lines([]) == ["No findings."]
    assert worst_level([]) is None


def test_audit_of_empty_set_reports_too_few_pictures() -> None:
    found = audit(make_feature_set([], []), min_pictures=10)
    assert [finding.kind for finding in found] == ["too_few_pictures"] * 2
    assert find_near_duplicates([]) == []


@pytest.mark.usefixtures("no_shortcuts")
def test_audit_sorts_by_level_and_fits_json() -> None:
    stats, given = sound()
    stats[1] = dataclasses.replace(stats[0])
    stats[2] = make_stats(2, mode="L")
    stats[3] = make_stats(3, width_px=20)
    found = audit(make_feature_set(stats, given))
    levels = [LEVELS.index(finding.level) for finding in found]
    assert levels == sorted(levels)
    assert worst_level(found) == "error"
    again = json.loads(json.dumps([dataclasses.asdict(finding) for finding in found]))
    assert [row["kind"] for row in again] == [finding.kind for finding in found]
    assert {name for finding in found for name in finding.names} <= set(
        make_feature_set(stats, given).names
    )


@pytest.mark.usefixtures("no_shortcuts")
def test_audit_reports_unreadable_and_skipped_files_with_reason() -> None:
    stats, given = sound()
    found = audit(
        make_feature_set(
            stats,
            given,
            unreadable=[SkippedFile("cat/x.jpg", "cut")],
            skipped=(SkippedFile("a.txt", "no"),),
        )
    )
    assert kinds(found) == {"unreadable": "warning", "left_out": "info"}
    assert only(found, "unreadable").details == {"why": {"cat/x.jpg": "cut"}}
    assert "    cat/x.jpg: cut" in format_lines(found)
    assert "1 file cannot be read" in only(found, "unreadable").message


_NOT_CHECKED = {"shortcuts_not_checked": "info"}


@pytest.mark.usefixtures("no_shortcuts")
@pytest.mark.parametrize(
    ("cats", "dogs", "wanted"),
    [
        (60, 60, {}),
        (180, 60, {}),
        (181, 60, {"class_imbalance": "warning"}),
        (60, 49, {"few_pictures": "info"}),
        (20, 9, {"too_few_pictures": "error", "few_pictures": "info"} | _NOT_CHECKED),
        (20, 0, {"too_few_pictures": "error", "few_pictures": "info"} | _NOT_CHECKED),
    ],
)
def test_audit_reports_few_pictures_and_imbalance(
    cats: int, dogs: int, wanted: dict[str, str]
) -> None:
    stats, _ = sound(cats + dogs)
    found = audit(make_feature_set(stats, [0] * cats + [1] * dogs))
    assert {k: v for k, v in kinds(found).items() if k not in ("class_imbalance",)} == {
        k: v for k, v in wanted.items() if k != "class_imbalance"
    }
    assert ("class_imbalance" in kinds(found)) == ("class_imbalance" in wanted)


def test_holdout_findings_name_what_is_not_used(tmp_path: Path) -> None:
    for name in ("cat/1.jpg", "dog/1.jpg", "Dog/2.jpg", "cat/.hidden.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "slices.csv").write_text("file,slice\ncat/1.jpg,day\ncat/1.jpeg,day\n")
    found = holdout_findings("apart", find_holdout_set(tmp_path, ["cat", "dog"]))
    assert kinds(found) == {"unmatched_rows": "warning", "left_out_of_test": "warning"}
    assert only(found, "unmatched_rows").message == (
        "Test set apart: slices.csv: 1 of 2 rows names no picture, the first cat/1.jpeg; "
        "is cat/1.jpg meant?"
    )
    left_out = only(found, "left_out_of_test")
    assert left_out.message == (
        "Test set apart: 3 files left out, the first Dog/2.jpg: in no folder with the name of a "
        "class (is dog meant?)."
    )
    assert set(left_out.details["why"]) == {"Dog/2.jpg", "cat/.hidden.jpg", "notes.txt"}


@pytest.mark.usefixtures("no_shortcuts")
@pytest.mark.parametrize(
    ("folders", "found"), [(("train", "test"), True), (("day", "test"), False), (("a", "b"), False)]
)
def test_audit_reports_splits_below_class_folders(folders: tuple[str, str], found: bool) -> None:
    stats, given = sound()
    plain = make_feature_set(stats, given)
    slices = {"folder": {name: folders[i % 2] for i, name in enumerate(plain.names)}}
    listing = dataclasses.replace(plain.listing, slices=slices)
    findings = audit(dataclasses.replace(plain, listing=listing))
    assert ("splits_below_classes" in kinds(findings)) == found
    if found:
        assert "called test, train" in only(findings, "splits_below_classes").message
