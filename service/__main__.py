"""`python -m service`: uvicorn with the settings from the environment."""

import contextlib
import errno
import os
import signal
import socket
import sys
from types import FrameType

from pydantic import ValidationError

from service.settings import Settings

_BAD_SETTING = 2
_CANNOT_LISTEN = 3


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
            print(f"error: {name}={fault['input']!r}: {fault['msg']}", file=sys.stderr)
        return _BAD_SETTING
    try:
        listening = _listen(settings.host, settings.port)
    except (OSError, UnicodeError) as error:
        print(f"error: {_why(error, settings)}", file=sys.stderr)
        return _CANNOT_LISTEN

    import uvicorn  # these take a second, and a taken port should be told at once

    from service.app import configure_logging, create_app

    configure_logging()
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    print(f"listening on http://{shown}:{port} (documentation: /docs)", flush=True)
    config = uvicorn.Config(create_app(settings), log_config=None, access_log=False)
    # Once it has stopped in good order, uvicorn raises the signal that it was stopped by again.
    signal.signal(signal.SIGTERM, _stopped)
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    return 0


def _stopped(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


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
    sys.exit(main())
