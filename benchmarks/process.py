"""The service as a process on a port of its own, and requests to it."""

import contextlib
import json
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.serving.processes import Server, free_port, running
from benchmarks.serving.wire import request_bytes
from service.http.kserve.tensors import IMAGE


@contextlib.contextmanager
def service(
    store: Path, picture: bytes, *, log: Path, key: str | None = None, **environment: str
) -> Iterator[Server]:
    """Start the service, wait for its first answer, and stop it afterwards.

    Args:
        store: Folder of bundles.
        picture: Image for the first request.
        log: File for its output.
        key: API key to send, if the environment sets keys.
        environment: Settings by the names of their variables.

    Raises:
        ServerFailed: The service did not start, or it died.
    """
    port = free_port()
    headers = {} if key is None else {"X-API-Key": key}
    with running(
        [sys.executable, "-m", "service"],
        port=port,
        request=request_bytes([picture], path="/predict", field="files", headers=headers),
        environment={
            "FACEMASK_STORE": str(store),
            "FACEMASK_HOST": "127.0.0.1",
            "FACEMASK_PORT": str(port),
            **environment,
        },
        log=log,
    ) as server:
        yield server


def binary_request(pictures: Sequence[bytes], *, name: str = "0") -> tuple[bytes, bytes]:
    """Return an inference request of the Open Inference Protocol: its JSON part, and the pictures.

    Args:
        pictures: Encoded files.
        name: The request's id.
    """
    packed = b"".join(struct.pack("<I", len(picture)) + picture for picture in pictures)
    tensor = {
        "name": IMAGE,
        "datatype": "BYTES",
        "shape": [len(pictures)],
        "parameters": {"binary_data_size": len(packed)},
    }
    return json.dumps({"id": name, "inputs": [tensor]}).encode(), packed
