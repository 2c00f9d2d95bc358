"""`python -m models`: output and exit statuses."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from models.__main__ import main
from models.bundle import fsync
from models.bundle import store as bundle_store
from models.bundle.files import MANIFEST, MODEL
from models.bundle.publish import publish
from models.bundle.signing import load_private_key
from models.bundle.store import CURRENT, current_version, versions
from tests import WAIT_S
from tests.images import draw_folders
from tests.models.tiny_bundle import TinyGraph, bundle_facts, torchscript


@pytest.fixture(name="store")
def _store(tmp_path: Path, tiny_model: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "store"
    for _ in range(3):
        publish(folder, {MODEL: tiny_model}, bundle_facts(tiny_model))
    monkeypatch.setenv("FACEMASK_STORE", str(folder))
    monkeypatch.delenv("FACEMASK_TRUSTED_KEYS", raising=False)
    return folder


def test_list_marks_the_current_and_the_rollback_version(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == [
        "VERSION", "ACCURACY", "THRESHOLD", "ANSWERS", "PICTURES", "BACKBONE", "SIGNED", "LABELS"
    ]  # fmt: skip
    oldest, before, current = versions(store)
    assert [row.split()[0] for row in rows] == [oldest, before, current]
    assert [row.split()[1] for row in rows] == ["50.0%", "rollback", "current"]
    assert rows[2].endswith("50.0%     60.0%      90.0%    20        tiny      no      cat, dog")
    assert len({row.index("tiny") for row in rows}) == 1


def test_list_shows_an_unusable_bundle(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (store / versions(store)[0] / MANIFEST).write_text("{")
    (store / CURRENT).unlink()
    assert main(["list"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert len(rows) == 3
    assert "unusable: " in rows[0]
    assert "current" not in rows[2]


def test_show_prints_a_version_s_manifest(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = versions(store)[0]
    for arguments, version in ((["show"], current_version(store)), (["show", first], first)):
        assert main(arguments) == 0
        text = capsys.readouterr().out
        assert re.search(rf"^version +{version}$", text, re.M)
        assert re.search(r"^pictures +cat 10, dog 10 in 20 groups$", text, re.M)
        assert re.search(r"^uncertain below +60\.0% \(answers 90\.0%\)$", text, re.M)


def test_promote_then_rollback(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, _, last = versions(store)
    assert main(["promote", first]) == 0
    assert current_version(store) == first
    assert main(["rollback"]) == 0
    assert current_version(store) == last
    assert capsys.readouterr().out.splitlines() == [
        f"{first} is current.",
        f"{last} is current again.",
    ]


def test_prune_prints_removed_versions(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = versions(store)
    assert main(["prune", "--keep", "1"]) == 0
    assert capsys.readouterr().out == f"{first} is removed.\n"
    assert versions(store) == others
    assert main(["prune", "--keep", "1"]) == 0
    assert capsys.readouterr().out == "Nothing to remove.\n"


def test_keygen_makes_keys_that_verify_accepts(
    store: Path, tmp_path: Path, tiny_model: bytes, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ours, theirs = tmp_path / "ours.pem", tmp_path / "theirs.pem"
    assert main(["keygen", str(ours)]) == 0
    word = capsys.readouterr().out.split()[-1]
    assert main(["keygen", str(theirs)]) == 0
    publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model), key=load_private_key(ours))
    capsys.readouterr()
    for trusted in (["--trusted-key", word], ["--trusted-key", f"{ours}.pub"]):
        assert main(["verify", *trusted]) == 0
        assert "its signature by a trusted key, 1 checksums" in capsys.readouterr().out
    assert main(["verify", "--trusted-key", f"{theirs}.pub"]) == 1
    assert "signed by none of the 1 trusted keys" in capsys.readouterr().err
    monkeypatch.setenv("FACEMASK_TRUSTED_KEYS", f"{theirs}.pub")
    assert main(["verify"]) == 1
    assert main(["verify", "--trusted-key", word]) == 0


def test_verify_runs_the_golden_check(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", versions(store)[0]]) == 0
    assert "2 golden pictures" in capsys.readouterr().out
    (store / versions(store)[0] / MODEL).write_bytes(b"")
    assert main(["verify", versions(store)[0]]) == 1


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["show", "20300101T000000Z-0123abcd"], 1),
        (["promote", "../elsewhere"], 1),
        (["verify", ".."], 1),
        (["list", "--store", "absent"], 1),
        (["rollback", "--store", "absent"], 1),
        (["keygen", "absent/key"], 1),
        (["verify", "--trusted-key", "nonsense"], 1),
    ],
)
def test_refusal_prints_one_sentence_and_returns_1(
    store: Path, arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(".")


@pytest.mark.parametrize("arguments", [[], ["prune"], ["prune", "--keep", "-1"], ["promote"]])
def test_wrong_command_line_exits_with_2(store: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_unwritable_store_returns_6(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("models.bundle.fsync.write", full)
    assert main(["rollback"]) == 6
    assert capsys.readouterr().err.endswith("cannot be changed (No space left on device).\n")
    assert current_version(store) == versions(store)[2]


def test_only_verify_imports_pytorch(store: Path) -> None:
    code = (
        "import sys; from models.__main__ import main; "
        "main(['list']); main(['show']); main(['rollback']); main(['prune', '--keep', '3']); "
        "assert 'torch' not in sys.modules; main(['verify']); assert 'torch' in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "FACEMASK_STORE": str(store)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("value", ["", "  ", "tcp://10.43.7.62:8000"])
def test_empty_or_injected_store_variable_is_not_the_working_folder(
    value: str, store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store)
    monkeypatch.setattr(bundle_store, "checkout_store", lambda: Path("elsewhere"))
    monkeypatch.setenv("FACEMASK_STORE", value)
    assert main(["list"]) == 1
    assert "elsewhere holds no version" in capsys.readouterr().err


def test_list_cleans_the_text_of_a_bundle(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, _ = versions(store)
    for version, change in (
        (first, {"backbone": "\x1b[31mred\nline"}),
        (second, {"metrics": {"cross_validation": {"balanced_accuracy": "high"}}}),
    ):
        manifest = json.loads((store / version / MANIFEST).read_text())
        (store / version / MANIFEST).write_text(json.dumps(manifest | change))
    assert main(["list"]) == 0
    output = capsys.readouterr().out
    assert len(output.splitlines()) == 4
    assert output.count("unusable: ") == 2
    assert "\x1b" not in output


def test_refusal_cleans_its_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--store", str(tmp_path / "a\x1b[31m\nb")]) == 1
    error = capsys.readouterr().err
    assert "\x1b" not in error
    assert len(error.splitlines()) == 1


def test_full_output_is_not_blamed_on_the_store(store: Path) -> None:
    command = [sys.executable, "-m", "models", "list"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 6
    assert done.stderr == "error: standard output cannot be written to (No space left on device).\n"


def test_change_that_the_disk_does_not_confirm_is_reported_as_done(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, sync = versions(store)[0], fsync.sync_folder
    calls = iter([sync])

    def fail(path: Path) -> None:
        if (do := next(calls, None)) is None:
            raise OSError(5, "Input/output error")
        do(path)

    monkeypatch.setattr(fsync, "sync_folder", fail)
    assert main(["promote", first]) == 6
    assert f"{first} is current, but the disk" in capsys.readouterr().err
    assert current_version(store) == first


def test_help_needs_no_home_and_takes_any_store(store: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "models", "list", "--help"],
        env={"FACEMASK_STORE": "/w/a%2Fb", "PATH": ""},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_packed_version_is_fetched_into_another_store(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed, other = str(tmp_path / "model.tar"), str(tmp_path / "other")
    assert main(["pack", packed, versions(store)[0]]) == 0
    checksum, name = capsys.readouterr().out.split()
    assert name == packed

    assert main(["fetch", packed, "--sha256", checksum, "--store", other]) == 0
    assert capsys.readouterr().out == f"{versions(store)[0]} is current.\n"
    assert current_version(Path(other)) == versions(store)[0]

    assert main(["pack", packed]) == 0
    checksum, _ = capsys.readouterr().out.split()
    assert main(["fetch", packed, "--sha256", checksum, "--store", other, "--no-promote"]) == 0
    assert capsys.readouterr().out == f"{current_version(store)} is in the store.\n"
    assert current_version(Path(other)) == versions(store)[0]


def test_versions_are_found_by_a_beginning_that_no_other_has(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second, last = versions(store)
    length = next(n for n in range(1, 40) if not second.startswith(first[:n]))
    beginning = first[: max(length, next(n for n in range(1, 40) if last[:n] != first[:n]))]
    for arguments in (["promote", beginning], ["show", beginning], ["verify", beginning]):
        assert main(arguments) == 0
        assert first in capsys.readouterr().out
    assert current_version(store) == first
    assert main(["promote", "20"]) == 1
    error = capsys.readouterr().err
    assert all(version in error for version in (first, second, last))
    assert "give more of the name" in error
    assert main(["show", "19"]) == 1
    assert "has no version 19" in capsys.readouterr().err


def test_compare_prints_the_test_and_the_changed_pictures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "store"
    monkeypatch.setenv("FACEMASK_STORE", str(folder))
    for seed in (0, 3):
        model = torchscript(TinyGraph(seed=seed))
        publish(folder, {MODEL: model}, bundle_facts(model))
    old, new = versions(folder)
    draw_folders(tmp_path / "pictures", {"cat": 12, "dog": 12})
    (tmp_path / "pictures/cat/broken.jpg").write_bytes(b"x")
    (tmp_path / "pictures/cat/notes.txt").write_text("x")
    assert main(["compare", old, new, "--on", str(tmp_path / "pictures")]) == 0
    text = capsys.readouterr().out
    assert re.search(rf"^A  {old}  [\d.]+% balanced accuracy, answers [\d.]+%$", text, re.M)
    assert "on the same 24 pictures, a difference of" in text
    fixed, broken = (int(n) for n in re.findall(r"^(?:fixed|broken) by B: (\d+)$", text, re.M))
    assert fixed + broken > 0
    assert len(re.findall(r"^  (?:cat|dog)/\d+\.jpg: (?:cat -> dog|dog -> cat)$", text, re.M)) == (
        fixed + broken
    )
    assert "not compared: 2" in text
    assert "  cat/notes.txt: no picture by its name" in text
    assert "  cat/broken.jpg: Not a picture that is read here" in text


@pytest.mark.parametrize(
    ("folders", "fact"),
    [
        ({}, "holds no pictures: one folder per class is needed, named cat, dog"),
        ({"cat": 1, "bird": 1}, "bird is no class of both models: they share cat, dog"),
    ],
)
def test_compare_names_what_is_wrong_with_the_folder(
    folders: dict[str, int], fact: str, store: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    draw_folders(tmp_path / "pictures", folders)
    (tmp_path / "pictures").mkdir(exist_ok=True)
    first, *_ = versions(store)
    assert main(["compare", first, first, "--on", str(tmp_path / "pictures")]) == 1
    assert fact in capsys.readouterr().err
    assert main(["compare", first, first, "--on", str(tmp_path / "none")]) == 1
    assert "is no folder" in capsys.readouterr().err
