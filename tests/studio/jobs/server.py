"""A studio whose jobs are the stand-in: `python -m tests.studio.jobs.server FOLDER MODE`."""

import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn

from studio.app import create_app
from studio.jobs.files import progress_file
from studio.jobs.queue import Job
from studio.settings import Settings
from tests.studio.jobs import fake_training


class FakeWork:
    """Runs the stand-in in one mode."""

    def __init__(self, mode: str) -> None:
        self.mode = mode

    def prepare(self, job: Job, folder: Path) -> Sequence[str]:
        return [sys.executable, fake_training.__file__, self.mode, progress_file(folder).name]

    def finish(self, job: Job, folder: Path, finished: Mapping[str, Any]) -> dict[str, Any]:
        return {"bundle": finished["version"]}


def main() -> None:
    folder = Path(sys.argv[1])
    app = create_app(Settings(data=folder, store=folder / "store"), work=FakeWork(sys.argv[2]))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        sys.stdout.write(f"http://127.0.0.1:{listening.getsockname()[1]}\n")
        sys.stdout.flush()
        config = uvicorn.Config(app, log_level="warning")
        uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
