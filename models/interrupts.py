"""Interrupts of a command by Ctrl-C or SIGTERM."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final

_NUMBERS: Final = (signal.SIGINT, signal.SIGTERM)
_RETRY_S: Final = 0.05
_IMPORT_SYSTEM: Final = "<frozen importlib."


def raise_interrupts() -> None:
    """Raise `KeyboardInterrupt` in the main thread on SIGINT and SIGTERM, but not in an import.

    Packages suppress exceptions of what they import, or go on half imported: the interrupt would be
    lost, or the command would end with an error of the package. In an import it waits for its end.
    """
    for number in _NUMBERS:
        signal.signal(number, _interrupt)


@contextlib.contextmanager
def exit_at_interrupt(status: int, before: Callable[[], None]) -> Iterator[None]:
    """End the process at once on SIGINT or SIGTERM in the block, which only imports.

    Args:
        status: Exit status.
        before: Called before the end, in the main thread.
    """

    def end(number: int, frame: FrameType | None) -> None:
        for each in _NUMBERS:  # `before` may hold a lock when the next one arrives
            signal.signal(each, signal.SIG_IGN)
        try:
            before()
        finally:
            os._exit(status)

    handlers = {number: signal.signal(number, end) for number in _NUMBERS}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> None:
    if not _is_import(frame):
        raise KeyboardInterrupt
    # To the main thread itself, so that a system call that it waits in ends, too.
    main = threading.main_thread().ident
    timer = threading.Timer(_RETRY_S, signal.pthread_kill, (main, number))
    timer.daemon = True
    timer.start()


def _is_import(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT_SYSTEM):
            return True
        frame = frame.f_back
    return False
