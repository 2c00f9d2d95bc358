"""Run a module in this process, and end it with its parent: `... end_with_parent PID MODULE`.

A killed parent cannot end its child processes, which would else run on for ever.
"""

import os
import runpy
import signal
import sys
import threading
import time
from typing import Final

_POLL_S: Final = 0.5


def main() -> None:
    """Watch the parent in a thread, and run the module in the main thread."""
    parent, module = int(sys.argv[1]), sys.argv[2]
    threading.Thread(target=_watch, args=(parent,), name="watch-parent", daemon=True).start()
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
