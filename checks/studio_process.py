"""The studio as a process that is killed and started again, and requests that are cut."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ANSWER_S: Final = 30.0
"""Max wait for an answer."""

_START_S: Final = 120.0
_POLL_S: Final = 0.02
_ROOT: Final = Path(__file__).resolve().parent.parent


class Cut(Exception):
    """A request has no answer: it was cut, or the studio was killed."""


@dataclass
class Studio:
    """The studio as a process that is killed and started again."""

    folder: Path
    database: str
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = os.environ | {
            "FACEMASK_STUDIO_DATA": str(self.folder),
            "FACEMASK_STUDIO_PORT": str(self.port),
            "FACEMASK_STUDIO_DATABASE": self.database,
            "FACEMASK_STORE": str(self.folder / "store"),
        }
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "studio"],
                cwd=_ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            try:
                self.ask("GET", "/livez")
            except Cut:
                if self.process.poll() is not None:
                    break
                time.sleep(_POLL_S)
            else:
                return
        log_text = (self.folder / "log.txt").read_text(errors="replace")
        raise RuntimeError(f"the studio does not start:\n{log_text[-3000:]}")

    def kill(self) -> None:
        """Kill it without warning."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def ask(
        self, method: str, path: str, body: bytes = b"", *, cut: random.Random | None = None
    ) -> Any:
        """Send a request and return the answer's JSON.

        Args:
            method: HTTP method.
            path: Path and query.
            body: Body, JSON unless it is empty.
            cut: Where to cut the request: in its middle, or before its answer.

        Raises:
            Cut: There is no answer.
        """
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nConnection: close\r\n"
            f"X-Requested-With: studio\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        request = head.encode() + body
        received = b""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_S) as opened:
                if cut is not None and cut.random() < 0.5:
                    opened.sendall(request[: cut.randrange(1, len(request))])
                    raise Cut
                opened.sendall(request)
                if cut is not None:
                    time.sleep(cut.random() * 0.02)
                    raise Cut
                while chunk := opened.recv(65_536):
                    received += chunk
        except OSError as error:
            raise Cut from error
        header, separator, content = received.partition(b"\r\n\r\n")
        length = next(
            (
                int(line.split(b":")[1])
                for line in header.lower().split(b"\r\n")
                if line.startswith(b"content-length:")
            ),
            -1,
        )
        if not separator or len(content) != length:
            raise Cut
        if not header.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            raise RuntimeError(f"{method} {path}: {received[:2000].decode(errors='replace')}")
        return json.loads(content)
