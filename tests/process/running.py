"""The application on a real port, in a thread."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from tests import WAIT_S


@contextlib.contextmanager
def running(app: ASGIApp, *, port: int = 0, **config: Any) -> Iterator[str]:
    """Serve an application, and yield its address."""
    server = uvicorn.Server(uvicorn.Config(app, **{"log_config": None, **config}))
    with socket.create_server(("127.0.0.1", port)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(WAIT_S)
    assert not thread.is_alive()
