"""Work beside the event loop, on threads that nobody waits for when the service ends.

`asyncio.to_thread` borrows from a pool that the interpreter joins before it exits: a stop
would wait for a model that is half loaded, or for a disk that does not answer.
"""

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

_THREAD_NAME: Final = "run_in_background_thread"
LANE_THREAD_PREFIX: Final = "lane-"
"""How names of lanes' threads begin."""


async def run_in_background_thread(run: Callable[[], T], *, discard: Callable[[T], None] | None = None) -> T:
    """Run a function on a thread of its own.

    Args:
        run: What it returns or raises is returned or raised here.
        discard: Takes the result, on the loop, if nobody waits for it any more.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def work() -> None:
        error: BaseException | None = None
        try:
            result = run()
        except BaseException as raised:  # noqa: BLE001  raised again where it is waited for
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
    """Whether any such thread is still at work, or a lane of an engine."""
    return any(thread.name.startswith((_THREAD_NAME, LANE_THREAD_PREFIX)) for thread in threading.enumerate())


def exit_if_threads_run() -> None:
    """End the process here, with status 0, if any of them is.

    The interpreter would take the ground from under them: code that is not Python's cannot be
    interrupted, and is aborted.
    """
    if has_running_threads():
        sys.stdout.flush()
        os._exit(0)
