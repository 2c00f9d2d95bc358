"""What parsing JSON costs in memory and time, and the bounds on how much a request may have.

The parser keeps the interpreter from everything else until it is done, in whatever thread: 4 MiB of
"[]," took 300 ms and more, in which no probe was answered. Within these bounds it takes 14 ms for
numbers, up to 70 for long fractions, and 8 for a picture of 224 x 224 pixels.
"""

import contextlib
import gc
import threading
from collections.abc import Iterator
from typing import Final

from service.problems import BadInference, BodyTooLarge

MAX_JSON_BYTES: Final = 2**20
"""Numbers in JSON cost many times their size in memory; larger tensors travel in binary."""

MAX_JSON_VALUES: Final = 2**18
"""A picture of 224 x 224 pixels has 150,528 values."""

# Arrays, objects and keys. A picture in rows of 224 numbers has some 700.
_MAX_JSON_CONTAINERS: Final = 2**13

_TURN: Final = threading.Lock()

# As Python objects: "[]," becomes a list of 56 bytes, and a pointer to it.
_OBJECT_BYTES_PER_JSON_BYTE: Final = 32


def parsing_bytes(body_bytes: int, json_bytes: int) -> int:
    """Return the max memory that a parsed body takes beside the body itself.

    Args:
        body_bytes: Size of the whole body, of which the binary part is copied once.
        json_bytes: Size of the JSON part of it.
    """
    return body_bytes + _OBJECT_BYTES_PER_JSON_BYTE * json_bytes


@contextlib.contextmanager
def parsing_turn() -> Iterator[None]:
    """Wait until no other thread parses, and keep the garbage collector from looking at the result.

    Several parsers would keep the event loop waiting for each of them. The collector would go
    through all objects of the process every few requests, for arrays and objects that cannot form
    cycles: 4 callers with 16,000 lists each delayed probes by 340 ms in the median, now by 30.
    """
    with _TURN:
        is_enabled = gc.isenabled()
        gc.disable()
        try:
            yield
        finally:
            if is_enabled:
                gc.enable()


def require_cheap_json(text: bytes) -> None:
    """Pass if parsing a text takes little time, judged from its punctuation marks.

    Those within strings count as well: pictures in JSON are numbers, or text without many marks.

    Raises:
        BodyTooLarge: The text holds more than `MAX_JSON_VALUES` values.
        BadInference: It holds more arrays, objects and keys than any tensor does.
    """
    if text.count(b",") >= MAX_JSON_VALUES:
        raise BodyTooLarge(
            f"The JSON part holds more than {MAX_JSON_VALUES:,} values: send the tensor in binary."
        )
    if sum(text.count(mark) for mark in (b"[", b"{", b":")) > _MAX_JSON_CONTAINERS:
        raise BadInference(
            f"The JSON part holds more than {_MAX_JSON_CONTAINERS:,} arrays, objects and keys."
        )
