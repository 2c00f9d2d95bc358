"""`python -m studio`: serve the pages, with `--with-service` the service, too."""

import argparse
import contextlib
import errno
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

from models.errors import reason_of
from models.terminal import write_error, write_if_possible
from models.text import clean
from studio.keys import Key, Role, new_key, parse_keys
from studio.problems import Refused
from studio.settings import Settings, warn_of_variables

if TYPE_CHECKING:
    from fastapi import FastAPI

_CANNOT_LISTEN_STATUS: Final = 3
_MAX_HEADER_BYTES: Final = 32 * 2**10
_IDLE_S: Final = 15
_DRAIN_S: Final = 5
_SERVICE_STOP_S: Final = 40.0


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the server."""
    parser.add_argument("--host", help="address to listen on (FACEMASK_STUDIO_HOST, 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (FACEMASK_STUDIO_PORT, 8001)")
    parser.add_argument(
        "--with-service",
        action="store_true",
        help="run the service beside the studio, on FACEMASK_PORT (8000); Ctrl-C ends both",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal ends it, and return the exit status."""
    settings = Settings.from_environment(host=arguments.host, port=arguments.port)
    configure_logging()
    for sentence in warn_of_variables():
        logging.getLogger("facemask.studio").warning("%s", sentence)
    keys, start_key = load_keys(settings)
    require_keys(settings, keys)
    try:
        listening = _listen(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        write_error(f"error: {_reason(error, settings)}")
        return _CANNOT_LISTEN_STATUS
    with contextlib.ExitStack() as stack:
        stack.callback(listening.close)
        if arguments.with_service:
            settings = stack.enter_context(_service(settings, listening))
        return _serve(settings, keys, listening, start_key)


def load_keys(settings: Settings) -> tuple[list[Key], str | None]:
    """Return the known keys, and the one made for this start, if the settings require one.

    Raises:
        Refused: The file of keys cannot be read, or an entry is invalid.
    """
    keys = parse_keys(settings.keys.replace(",", "\n"))
    if settings.keys_file is not None:
        try:
            keys += parse_keys(settings.keys_file.read_text(encoding="utf-8"))
        except OSError as error:
            raise Refused(
                f"FACEMASK_STUDIO_KEYS_FILE: {settings.keys_file} cannot be read "
                f"({reason_of(error)})."
            ) from error
        except ValueError as error:
            raise Refused(f"{settings.keys_file}: {error}") from error
    if not settings.start_key:
        return keys, None
    text, key = new_key("owner", Role.PROMOTE)
    return [*keys, key], text


def require_keys(settings: Settings, keys: list[Key]) -> None:
    """Raise if the studio would be reachable from the network without keys.

    Raises:
        Refused: The studio would listen on an address of the network, and has no key.
    """
    if not keys and not settings.is_local:
        raise Refused(
            f"On {settings.host} others can reach the studio, and it has no keys: set "
            "FACEMASK_STUDIO_KEYS (`python -m studio key NAME promote` makes one), or listen on "
            "127.0.0.1."
        )


def configure_logging() -> None:
    """Log to standard error, one line per event."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for name in ("alembic", "httpx", "uvicorn"):  # they log each start and request
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("PIL").setLevel(logging.CRITICAL)


class _Formatter(logging.Formatter):
    """Formatter that escapes line breaks in messages."""

    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record), lines=record.exc_info is not None)


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def _reason(error: OSError | UnicodeError, settings: Settings) -> str:
    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
        return (
            f"port {settings.port} is taken on {settings.host}: stop what listens there, or choose "
            "another with --port or FACEMASK_STUDIO_PORT."
        )
    return f"cannot listen on {settings.host}, port {settings.port} ({reason_of(error)})."


def _serve(
    settings: Settings, keys: list[Key], listening: socket.socket, start_key: str | None
) -> int:
    import uvicorn

    from studio.app import create_app, session_secret  # FastAPI and SQLAlchemy take a second
    from studio.database import open_database

    # Before the address is logged; a failure inside the server would be a traceback.
    settings.data.mkdir(parents=True, exist_ok=True)
    session_secret(settings.data)
    database = open_database(settings.database_url)
    app = create_app(settings, keys, database=database)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        http="h11",  # max bytes of the headers
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=_DRAIN_S,
        h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
    )
    server = _Server(config, app)
    with contextlib.closing(database):
        try:
            _announce(listening, settings, start_key)
            server.run(sockets=[listening])
        except KeyboardInterrupt:  # a signal; uvicorn raises it once more when it has shut down
            return 0
    return 0 if server.started else 1


def _announce(listening: socket.socket, settings: Settings, start_key: str | None) -> None:
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    if start_key is not None:  # 0.0.0.0, as in containers, cannot be opened in a browser
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else shown  # noqa: S104 - compared
        write_if_possible(f"studio: http://{shown}:{port}/#key={start_key}")
        return
    write_if_possible(f"studio: http://{shown}:{port} (service: {settings.service_url})")


class _Server:
    """uvicorn's server, which ends the streams of events as soon as a signal arrives.

    It waits for open connections; a browser keeps its stream open for ever.
    """

    def __init__(self, config: Any, app: "FastAPI") -> None:
        import uvicorn

        class Server(uvicorn.Server):
            def handle_exit(self, sig: int, frame: FrameType | None) -> None:
                app.state.stopping.set()
                super().handle_exit(sig, frame)

        self._server = Server(config)

    @property
    def started(self) -> bool:
        """True if the application has started."""
        return self._server.started

    def run(self, sockets: list[socket.socket]) -> None:
        """Serve until a signal."""
        self._server.run(sockets=sockets)


@contextlib.contextmanager
def _service(settings: Settings, listening: socket.socket) -> Iterator[Settings]:
    """Run the service beside the studio, and yield settings that name its address.

    It ends with the studio, even if the studio is killed. Each of the two gets the
    other's address.

    Raises:
        Refused: It cannot be started.
    """
    host, port = listening.getsockname()[:2]
    environment = os.environ | {
        "FACEMASK_STUDIO_URL": f"http://{host}:{port}",
        "FACEMASK_STORE": str(settings.store),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, "-m", "studio.live.end_with_parent", str(os.getpid()), "service"]
    process = subprocess.Popen(  # noqa: S603 - a command of the studio's own
        command, stdout=subprocess.PIPE, env=environment, start_new_session=True
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode(errors="replace").strip()
        if not line.startswith("listening on "):
            raise Refused("The service cannot be started; the lines above have the reason.")
        url = line.removeprefix("listening on ").split()[0]
        write_if_possible(f"service: {url} (documentation: /docs)")
        yield settings.model_copy(update={"service_url": url})
    finally:
        process.terminate()
        try:
            process.wait(_SERVICE_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
