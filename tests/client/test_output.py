"""Outputs of the command: names of any bytes, streams of any encoding, full or closed."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import WAIT_S
from tests.client.stub import serving

NAMES = [b"caf\xe9.png", b"\x1b[31mred.png", b"a\nb.png", "\u65e5\u672c.png".encode()]
SHOWN = ["caf\ufffd.png", "\ufffd[31mred.png", "a\ufffdb.png", "\u65e5\u672c.png"]


@pytest.fixture(scope="module", name="address")
def _address() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"one image")
    return tmp_path


def run(
    address: str, folder: Path, *options: str, shell: str = '"$@"', encoding: str = "utf-8:strict"
) -> subprocess.CompletedProcess[bytes]:
    """Run the command on `.` in a shell line, in which "$@" is the command."""
    command = [sys.executable, "-m", "facemask_client", address, ".", *options]
    return subprocess.run(
        ["bash", "-c", shell, "bash", *command],
        cwd=folder,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=WAIT_S,
        check=False,
    )


def test_main_prints_names_of_any_bytes(address: str, folder: Path) -> None:
    done = run(address, folder)
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().removesuffix("\n").split("\n")
    assert sorted(line.split("\t")[0] for line in lines) == sorted(SHOWN)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "ascii"])
def test_main_prints_names_in_any_encoding(encoding: str, address: str, folder: Path) -> None:
    done = run(address, folder, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"\u65e5\u672c.png" in done.stdout
    assert b"\x1b" not in done.stdout


def test_main_writes_names_of_any_bytes(address: str, folder: Path) -> None:
    done = run(address, folder, "--csv", "../t.csv", "--json", "../t.jsonl")
    assert (done.returncode, done.stderr) == (0, b"4 pictures: 4 mask.\n")
    with (folder.parent / "t.csv").open(encoding="utf-8", newline="") as file:
        assert sorted(row["file"] for row in csv.DictReader(file)) == sorted(SHOWN)
    lines = (folder.parent / "t.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert sorted(json.loads(line)["file"] for line in lines) == sorted(SHOWN)


@pytest.mark.parametrize("options", [[], ["--csv", "/dev/stdout"], ["--json", "/dev/stdout"]])
def test_main_ends_quietly_if_nobody_reads_the_output(
    options: list[str], address: str, folder: Path
) -> None:
    done = run(address, folder, *options, shell='"$@" | true; exit ${PIPESTATUS[0]}')
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize(
    ("shell", "output"),
    [
        ('"$@" > /dev/full', b"standard output"),
        ('"$@" --csv /dev/full', b"/dev/full"),
        ('"$@" --json /dev/full', b"/dev/full"),
    ],
)
def test_main_returns_2_and_names_an_output_that_is_full(
    shell: str, output: bytes, address: str, folder: Path
) -> None:
    done = run(address, folder, shell=shell)
    assert done.returncode == 2
    assert done.stderr == b"error: " + output + b": No space left on device.\n"


def test_main_returns_2_if_standard_output_is_closed(address: str, folder: Path) -> None:
    done = run(address, folder, shell='"$@" >&-')
    assert (done.returncode, done.stderr) == (2, b"error: standard output: it is closed.\n")


@pytest.mark.parametrize("shell", ['"$@" 2>&-', '"$@" 2> /dev/full'])
def test_main_answers_without_a_standard_error(shell: str, address: str, folder: Path) -> None:
    (folder / "notes.txt").touch()
    done = run(address, folder, shell=shell)
    assert done.returncode == 0
    assert done.stdout.count(b"\n") == len(NAMES)


def test_main_leaves_the_files_alone_if_the_service_cannot_be_reached(folder: Path) -> None:
    table = folder.parent / "kept.csv"
    table.write_text("kept")
    assert run("http://127.0.0.1:81o1", folder, "--csv", "../kept.csv").returncode == 3
    assert table.read_text() == "kept"
