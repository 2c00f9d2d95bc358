"""The audit of a folder, and its command."""

import dataclasses
import json
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.images import encode
from tests.training.audit.data_sets import (
    drawn,
    kinds,
    only,
)
from tests.training.tiny_backbone import TINY_POOLED, tiny_backbone
from training.__main__ import main
from training.audit import standalone
from training.audit.findings import Finding
from training.audit.label_issues import (
    LabelIssue,
    LabelIssues,
)
from training.audit.proposed_labels import ProposedLabel, write_proposed_labels
from training.audit.standalone import FolderAudit, audit_folder
from training.config import FitConfig
from training.data.dataset import scan
from training.data.progress import Progress
from training.data.source import open_source
from training.errors import NoWeights, OutputError, TooFewClasses, UnknownBackbone


@pytest.fixture(autouse=True)
def keep_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return three classes with a copy in two of them, a broken picture and a text file."""
    root = tmp_path_factory.mktemp("audit") / "data"
    for k, label in enumerate(("cat", "dog", "emu")):
        (root / label).mkdir(parents=True)
        for number in range(10):
            path = root / label / f"{number}.png"
            path.write_bytes(encode(drawn(100 * k + number)))
    (root / "dog" / "9.png").write_bytes((root / "cat" / "0.png").read_bytes())
    (root / "emu" / "broken.png").write_bytes((root / "cat" / "1.png").read_bytes()[:500])
    (root / "emu" / "note.txt").write_text("text")
    return root


def test_audit_folder_without_model(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "load_backbone", lambda *_, **__: pytest.fail("was loaded"))
    seen = []
    audited = audit_folder(
        folder,
        FitConfig(),
        cache=tmp_path,
        model=False,
        progress=Progress(advance=lambda done, total: seen.append((done, total))),
    )
    found = audited.findings
    assert kinds(found) == {
        "exact_duplicates_across_classes": "error",
        "unreadable": "warning",
        "left_out": "info",
        "few_pictures": "info",
        "shortcuts_not_checked": "info",
    }
    assert sum(done for done, _ in seen) == seen[0][1] == 31
    assert only(found, "unreadable").names == ("emu/broken.png",)
    # The second time from the cache, and alike.
    assert audit_folder(folder, FitConfig(), cache=tmp_path, model=False) == audited
    assert audited.sentences[0].startswith("Looked at 30 pictures (10 cat, 10 dog, 10 emu) for: ")
    assert audited.sentences[1:] == ["Not checked: labels that a model disagrees with: --no-model."]


def test_audit_folder_with_model_reports_label_issues(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def find(features: Any, classes: Any, groups: Any, **options: Any) -> LabelIssues:
        asked.update(options, shape=features.shape, groups=len(np.unique(groups)))
        return LabelIssues([LabelIssue(0, 0, 1, 0.1, 0.9)])

    monkeypatch.setattr(standalone, "load_backbone", lambda *_, **__: tiny_backbone())
    monkeypatch.setattr(standalone, "find_label_issues", find)
    audited = audit_folder(folder, FitConfig(), cache=tmp_path)
    assert only(audited.findings, "suspect_labels").names == ("cat/0.png",)
    assert audited.label_issues == [ProposedLabel("cat/0.png", "dog", "cat", 0.9)]
    assert audited.not_checked == ()
    assert asked["shape"] == (30, TINY_POOLED)
    assert asked["groups"] == 29


def test_audit_folder_without_weights_says_what_is_not_checked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise NoWeights("no weights here.")

    monkeypatch.setattr(standalone, "load_backbone", fails)
    audited = audit_folder(folder, FitConfig(), cache=tmp_path)
    assert "unreadable" in kinds(audited.findings)
    assert audited.not_checked == ("labels that a model disagrees with: no weights here.",)


def test_audit_folder_with_one_group_per_class_says_what_is_not_checked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "load_backbone", lambda *_, **__: tiny_backbone())
    audited = audit_folder(folder, FitConfig(), cache=tmp_path, group_pattern="(cat|dog|emu)")
    (reason,) = audited.not_checked
    assert reason.startswith("labels that a model disagrees with: ")


def test_audit_folder_raises_on_bad_input(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownBackbone):
        audit_folder(
            folder, dataclasses.replace(FitConfig(), backbone="x"), cache=tmp_path, model=False
        )
    with pytest.raises(TooFewClasses):
        audit_folder(folder / "cat", FitConfig(), cache=tmp_path, model=False)


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ([], 0),
        (["--fail-on", "error"], 7),
        (["--fail-on", "warning"], 7),
        (["--fail-on", "info"], 7),
    ],
)
def test_audit_command_status(
    folder: Path, options: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(folder), "--no-model", *options]) == status
    out = capsys.readouterr().out
    assert out.startswith("Looked at 30 pictures (10 cat, 10 dog, 10 emu) for: ")
    assert "1 serious:\n  exact_duplicates_across_classes: 1 case of the same file" in out
    assert "    cat/0.png = dog/9.png\n" in out
    assert "1 warning:\n  unreadable: 1 file" in out


@pytest.mark.parametrize(
    ("level", "fail_on", "status"),
    [
        ("warning", "error", 0),
        ("warning", "warning", 7),
        ("info", "warning", 0),
        ("info", "info", 7),
        (None, "info", 0),
    ],
)
def test_audit_command_fails_from_given_level(
    level: str | None,
    fail_on: str,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [Finding(level, "kind", "Message.")] if level else []
    audited = FolderAudit(found, {"cat": 3}, ("checks",), (), [], {})
    monkeypatch.setattr(standalone, "audit_folder", lambda *_, **__: audited)
    assert main(["audit", "data", "--fail-on", fail_on]) == status
    out = capsys.readouterr().out
    assert out.startswith("Looked at 3 pictures (3 cat) for: checks.\n")
    assert ("kind: Message." in out) == bool(found)
    assert ("No findings." in out) == (not found)


def test_audit_command_writes_json(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "findings.json"
    assert main(["audit", str(folder), "--no-model", "--json", str(path)]) == 0
    content = json.loads(path.read_text())
    assert content["pictures"] == {"cat": 10, "dog": 10, "emu": 10}
    assert "copies and near-duplicates" in content["checks"]
    assert content["not_checked"] == ["labels that a model disagrees with: --no-model."]
    assert content["levels"] == {"error": 1, "warning": 1, "info": 5}
    assert content["findings"][0]["groups"] == [["cat/0.png", "dog/9.png"]]
    assert main(["audit", str(folder), "--no-model", "--json", str(tmp_path / "no" / "f")]) == (
        OutputError.exit_status
    )


def test_audit_command_passes_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def run(data: Path, config: FitConfig, **options: Any) -> FolderAudit:
        seen.update(options, data=data, config=config)
        options["progress"].advance(1, 2)
        options["progress"].log("a line")
        return FolderAudit([], {}, (), (), [], {})

    monkeypatch.setattr(standalone, "audit_folder", run)
    given = {"backbone": "resnet18", "weights": "w", "groups": "g", "cache": "c", "seed": "3"}
    flags = [text for name, value in given.items() for text in (f"--{name}", value)]
    assert main(["audit", "d", "--group-pattern", "(p)", "--no-model", *flags]) == 0
    assert (seen["data"], seen["weights"], seen["groups"]) == (Path("d"), Path("w"), Path("g"))
    assert (seen["group_pattern"], seen["model"], seen["cache"]) == ("(p)", False, Path("c"))
    assert (seen["config"].backbone, seen["config"].seed) == ("resnet18", 3)


def test_audit_command_on_missing_folder_exits_3(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["audit", str(tmp_path / "absent"), "--no-model", "--fail-on", "info"]) == 3
    assert "absent does not exist" in capsys.readouterr().err


def test_proposed_labels_are_read_back_as_labels_csv(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "proposed.csv"
    proposals = [ProposedLabel("cat/0.png", "dog", "cat", 0.97)]
    write_proposed_labels(
        table, proposals, {"dog/1.png": "emu", "emu/2.png": None, "cat/0.png": "cat"}
    )
    assert table.read_text() == (
        "file,label,label_now,probability\ndog/1.png,emu,,\nemu/2.png,-,,\ncat/0.png,dog,cat,0.970\n"
    )
    copy = tmp_path / "data"
    shutil.copytree(folder, copy)
    table.rename(copy / "labels.csv")
    listing = scan(open_source(copy))
    assert listing.corrected == {"dog/1.png": "dog", "cat/0.png": "cat"}
    assert "emu/2.png" not in listing.names
    with pytest.raises(OutputError, match="is not replaced"):
        write_proposed_labels(copy / "labels.csv", [], {})


def test_audit_command_proposes_labels(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    proposals = [ProposedLabel("cat/0.png", "dog", "cat", 0.97)]
    audited = FolderAudit([], {"cat": 3}, (), (), proposals, {})
    monkeypatch.setattr(standalone, "audit_folder", lambda *_, **__: audited)
    table = tmp_path / "proposed.csv"
    assert main(["audit", str(folder), "--propose-labels", str(table)]) == 0
    assert "cat/0.png,dog,cat" in table.read_text()
    assert "1 proposed" in capsys.readouterr().out
    monkeypatch.setattr(standalone, "audit_folder", lambda *_, **__: pytest.fail("began to work"))
    for path in (table, tmp_path, tmp_path / "absent" / "proposed.csv"):
        assert (
            main(["audit", str(folder), "--propose-labels", str(path)]) == OutputError.exit_status
        )
