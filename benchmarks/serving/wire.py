"""HTTP as bytes: prebuilt requests, answers parsed with as little work as possible."""

import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_BOUNDARY: Final = "9f1c0e5b7a7d4c3e-facemask"
# Each server of this benchmark answers one object with a "label" per image.
_MARK: Final = b'"label":'
_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_RETRY: Final = re.compile(rb"\r\nretry-after:[ \t]*(\d+)", re.IGNORECASE)
_CLOSE: Final = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class BrokenAnswer(Exception):
    """The answer is not HTTP with a length."""


@dataclass(frozen=True)
class Answer:
    """A complete HTTP answer.

    Attributes:
        status: HTTP status.
        predictions: Number of predictions.
        retry_after_s: Seconds of `Retry-After`; 0 without.
        closes: True if the server closes the connection.
    """

    status: int
    predictions: int
    retry_after_s: int
    closes: bool


def request_bytes(
    pictures: Sequence[bytes], *, path: str, field: str, headers: Mapping[str, str] = {}
) -> bytes:
    """Return a complete multipart POST of JPEG files."""
    body = bytearray()
    for index, picture in enumerate(pictures):
        body += (
            f"--{_BOUNDARY}\r\n"
            f'Content-Disposition: form-data; name="{field}"; filename="{index}.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        body += picture + b"\r\n"
    body += f"--{_BOUNDARY}--\r\n".encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n"
        f"Content-Type: multipart/form-data; boundary={_BOUNDARY}\r\n"
        f"Content-Length: {len(body)}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        + "\r\n"
    )
    return head.encode() + bytes(body)


def read_answer(received: bytearray) -> Answer | None:
    """Return the answer that has been received; None while it is incomplete.

    Raises:
        BrokenAnswer: The bytes cannot become an answer.
    """
    end = received.find(_HEAD_END)
    if end < 0:
        return None
    head = bytes(received[:end])
    length = _LENGTH.search(head)
    if not head.startswith(b"HTTP/1.") or not head[9:12].isdigit() or length is None:
        raise BrokenAnswer(head[:80].decode("latin-1"))
    size = end + len(_HEAD_END) + int(length[1])
    if len(received) < size:
        return None
    if len(received) > size:
        raise BrokenAnswer("more bytes than announced")
    retry = _RETRY.search(head)
    return Answer(
        status=int(head[9:12]),
        predictions=received.count(_MARK, end),
        retry_after_s=int(retry[1]) if retry else 0,
        closes=_CLOSE.search(head) is not None,
    )


def ask(port: int, request: bytes, *, timeout_s: float) -> Answer:
    """Send one request on a connection of its own and wait for the answer.

    Raises:
        OSError: The port is closed, the connection ends early, or the time is over.
        BrokenAnswer: The answer is not HTTP with a length.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as connection:
        connection.sendall(request)
        received = bytearray()
        while chunk := connection.recv(65536):
            received += chunk
            answer = read_answer(received)
            if answer is not None:
                return answer
    raise ConnectionError("the connection ended before the answer did")
