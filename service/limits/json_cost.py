"""Cost of parsing JSON, in memory and time, and its limits per request.

The parser holds the interpreter's lock until it is done, in any thread: 4 MiB of "[]," took 300 ms
and more, in which no probe was answered. Within these limits it takes 14 ms for numbers, up to 70
for long fractions, and 8 for a picture of 224 x 224 pixels.
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

# "[]," becomes a list of 56 bytes, and a pointer to it.
_OBJECT_BYTES_PER_JSON_BYTE: Final = 32


def parsing_bytes(body_bytes: int, json_bytes: int) -> int:
    """Return the max memory that a parsed body takes beside the body itself.

    Args:
        body_bytes: Size of the whole body; its binary part is copied once.
        json_bytes: Size of its JSON part.
    """
    return body_bytes + _OBJECT_BYTES_PER_JSON_BYTE * json_bytes


@contextlib.contextmanager
def parsing_turn() -> Iterator[None]:
    """Wait until no other thread parses, and disable the garbage collector meanwhile.

    The event loop would wait for several parsers in turn. The collector would visit all objects of
    the process every few requests, for arrays and objects that cannot form cycles: 4 callers with
    16,000 lists each delayed probes by 340 ms in the median, now by 30.
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
    """Raise if a text takes long to parse, by its number of punctuation marks.

    Marks within strings count as well: pictures in JSON are numbers, or text without many marks.

    Raises:
        BodyTooLarge: The text holds more than `MAX_JSON_VALUES` values.
        BadInference: The text holds more arrays, objects and keys than any tensor.
    """
    if text.count(b",") >= MAX_JSON_VALUES:
        raise BodyTooLarge(
            f"The JSON part holds more than {MAX_JSON_VALUES:,} values: send the tensor in binary."
        )
    if sum(text.count(mark) for mark in (b"[", b"{", b":")) > _MAX_JSON_CONTAINERS:
        raise BadInference(
            f"The JSON part holds more than {_MAX_JSON_CONTAINERS:,} arrays, objects and keys."
        )
