"""Commands, on the same database as the server."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from studio.cli.main import main
from studio.database import open_database
from studio.database.tables import audit_log
from studio.keys import hash_of
from tests import WAIT_S
from tests.images import draw_folders
from tests.studio.jobs import fake_training
from tests.studio.runs.bundles import answers, publish_run, run_of

Command = Callable[..., tuple[int, Any]]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return draw_folders(tmp_path / "source", {"bar": 4, "disc": 3})


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run a command with --json; return its status and its document, or its lines."""
    monkeypatch.setenv("FACEMASK_STUDIO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("FACEMASK_STORE", str(tmp_path / "store"))

    def run(*arguments: object, as_json: bool = True) -> tuple[int, Any]:
        words = [str(word) for word in arguments]
        status = main([*words, "--json"] if as_json else words)
        captured = capsys.readouterr()
        if status and not captured.out:
            return status, captured.err.strip()
        return status, json.loads(captured.out) if as_json else captured.out.splitlines()

    return run


def test_pictures_come_in_are_labelled_frozen_and_go_out(
    command: Command, source: Path, tmp_path: Path
) -> None:
    (source / "notes.txt").write_text("no picture")
    status, found = command("import", "Shapes", source, "--by", "ann")
    assert (status, found["added"], found["duplicates"]) == (0, 7, 0)
    assert [one["path"] for one in found["refused"]] == ["notes.txt"]
    assert command("import", "Shapes", source)[1]["duplicates"] == 7
    assert command("label", "Shapes", "disc", "bar/000.jpg")[1]["changed"] == 1
    status, found = command("label", "Shapes", "disc", "bar/nothing.jpg")
    assert (status, found["unmatched"]) == (1, ["bar/nothing.jpg"])
    first = command("version", "Shapes", "--note", "one moved")[1]
    assert (first["number"], first["created"]) == (1, True)
    assert not command("version", "Shapes")[1]["created"]
    command("label", "Shapes", "-", "disc/000.jpg", "--by", "ben")
    listed = command("version", "Shapes", "--list")[1]["versions"]
    assert [(one["number"], one["note"]) for one in listed] == [(1, "one moved")]

    out = tmp_path / "out"
    assert command("export", "Shapes", out, "--version", first["id"])[1]["pictures"] == 7
    assert len(list((out / "disc").iterdir())) == 4
    assert command("export", "Shapes", out)[0] == 2  # it is there already
    assert command("export", "Shapes", tmp_path / "out.zip")[0] == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert archive.testzip() is None
    status, again = command("import", "Copy", tmp_path / "out.zip")
    assert (status, again["added"]) == (0, 7)
    projects = command("projects")[1]["projects"]
    assert {one["name"]: one["counts"]["pictures"] for one in projects} == {"Copy": 7, "Shapes": 7}


def test_what_cannot_be_read_is_listed_and_the_rest_comes_in(
    command: Command, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACEMASK_STUDIO_MAX_FILE_BYTES", "100000")
    os.mkfifo(source / "bar" / "pipe.jpg")
    (source / "bar" / "broken.jpg").symlink_to("gone.jpg")
    (source / "bar" / "linked").symlink_to(source / "disc")
    (source / "disc" / "large.jpg").write_bytes(b"x" * 100_001)
    (source / os.fsdecode(b"disc/\xff.txt")).write_bytes(b"x")
    read = Path.read_bytes

    def read_bytes(path: Path) -> bytes:
        if path.name == "001.jpg":
            raise PermissionError(13, "Permission denied")
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    status, found = command("import", "Shapes", source)
    assert (status, found["added"]) == (0, 5)
    reasons = {one["path"]: one["reason"] for one in found["refused"]}
    assert sorted(reasons) == [
        "bar/001.jpg",
        "bar/broken.jpg",
        "bar/linked",
        "bar/pipe.jpg",
        "disc/001.jpg",
        "disc/large.jpg",
        "disc/\ufffd.txt",
    ]
    assert "Permission denied" in reasons["bar/001.jpg"]
    assert "larger than" in reasons["disc/large.jpg"]


def test_a_project_is_not_called_by_what_is_no_text(command: Command, source: Path) -> None:
    name = os.fsdecode(b"a\xff")
    status, message = command("import", name, source)
    assert (status, "cannot be seen" in message) == (1, True)
    assert command("version", name)[0] == 1


@pytest.mark.parametrize("form", ["label-studio", "cloud-annotations"])
def test_labels_of_other_tools_go_out_and_come_in(
    form: str, command: Command, source: Path, tmp_path: Path
) -> None:
    command("import", "Shapes", source)
    target = tmp_path / "labels.json"
    assert command("export", "Shapes", target, "--format", form)[0] == 0
    command("label", "Shapes", "disc", "bar/000.jpg", "bar/001.jpg")
    status, found = command("import", "Shapes", target)
    assert (status, found["rows"], found["unmatched"]) == (0, 7, [])
    (project,) = command("projects")[1]["projects"]
    assert [one["pictures"] for one in project["classes"]] == [4, 3]


def test_runs_are_listed_compared_promoted_and_rolled_back(
    command: Command, source: Path, tmp_path: Path
) -> None:
    command("import", "Shapes", source)
    store = tmp_path / "store"
    bundles = [publish_run(store, answers(60, wrong=range(n))) for n in (0, 9)]
    database = open_database(f"sqlite:///{tmp_path / 'data' / 'studio.db'}")
    one, two = (run_of(database, store, 1, bundle) for bundle in bundles)
    assert command("runs", "Shapes")[1]["runs"][0]["id"] == two
    compared = command("compare", one, two)[1]
    assert compared["paired"]["broken"] == 9
    assert command("promote", one)[1]["version"] == bundles[0]
    status, sentence = command("promote", two)
    assert status == 1
    assert "not promoted without a reason" in sentence
    done = command("promote", two, "--reason", "a drill", "--by", "ann")[1]
    assert not done["gate"]["open"]
    assert command("rollback")[1]["version"] == bundles[0]
    live = command("live")[1]
    assert (live["run"], len(live["history"])) == (one, 3)
    assert any("a drill" in line for line in command("live", as_json=False)[1])
    with database.read() as connection:
        actions = [row.action for row in connection.execute(audit_log.select())]
    assert actions == ["cli import", "cli promote", "cli promote", "cli rollback"]
    database.close()


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("runs", "Nope"), 1, "There is no project 'Nope': there is none yet."),
        (("compare", 1, 2), 1, "There is no run 1."),
        (("promote", 1), 1, "There is no run 1."),
        (("cancel", 4), 1, "There is no job 4."),
        (("import", "Shapes", "/nothing/here"), 1, "There is no file or folder /nothing/here."),
        (("rollback",), 1, "There is no store"),
        (("import", "Shapes", "/dev/null"), 1, "This is not a zip file that can be read"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(
    words: tuple[object, ...], status: int, sentence: str, command: Command
) -> None:
    found = command(*words)
    assert found[0] == status
    assert sentence in found[1]
    assert len(found[1].splitlines()) == 1


def test_label_needs_pictures_or_a_table(command: Command, source: Path, tmp_path: Path) -> None:
    command("import", "Shapes", source)
    status, sentence = command("label", "Shapes", "bar")
    assert (status, "Name pictures after the label" in sentence) == (2, True)
    table = tmp_path / "corrections.csv"
    table.write_text("file,label\nbar/000.jpg,disc\n")
    assert command("label", "Shapes", table)[1]["changed"] == 1


@pytest.mark.parametrize(
    ("settings", "status", "reason"),
    [
        ({"DATA": "/dev/null/studio"}, 6, "/dev/null/studio: Not a directory"),
        ({"DATABASE": "postgresql://ann:secret@127.0.0.1:9/none"}, 1, "ann:***@127.0.0.1:9/none"),
        ({"DATABASE": "sqlite:////dev/null/studio.db"}, 1, "cannot be made"),
        ({"PORT": "port"}, 2, "FACEMASK_STUDIO_PORT='port'"),
    ],
)
def test_a_server_that_cannot_start_says_why(
    settings: dict[str, str],
    status: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("FACEMASK_STUDIO_DATA", str(tmp_path))
    monkeypatch.setenv("FACEMASK_STUDIO_PORT", "0")
    for name, value in settings.items():
        monkeypatch.setenv(f"FACEMASK_STUDIO_{name}", value)
    assert main([]) == status
    captured = capsys.readouterr()
    assert captured.out == ""  # no address is announced
    assert reason in captured.err
    assert "Traceback" not in captured.err


def test_key_is_made_with_its_entry(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "Ann B", "label"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("entry, for FACEMASK_STUDIO_KEYS or its file: Ann B:label:")
    assert main(["key", "Ann B", "look", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["entry"] == f"Ann B:look:{hash_of(document['key'])}"
    assert main(["key", "a:b", "label"]) == 2


# A package `training` that stands before the real one on the path.
FAKE = f"""
import runpy, sys
path = sys.argv[sys.argv.index("--progress-file") + 1]
sys.argv = ["fake", MODE, path]
runpy.run_path({fake_training.__file__!r}, run_name="__main__")
"""


@pytest.mark.parametrize(("mode", "status"), [("fail", 4), ("die", 4)])
def test_failed_training_has_a_status_of_its_own(
    mode: str,
    status: int,
    command: Command,
    source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE.replace("MODE", repr(mode)))
    monkeypatch.setattr("studio.runs.work.TRAINING", (sys.executable, str(fake)))
    command("import", "Shapes", source)
    found, document = command("train", "Shapes", "--views", 0)
    assert found == status
    assert document["state"] == "failed"
    jobs = command("jobs", "Shapes")[1]["jobs"]
    assert [(job["kind"], job["state"]) for job in jobs] == [("fit", "failed")]


def test_wrong_option_of_a_training(command: Command, source: Path) -> None:
    command("import", "Shapes", source)
    status, sentence = command("train", "Shapes", "--views", "many")
    assert (status, "Option views" in sentence) == (2, True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run the studio as a user does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "studio", "--port", "0"],
        env=os.environ
        | {"FACEMASK_STUDIO_DATA": str(tmp_path / "data"), "PYTHONUNBUFFERED": "1"}
        | {"FACEMASK_STORE": str(tmp_path / "store")},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("studio: http://127.0.0.1:")
    yield line.split()[1], process
    process.kill()
    process.wait()
    process.stdout.close()


def test_commands_work_while_the_server_runs_and_it_stops(
    server: tuple[str, subprocess.Popen[str]], command: Command, source: Path
) -> None:
    url, process = server
    until = time.monotonic() + WAIT_S
    while True:
        try:
            httpx.get(f"{url}/livez").raise_for_status()
            break
        except httpx.HTTPError:
            assert time.monotonic() < until
            time.sleep(0.1)
    assert command("import", "Shapes", source)[1]["added"] == 7
    with httpx.Client(base_url=url, timeout=WAIT_S) as client:
        project = client.get("/api/projects").json()["projects"][0]
        docs = client.get("/docs")
    assert project["counts"]["pictures"] == 7
    assert docs.status_code == 200
    assert "https://" not in docs.text.replace("https://fastapi", "")
    # A job of the command is the server's to run: nobody else may.
    job = command("train", "Shapes", "--no-wait")[1]
    until = time.monotonic() + WAIT_S
    while httpx.get(f"{url}/api/jobs/{job['id']}", timeout=WAIT_S).json()["state"] == "queued":
        assert time.monotonic() < until
        time.sleep(0.1)
    assert command("cancel", job["id"])[1]["state"] in ("cancelled", "failed")
    with httpx.stream("GET", f"{url}/api/jobs/{job['id']}/events", timeout=WAIT_S) as stream:
        assert stream.status_code == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(WAIT_S) == 0
