"""`python -m service --help`: serve HTTP with the settings from the environment."""

import contextlib
import errno
import functools
import os
import socket
import sys
import tempfile
from collections.abc import Sequence
from typing import Any, Final

from pydantic import ValidationError

from models.allocator import limit_retained_memory
from models.environment import read_variable
from models.errors import reason_of
from models.interrupts import raise_interrupts
from models.terminal import (
    NUMPY_WARNING,
    run_command,
    write_error,
    write_if_possible,
    write_line,
)
from models.text import clean
from service.process.background import exit_if_threads_run
from service.process.command_line import apply_options, check_lines, parse_options
from service.settings import Settings, faults_of, warn_of_variables
from service.telemetry.logging import configure_logging, format_event

_NOT_SOUND: Final = 1  # exit status
_BAD_SETTING: Final = 2  # exit status
_CANNOT_LISTEN: Final = 3  # exit status
_SYSTEM_FAILED: Final = 6  # exit status, as of the other commands
# While a worker loads PyTorch it does not answer its supervisor.
_WORKER_TIMEOUT_S: Final = 60


def main(argv: Sequence[str] | None = ()) -> int:
    """Serve until a signal stops the service, and return the exit status.

    Args:
        argv: Arguments of the command line; None for those of the process.
    """
    options = parse_options(argv)
    apply_options(options)
    try:
        settings = Settings()
    except ValidationError as error:
        for fault in faults_of(error):
            _write_error(fault)
        return _BAD_SETTING
    configure_logging(settings.log_format)
    warn_of_variables()
    return _check(settings) if options.check else _serve(settings)


def _check(settings: Settings) -> int:
    lines, is_sound = check_lines(settings)
    for line in lines:
        write_line(clean(line))
    write_line("The service can answer." if is_sound else "The service cannot answer.")
    return 0 if is_sound else _NOT_SOUND


def _serve(settings: Settings) -> int:
    try:
        listening = _listen(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        _write_error(_reason(error, settings))
        return _CANNOT_LISTEN
    _raise_open_files_limit()
    try:
        if settings.workers == 1:
            return _serve_in_this_process(settings, listening)
        return _serve_in_workers(settings, listening)
    except OSError as error:  # no process, no free descriptor, a full disk
        where = f"{error.filename}: " if error.filename else ""
        _write_error(clean(f"the service cannot continue ({where}{reason_of(error)})."))
        listening.close()
        return _SYSTEM_FAILED


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()  # or another process could take the port until uvicorn listens
    except OSError:
        listening.close()
        raise
    return listening


def _reason(error: OSError | UnicodeError, settings: Settings) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"port {settings.port} is taken on {settings.host}: stop what listens there, "
            "or set FACEMASK_PORT to another."
        )
    return f"cannot listen on {settings.host}, port {settings.port} ({reason_of(error)})."


def _raise_open_files_limit() -> None:
    """Allow as many open files as the system does: each connection is one, shells allow 1,024."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # not POSIX, or not permitted
        import resource

        _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


def _serve_in_this_process(settings: Settings, listening: socket.socket) -> int:
    # A folder for several processes, inherited from elsewhere; an empty value would mean the
    # working folder.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    limit_retained_memory()
    # Imported here: they take a second or two, and a taken port is reported before that.
    from service.inference.model_manager import create_model_manager
    from service.telemetry.metrics import Metrics

    metrics = Metrics()
    model_manager = create_model_manager(settings, metrics)
    model_manager.poll_in_background()  # loads the model while the imports below run
    import uvicorn

    from service.app import create_app

    app = create_app(settings, model_manager=model_manager, metrics=metrics)
    config = uvicorn.Config(app, **server_options(settings))
    # uvicorn raises the signal that stopped it once more when it has shut down.
    raise_interrupts()
    with contextlib.suppress(KeyboardInterrupt):
        _announce(listening, settings)
        uvicorn.Server(config).run(sockets=[listening])
    return 0


def _serve_in_workers(settings: Settings, listening: socket.socket) -> int:
    """Serve one socket from several worker processes, and supervise them."""
    import uvicorn

    from service.process.supervisor import Supervisor

    config = uvicorn.Config(
        "service.app:from_environment",
        factory=True,
        workers=settings.workers,
        timeout_worker_healthcheck=_WORKER_TIMEOUT_S,
        **server_options(settings),
    )
    supervisor = Supervisor(config, sockets=[listening])  # handles signals from here on
    try:
        folder = tempfile.TemporaryDirectory(prefix="facemask-metrics-", ignore_cleanup_errors=True)
    except OSError as error:
        _write_error(
            f"{settings.workers} workers share their metrics in a temporary folder, and "
            f"none can be made ({reason_of(error)}): give the service a writable /tmp, set TMPDIR, "
            "or set FACEMASK_WORKERS to 1."
        )
        listening.close()
        return _SYSTEM_FAILED
    with folder as path:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = path  # inherited by the workers
        given = os.environ.get("PYTHONWARNINGS")
        ignored = f"ignore:{NUMPY_WARNING}"  # they import PyTorch before anything of ours runs
        os.environ["PYTHONWARNINGS"] = f"{given},{ignored}" if given else ignored
        _announce(listening, settings)
        supervisor.run()
    return 0


def server_options(settings: Settings) -> dict[str, Any]:
    """Return uvicorn's options."""
    from service.limits.http_protocol import BoundedHttpProtocol, ConnectionLimits

    return {
        "http": functools.partial(
            BoundedHttpProtocol, limits=ConnectionLimits.from_settings(settings)
        ),
        "timeout_keep_alive": settings.idle_s,
        "timeout_graceful_shutdown": settings.drain_s,
        "log_config": None,
        "access_log": False,
        # The service does not use the client's address.
        "proxy_headers": False,
        "server_header": False,
        "ws": "none",
    }


def _announce(listening: socket.socket, settings: Settings) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    line = f"listening on http://{shown}:{port} (documentation: /docs)"
    write_if_possible(format_event("info", line) if settings.log_format == "json" else line)


def _write_error(sentence: str) -> None:
    """Write the error that ends the program, in the format of the log."""
    if (read_variable("FACEMASK_LOG_FORMAT") or "").lower() == "json":
        write_error(format_event("error", sentence))
    else:
        write_error(f"error: {sentence}")


def run() -> None:
    """Serve, then exit the process (console script)."""
    status = run_command(functools.partial(main, None))
    if status == 0:
        exit_if_threads_run()
    sys.exit(status)


if __name__ == "__main__":
    run()
