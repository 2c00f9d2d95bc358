"""`python -m service`: uvicorn with the settings from the environment."""

import contextlib
import errno
import functools
import os
import signal
import socket
import sys
import tempfile
from types import FrameType
from typing import Any

from pydantic import ValidationError

from service.process.allocator import limit_retained_memory
from service.process.background import exit_if_threads_run
from service.settings import Settings
from service.telemetry.logging import configure_logging

_BAD_SETTING = 2
_CANNOT_LISTEN = 3
# Loading PyTorch keeps a worker from answering its supervisor for a while.
_WORKER_SILENT_S = 60


def main() -> int:
    """Serve until told to stop; returns the exit status."""
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in error.errors():
            name = "_".join(str(step) for step in fault["loc"]).upper()
            if name == "FACEMASK_PORT" and name not in os.environ:
                name = "PORT"
            name = name if name.startswith(("FACEMASK", "PORT")) else f"FACEMASK_{name}"
            reason = fault["msg"].removeprefix("Value error, ")
            print(f"error: {name}={fault['input']!r}: {reason}", file=sys.stderr)
        return _BAD_SETTING
    try:
        listening = _listen(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        print(f"error: {_why(error, settings)}", file=sys.stderr)
        return _CANNOT_LISTEN

    _allow_open_files()
    if settings.workers == 1:
        _serve_here(settings, listening)
    else:
        _serve_in_workers(settings, listening)
    return 0


def _serve_here(settings: Settings, listening: socket.socket) -> None:
    limit_retained_memory()
    # These take a second or two, and a taken port should be told at once.
    from service.inference.model_manager import live_of
    from service.telemetry.metrics import Metrics

    configure_logging(settings.log_format)
    metrics = Metrics()
    live = live_of(settings, metrics)
    live.look_ahead()
    import uvicorn

    from service.app import create_app

    _announce(listening)
    app = create_app(settings, live=live, metrics=metrics)
    config = uvicorn.Config(app, **server_options(settings))
    # Once it has stopped in good order, uvicorn raises the signal that it was stopped by again.
    signal.signal(signal.SIGTERM, _stopped)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def _serve_in_workers(settings: Settings, listening: socket.socket) -> None:
    """Accept on one socket in several processes; this one loads no model and minds the others."""
    import uvicorn

    from service.process.supervisor import Supervisor

    config = uvicorn.Config(
        "service.app:from_environment",
        factory=True,
        workers=settings.workers,
        timeout_worker_healthcheck=_WORKER_SILENT_S,
        **server_options(settings),
    )
    supervisor = Supervisor(config, sockets=[listening])  # from here on, signals are heeded
    with tempfile.TemporaryDirectory(prefix="facemask-metrics-") as figures:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = figures  # theirs, by inheritance
        _announce(listening)
        supervisor.run()


def server_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is told."""
    from service.limits.http_protocol import Connection, limits_of

    return {
        "http": functools.partial(Connection, limits=limits_of(settings)),
        "timeout_keep_alive": settings.idle_s,
        "timeout_graceful_shutdown": settings.drain_s,
        "log_config": None,
        "access_log": False,
        # Nothing here reads the client's address.
        "proxy_headers": False,
        "server_header": False,
        "ws": "none",
    }


def _allow_open_files() -> None:
    """A connection is an open file, and many shells allow 1,024 unless more are asked for."""
    with contextlib.suppress(ImportError):  # other systems than POSIX ones
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _announce(listening: socket.socket) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"listening on http://{shown}:{port} (documentation: /docs)", flush=True)


def _stopped(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # or another process could take the port until uvicorn is up
    except OSError:
        listening.close()
        raise
    return listening


def _why(error: OSError | UnicodeError, settings: Settings) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"port {settings.port} is taken on {settings.host}: stop what listens there, "
            "or set FACEMASK_PORT to another."
        )
    reason = error.strerror if isinstance(error, OSError) else error
    return f"cannot listen on {settings.host}, port {settings.port} ({reason})."


if __name__ == "__main__":
    status = main()
    if status == 0:
        exit_if_threads_run()
    sys.exit(status)
