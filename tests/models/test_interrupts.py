"""Interrupts of a command: as `KeyboardInterrupt`, after an import, or at once."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from models.interrupts import exit_at_interrupt, raise_interrupts
from tests import ROOT

# An import as of many packages: an exception on the way is suppressed. It ends after the signal.
_PACKAGE = """
import contextlib, os
print("importing", flush=True)
with contextlib.suppress(BaseException):
    os.read(0, 1)
complete = True
"""
_PROGRAM = """
import os, signal, sys, time
from models.interrupts import exit_at_interrupt, raise_interrupts
raise_interrupts()
{program}
"""
_WAITS_AFTERWARDS = """
try:
    import slow_package
    os.read(0, 1)  # a system call that never returns
except KeyboardInterrupt:
    print("interrupted", slow_package.complete)
"""
_EXITS = """
with exit_at_interrupt(130, lambda: os.write(1, b"before")):
    import slow_package
print("never")
"""
_EXITS_ONCE = """
def before():
    os.write(1, b"before")
    os.kill(os.getpid(), signal.SIGINT)  # as somebody who presses Ctrl-C twice
    time.sleep(0)

with exit_at_interrupt(130, before):
    import slow_package
"""
_IS_BACK = """
with exit_at_interrupt(130, lambda: print("never")):
    import slow_package
try:
    print("waiting", flush=True)
    os.read(0, 1)
except KeyboardInterrupt:
    print("interrupted")
"""


def run_and_interrupt(
    folder: Path, program: str, number: signal.Signals, *, after: str
) -> tuple[int, list[str]]:
    """Run a program, send the signal once it has printed a line, return its status and output.

    An import that the signal does not end goes on afterwards.
    """
    (folder / "slow_package.py").write_text(_PACKAGE)
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM.format(program=program)],
        env={"PYTHONPATH": f"{ROOT}:{folder}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if line.strip() == after:
                process.send_signal(number)
            if line.strip() == "importing":
                with contextlib.suppress(BrokenPipeError):  # the signal has ended it
                    os.write(process.stdin.fileno(), b"x")
        return process.wait(), lines


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_in_an_import_is_raised_after_it(tmp_path: Path, number: signal.Signals) -> None:
    status, lines = run_and_interrupt(tmp_path, _WAITS_AFTERWARDS, number, after="importing")
    assert (status, lines) == (0, ["importing", "interrupted True"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_ends_a_process_that_only_imports(tmp_path: Path, number: signal.Signals) -> None:
    status, lines = run_and_interrupt(tmp_path, _EXITS, number, after="importing")
    assert (status, lines) == (130, ["importing", "before"])


def test_second_interrupt_does_not_reach_the_end_of_the_first(tmp_path: Path) -> None:
    status, lines = run_and_interrupt(tmp_path, _EXITS_ONCE, signal.SIGINT, after="importing")
    assert (status, lines) == (130, ["importing", "before"])


def test_interrupt_is_raised_again_after_the_block(tmp_path: Path) -> None:
    status, lines = run_and_interrupt(tmp_path, _IS_BACK, signal.SIGTERM, after="waiting")
    assert (status, lines) == (0, ["importing", "waiting", "interrupted"])


def test_handlers_come_back_after_the_imports() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with exit_at_interrupt(130, lambda: None):
        assert signal.getsignal(signal.SIGTERM) not in before
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert after == before


def test_interrupt_outside_an_import_is_raised_at_once() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    try:
        raise_interrupts()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)
