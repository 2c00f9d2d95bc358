"""A stand-in for `python -m training`: writes the events of a job, as fast or as slow as asked."""

import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType


def write(path: str, event: str, **members: object) -> None:
    moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps({"time": moment, "event": event, **members}) + "\n")


def main() -> int:
    mode, path = sys.argv[1], sys.argv[2]
    sys.stdout.write("log line\n")
    sys.stdout.flush()
    write(path, "started", pid=os.getpid())
    if mode == "stubborn":  # does not end by itself, nor by SIGTERM; has a child that computes
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        Path(path).with_name("child.pid").write_text(str(child.pid))
        while True:
            time.sleep(1)
    if mode == "die":
        write(path, "progress", step="features", done=1, total=2, overall=0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    if mode == "fail":
        write(path, "failed", exit_status=3, code="no_pictures", message="There is no picture.")
        return 3
    if mode == "wait":  # until a file appears

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            write(path, "failed", exit_status=130, code="interrupted", message="Interrupted.")
            raise SystemExit(130)

        signal.signal(signal.SIGTERM, interrupt)
        number = 0
        while not Path(path).with_name("go").exists():
            write(path, "progress", step="features", done=number, total=100, overall=0.1)
            number += 1
            time.sleep(0.01)
    for number in range(20):
        write(path, "progress", step="features", done=number, total=20, overall=number / 20)
    write(path, "finished", version="20261122T204207Z-1f0c9a77", promoted=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
