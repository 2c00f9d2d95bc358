"""Memory bounds: of concurrent decoding, and of the whole process.

The bound of the process is computed from the settings, and logged at the start.
"""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from models.imaging.memory import FILE_COPIES, largest_picture_bytes
from service.limits.budget import Budget
from service.limits.json_cost import MAX_JSON_BYTES, parsing_bytes
from service.settings import Settings

log = logging.getLogger("facemask")

_CGROUP: Final = Path("/sys/fs/cgroup")
_STATUS: Final = Path("/proc/self/status")

# One read from a socket; the part of a body that the server buffers before it stops reading; and
# the connection's own objects with its headers.
_BYTES_PER_CONNECTION: Final = 256 * 1024 + 64 * 1024 + 64 * 1024
# Python over-allocates a growing body by an eighth.
_BODY_GROWTH_FACTOR: Final = 9 / 8


@dataclass(frozen=True)
class DecodingBudgets:
    """Memory that the lanes of all engines share for decoding.

    A lane that holds `pixels` never waits for `files`, so that no two lanes wait for each other.

    Small pictures never wait here: only the largest accepted ones, or dozens of concurrent
    photographs of 12 megapixels, fill the budgets.

    Attributes:
        files: Bytes of copies of encoded files, from before a picture is opened.
        pixels: Bytes of decoded pixels.
    """

    files: Budget = field(default_factory=Budget)
    pixels: Budget = field(default_factory=Budget)

    @classmethod
    def from_settings(cls, settings: Settings) -> "DecodingBudgets":
        """Return budgets that admit the largest picture that the settings accept."""
        return cls(*map(Budget, decoding_limits_bytes(settings)))


def decoding_limits_bytes(settings: Settings) -> tuple[int, int]:
    """Return the limits of `DecodingBudgets`: of files, and of pixels."""
    files = 2 * FILE_COPIES * settings.max_file_bytes  # or 16 photographs of 4 MB
    # A smaller budget of pixels would save nothing: the largest picture, alone, would exceed it.
    return files, largest_picture_bytes(settings.max_pixels)


@dataclass(frozen=True)
class MemoryBound:
    """Max resident memory of a process, by cause, in bytes.

    Attributes:
        warm: A warm model without requests: the measured peak of the start.
        decoding: Decoded pictures, and the search for faces in them, over all lanes.
        faces: Faces cut out, over all lanes.
        bodies: Request bodies, and objects parsed from them.
        connections: Bytes received on connections that belong to no body yet.
        swap: A new model beside the one that serves: as much as the first one took.
    """

    warm: int
    decoding: int
    faces: int
    bodies: int
    connections: int
    swap: int

    @property
    def total(self) -> int:
        """The sum over all causes, in bytes."""
        return sum(vars(self).values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size >> 20}" for name, size in vars(self).items())
        return f"at most {self.total >> 20} MiB per process ({parts})"


def memory_bound(
    settings: Settings, *, warm_bytes: int, model_bytes: int, lanes: int, input_px: int
) -> MemoryBound:
    """Return the bound of a service whose model is warm.

    Args:
        settings: The settings of the service.
        warm_bytes: Peak resident memory so far.
        model_bytes: Part of `warm_bytes` that opening and warming up the model took.
        lanes: Number of threads that decode.
        input_px: Edge S of the model's input, in pixels.
    """
    # A single request is answered even beyond the budget of all bodies.
    max_body_bytes = settings.max_body_bytes
    alone_bytes = max_body_bytes + parsing_bytes(
        max_body_bytes, min(MAX_JSON_BYTES, max_body_bytes)
    )
    return MemoryBound(
        warm=warm_bytes,
        decoding=sum(decoding_limits_bytes(settings)),
        faces=lanes * settings.max_faces * 3 * input_px**2,
        bodies=int(_BODY_GROWTH_FACTOR * max(settings.max_bodies_bytes, alone_bytes)),
        connections=settings.max_connections * _BYTES_PER_CONNECTION,
        swap=model_bytes,
    )


class MemoryReporter:
    """Measures the start and logs the bound once; does nothing without /proc."""

    def __init__(
        self, settings: Settings, *, status: Path = _STATUS, cgroup: Path = _CGROUP
    ) -> None:
        """Store the paths of the files that describe this process and its container."""
        self._settings, self._status, self._cgroup = settings, status, cgroup
        self._before_bytes: int | None = None
        self._is_reported = False

    def model_opening(self) -> None:
        """Measure the memory before the first model is opened."""
        if self._before_bytes is None:
            self._before_bytes = self._read("VmRSS:")

    def model_warm(self, *, lanes: int, input_px: int) -> None:
        """Log the bound when the first model has gone into service."""
        warm_bytes = self._read("VmHWM:")
        if self._is_reported or warm_bytes is None or self._before_bytes is None:
            return
        self._is_reported = True
        bound = memory_bound(
            self._settings,
            warm_bytes=warm_bytes,
            model_bytes=max(0, warm_bytes - self._before_bytes),
            lanes=lanes,
            input_px=input_px,
        )
        log.info("memory: %s", bound)
        limit_bytes = _container_limit_bytes(self._cgroup)
        if limit_bytes is not None and self._settings.workers * bound.total > limit_bytes:
            log.warning(
                "memory: the container is limited to %d MiB: raise its limit, or lower "
                "FACEMASK_MAX_PIXELS, FACEMASK_MAX_BODIES_BYTES or FACEMASK_MAX_CONNECTIONS",
                limit_bytes >> 20,
            )

    def _read(self, name: str) -> int | None:
        try:
            lines = self._status.read_text().splitlines()
        except OSError:
            return None
        return next((1024 * int(line.split()[1]) for line in lines if line.startswith(name)), None)


def _container_limit_bytes(cgroup: Path) -> int | None:
    """Return the container's memory limit, from cgroups of version 2 or 1; None without one."""
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            return int((cgroup / name).read_text())
        except (OSError, ValueError):  # not there, or "max"
            continue
    return None
