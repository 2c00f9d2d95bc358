"""What parsing JSON costs in memory, and the bound on how much of it a request may have."""

from typing import Final

MAX_JSON_BYTES: Final = 4 * 2**20
"""Numbers in JSON cost many times their size in memory; larger tensors travel in binary."""

# As Python objects: "[]," becomes a list of 56 bytes, and a pointer to it.
_OBJECT_BYTES_PER_JSON_BYTE: Final = 32


def parsing_bytes(body_bytes: int, json_bytes: int) -> int:
    """Return the max memory that a parsed body takes beside the body itself.

    Args:
        body_bytes: Size of the whole body, of which the binary part is copied once.
        json_bytes: Size of the JSON part of it.
    """
    return body_bytes + _OBJECT_BYTES_PER_JSON_BYTE * json_bytes
