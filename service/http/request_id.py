"""The name of a request, for logs and for whoever asks what became of it."""

import random


def new_request_id() -> str:
    """Of a request that brings none of its own."""
    return f"{random.getrandbits(128):032x}"
