"""Background threads that do not delay the end of the process.

`asyncio.to_thread` uses a pool that the interpreter joins before it exits: shutdown would wait for
a half-loaded model, or for a disk that does not respond.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_THREAD_NAME: Final = "background"
LANE_THREAD_PREFIX: Final = "lane-"
"""Prefix of the names of the engines' worker threads."""


async def run_in_background_thread(
    run: Callable[[], T], *, discard: Callable[[T], None] | None = None
) -> T:
    """Run a function on a new daemon thread and return its result.

    Args:
        run: Function to run; its exception is raised here.
        discard: Called on the event loop with the result if the caller was cancelled.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        error: BaseException | None = None
        try:
            result = run()
        except BaseException as raised:  # noqa: BLE001  raised again in the caller
            error = raised

        def settle() -> None:
            if error is not None:
                if not future.done():
                    future.set_exception(error)
            elif not future.done():
                future.set_result(result)
            elif discard is not None:
                discard(result)

        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(settle)

    threading.Thread(target=work, name=_THREAD_NAME, daemon=True).start()
    return await future


def has_running_threads() -> bool:
    """Return True if a background thread or an engine's worker thread is running."""
    prefixes = (_THREAD_NAME, LANE_THREAD_PREFIX)
    return any(thread.name.startswith(prefixes) for thread in threading.enumerate())


def exit_if_threads_run() -> None:
    """Exit the process at once, with status 0, if background or worker threads are running.

    They may be in native code, which cannot be interrupted: the interpreter's shutdown would abort
    it.
    """
    if has_running_threads():
        with contextlib.suppress(OSError, AttributeError):  # the disk is full, or it is closed
            sys.stdout.flush()
        os._exit(0)
