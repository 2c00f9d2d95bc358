"""Output of commands that nobody reads, that has no room or another encoding."""

import os
import subprocess
import sys

import pytest

COMMAND = """
import sys
from models.terminal import run_command, write_error, write_line
def command():
    write_line("\\u65e5\\u672c \\udce9")
    write_error("\\u65e5\\u672c")
    return 7
sys.exit(run_command(command))
"""
HELP = """
import argparse, sys
from models.terminal import run_command
sys.exit(run_command(lambda: argparse.ArgumentParser().parse_args(["--help"]) and 0))
"""


def run(source: str, redirection: str, encoding: str = "utf-8:strict") -> tuple[int, str, str]:
    """Return status, output and error of a program run by a shell."""
    script = f'"$0" -c "$1" {redirection}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, source],
        capture_output=True,
        text=True,
        errors="replace",
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": "."},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_characters_that_the_encoding_lacks_are_escaped(encoding: str) -> None:
    status, output, error = run(COMMAND, "", encoding)
    assert (status, output, error) == (7, "\\u65e5\\u672c \\udce9\n", "\\u65e5\\u672c\n")


@pytest.mark.parametrize("source", [COMMAND, HELP])
def test_command_ends_quietly_if_nobody_reads_its_output(source: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-c", source], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert done.returncode in (141, 0)  # argparse ignores it where nothing is buffered
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


@pytest.mark.parametrize("source", [COMMAND, HELP])
def test_command_names_a_full_output(source: str) -> None:
    status, _, error = run(source, "> /dev/full")
    assert status == 6
    assert error.splitlines()[-1] == (
        "error: standard output cannot be written to (No space left on device)."
    )
    assert "Traceback" not in error


@pytest.mark.parametrize("redirection", [">&-", "2>&-", "2> /dev/full", ">&- 2>&-"])
def test_command_runs_without_standard_streams(redirection: str) -> None:
    status, _, error = run(COMMAND, redirection)
    assert status == 7
    assert "Traceback" not in error
