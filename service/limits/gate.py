"""How much memory the lanes may take for decoding at one time, all of them together."""

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from models.imaging.limits import (
    BYTES_A_PIXEL,
    COPIES,
    DECODED_BYTES_A_PIXEL,
    SEARCH_BYTES,
    TURNING_BYTES_A_PIXEL,
    UPRIGHT_PX,
)
from service.settings import Settings


class Gate:
    """Lets through what fits into a number of bytes; one that is alone always fits.

    Small pictures never wait here: it takes the largest accepted ones, or dozens of photographs
    of 12 megapixels at one moment, to fill it.
    """

    def __init__(self, limit_bytes: float = math.inf) -> None:
        """Begin with nothing in it."""
        self._limit = limit_bytes
        self._held = 0
        self._turn = threading.Lock()  # or small ones would pass a large one for ever
        self._room = threading.Condition()

    @contextlib.contextmanager
    def hold(self, size_bytes: int) -> Iterator[None]:
        """Wait for room, and have it for the time of the `with`."""
        with self._turn, self._room:
            self._room.wait_for(lambda: not self._held or self._held + size_bytes <= self._limit)
            self._held += size_bytes
        try:
            yield
        finally:
            with self._room:
                self._held -= size_bytes
                self._room.notify()


@dataclass(frozen=True)
class Gates:
    """What the lanes of all engines share; who holds `pixels` never waits for `files`.

    Attributes:
        files: For copies of encoded files, from before a picture is opened.
        pixels: For what is decoded.
    """

    files: Gate = field(default_factory=Gate)
    pixels: Gate = field(default_factory=Gate)


def gates_of(settings: Settings) -> Gates:
    """For pictures within these settings."""
    return Gates(Gate(_files_bytes(settings)), Gate(_pixels_bytes(settings)))


def decoding_limit_bytes(settings: Settings) -> int:
    """Most that decoding takes at a time."""
    return _files_bytes(settings) + _pixels_bytes(settings)


def _files_bytes(settings: Settings) -> int:
    return 2 * COPIES * settings.max_file_bytes  # or 16 photographs of 4 MB


def _pixels_bytes(settings: Settings) -> int:
    """With less, the largest would be alone anyway."""
    # A picture that is searched for faces is turned upright as large as it is, or from twice
    # UPRIGHT_PX on by halves, and from thrice on so small that decoding it took more.
    halved_bytes = (DECODED_BYTES_A_PIXEL + TURNING_BYTES_A_PIXEL // 4) * (3 * UPRIGHT_PX) ** 2
    whole_bytes = (DECODED_BYTES_A_PIXEL + TURNING_BYTES_A_PIXEL) * settings.max_pixels
    decoding = max(BYTES_A_PIXEL * settings.max_pixels, min(whole_bytes, halved_bytes))
    return decoding + SEARCH_BYTES
