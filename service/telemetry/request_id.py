"""Request ids, which connect log lines, traces and answers."""

import random
import re
from typing import Final

# A caller's own id must be safe in logs and headers.
_VALID: Final = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    """Return a random id of 128 bits, in hex."""
    return f"{random.getrandbits(128):032x}"


def valid_or_new_request_id(given: str) -> str:
    """Return the caller's id if it is valid, or else a new one."""
    return given if _VALID.fullmatch(given) else new_request_id()
