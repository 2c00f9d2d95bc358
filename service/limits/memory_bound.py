"""How much memory the service can come to need: computed from the settings, told at the start."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.http.kserve_tensors import MAX_JSON_BYTES, parsed_bytes
from service.limits.gate import decoding_limit_bytes
from service.settings import Settings

log = logging.getLogger("facemask")

_CGROUP: Final = Path("/sys/fs/cgroup")
_STATUS: Final = Path("/proc/self/status")

# What is read from a socket at a time, what the server then lets lie of a body before it stops
# reading, and the connection's own objects with its headers.
_A_CONNECTION_BYTES: Final = 256 * 1024 + 64 * 1024 + 64 * 1024
# Python lets a growing body have an eighth more than it has asked for.
_GROWTH: Final = 9 / 8


@dataclass(frozen=True)
class MemoryBound:
    """Most resident memory of a process, by what takes it, in bytes.

    Attributes:
        warm: With the model warm and nobody calling: the peak of the start, as measured.
        decoding: Of pictures, and searching them for faces, by all lanes together.
        faces: Cut out in each lane.
        bodies: Of requests, and what is parsed from them.
        connections: What has come on them and belongs to no body yet.
        swap: A new model beside the one that serves: what the first one took.
    """

    warm: int
    decoding: int
    faces: int
    bodies: int
    connections: int
    swap: int

    @property
    def total(self) -> int:
        """All of it together."""
        return sum(vars(self).values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size >> 20}" for name, size in vars(self).items())
        return f"at most {self.total >> 20} MiB a process ({parts})"


def memory_bound(
    settings: Settings, *, warm_bytes: int, model_bytes: int, lanes: int, input_px: int
) -> MemoryBound:
    """The bound of a service with these settings, once its model is warm.

    Args:
        settings: As it was started with.
        warm_bytes: Most memory that it has had until then.
        model_bytes: What of that opening and warming up the model took.
        lanes: How many decode.
        input_px: Edge of what the model is given, in pixels.
    """
    # One request alone is answered whatever the bound on all of them.
    alone = settings.max_body_bytes + parsed_bytes(
        settings.max_body_bytes, str(min(MAX_JSON_BYTES, settings.max_body_bytes))
    )
    return MemoryBound(
        warm=warm_bytes,
        decoding=decoding_limit_bytes(settings),
        faces=lanes * settings.max_faces * 3 * input_px**2,
        bodies=int(_GROWTH * max(settings.max_bodies_bytes, alone)),
        connections=settings.max_connections * _A_CONNECTION_BYTES,
        swap=model_bytes,
    )


class MemoryTold:
    """Measures the start, and logs the bound once; does nothing where there is no /proc."""

    def __init__(
        self, settings: Settings, *, status: Path = _STATUS, cgroup: Path = _CGROUP
    ) -> None:
        """Take where this process and its container are described."""
        self._settings, self._status, self._cgroup = settings, status, cgroup
        self._before: int | None = None
        self._told = False

    def model_begins(self) -> None:
        """A model is about to be opened."""
        if self._before is None:
            self._before = self._read("VmRSS:")

    def model_is_warm(self, *, lanes: int, input_px: int) -> None:
        """A model has gone into service: if it is the first, tell the bound."""
        warm = self._read("VmHWM:")
        if self._told or warm is None or self._before is None:
            return
        self._told = True
        settings = self._settings
        bound = memory_bound(
            settings,
            warm_bytes=warm,
            model_bytes=max(0, warm - self._before),
            lanes=lanes,
            input_px=input_px,
        )
        log.info("memory: %s", bound)
        allowed = _allowed_bytes(self._cgroup)
        if allowed is not None and settings.workers * bound.total > allowed:
            log.warning(
                "memory: the container is allowed %d MiB: allow it more, or lower "
                "FACEMASK_MAX_PIXELS, FACEMASK_MAX_BODIES_BYTES or FACEMASK_MAX_CONNECTIONS",
                allowed >> 20,
            )

    def _read(self, name: str) -> int | None:
        try:
            lines = self._status.read_text().splitlines()
        except OSError:
            return None
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), None)


def _allowed_bytes(cgroup: Path) -> int | None:
    """What the container is allowed, by control groups of version 2 or 1."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return int((cgroup / name).read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None
