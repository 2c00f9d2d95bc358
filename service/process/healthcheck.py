"""`python -m service.process.healthcheck`: exit with 0 if the local service has a model, else 1.

For containers: it reads the service's settings, and so calls the port that is set. It ignores a
proxy in the environment.
"""

import http.client
import sys
from typing import Final

from pydantic import ValidationError

from models.errors import reason_of
from models.terminal import run_command, write_error
from service.settings import Settings, faults_of

_TIMEOUT_S: Final = 2.0
_LOOPBACK: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  listens on none
"""Addresses for calling a service that listens on all addresses."""


def main() -> int:
    """Call GET /health and return the exit status."""
    try:
        settings = Settings()
    except ValidationError as error:
        write_error(f"error: {faults_of(error)[0]}")
        return 1
    host = _LOOPBACK.get(settings.host, settings.host)
    connection = http.client.HTTPConnection(host, settings.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        status = connection.getresponse().status
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        write_error(f"error: {host}, port {settings.port}: no answer ({reason_of(error)}).")
        return 1
    finally:
        connection.close()
    if status != http.client.OK:
        write_error(f"error: {host}, port {settings.port}: GET /health is answered {status}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
