"""Colours of a HEIC or AVIF file that names them by numbers instead of an ICC profile.

A property `colr` of the type `nclx` (ISO/IEC 14496-12, 12.1.5) has the code points of ITU-T H.273
for primaries, transfer function, matrix and range. The libraries apply matrix and range; primaries
and transfer function become an ICC profile here, which is converted as an embedded one is.
"""

import functools
import math
import struct
from collections.abc import Sequence
from typing import Final

from models.imaging.heif.boxes import Data, Items

_CODE_POINTS: Final = struct.Struct(">4sHH")  # type, primaries, transfer function

# Red, green and blue in CIE XYZ, adapted to D50 by Bradford's matrix as ICC profiles need it, by
# the code of the primaries (H.273, table 2). All others are shown as sRGB, which they resemble.
_COLORANTS: Final = {
    1: ((0.43604, 0.22248, 0.01392), (0.38511, 0.71691, 0.09707), (0.14305, 0.06061, 0.71391)),
    9: ((0.67348, 0.27904, -0.00193), (0.16567, 0.67534, 0.02998), (0.12505, 0.04561, 0.79685)),
    11: ((0.48616, 0.22668, -0.0008), (0.32385, 0.71033, 0.04324), (0.15419, 0.06298, 0.78247)),
    12: ((0.51512, 0.24119, -0.00105), (0.29198, 0.69224, 0.04188), (0.1571, 0.06657, 0.78407)),
}
_SRGB: Final = 1
_D50: Final = (0.9642, 1.0, 0.8249)
_VERSION: Final = 0x04300000
_HEADER_BYTES: Final = 128

# Transfer functions (H.273, table 3). Screens show those of video, and HLG, as sRGB.
_GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0}
_PQ: Final = 16
_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
_PQ_ENTRIES: Final = 1024
_PQ_PEAK: Final = 10_000.0  # cd/m2
_PQ_WHITE: Final = 203.0  # cd/m2 of a diffuse white (ITU-R BT.2408); brighter parts are white, too


def profile_of(data: Data, items: Items) -> bytes | None:
    """Return the ICC profile of the primary picture's code points, None if it is shown as sRGB.

    Args:
        data: The file.
        items: Its items. The tiles of a grid may have the property in its stead.
    """
    primary = items.primary
    for item in (primary, *items.references.get((b"dimg", primary), ())[:1]):
        for box in items.properties.get(item, ()):
            if box.kind != b"colr" or box.end - box.begin < _CODE_POINTS.size:
                continue
            kind, primaries, transfer = _CODE_POINTS.unpack_from(data, box.begin)
            if kind == b"nclx":
                return _profile(primaries, transfer)
    return None


def _profile(primaries: int, transfer: int) -> bytes | None:
    """Return the profile of two code points, None if they are those of sRGB or unknown."""
    is_srgb_curve = transfer != _PQ and transfer not in _GAMMAS
    known = primaries if primaries in _COLORANTS else _SRGB
    return None if known == _SRGB and is_srgb_curve else _build(known, transfer)


@functools.cache
def _build(primaries: int, transfer: int) -> bytes:
    """Return an ICC profile of version 4.3: three colorants and one curve (ICC.1:2010, 8.3.3)."""
    red, green, blue = map(_xyz, _COLORANTS[primaries])
    curve = _curve(transfer)
    tags = {
        b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue, b"wtpt": _xyz(_D50),
        b"rTRC": curve, b"gTRC": curve, b"bTRC": curve,
    }  # fmt: skip
    at = _HEADER_BYTES + 4 + 12 * len(tags)
    table = struct.pack(">I", len(tags))
    for name, content in tags.items():
        table += struct.pack(">4sII", name, at, len(content))
        at += len(content)
    header = struct.pack(
        ">I4xI4s4s4s12x4s28x", at, _VERSION, b"mntr", b"RGB ", b"XYZ ", b"acsp"
    ) + _fixed(_D50)
    return header.ljust(_HEADER_BYTES, b"\0") + table + b"".join(tags.values())


def _curve(transfer: int) -> bytes:
    """Return the curve from stored to linear values, as a tag's content."""
    if transfer == _PQ:
        values = [round(65535 * _pq(index / (_PQ_ENTRIES - 1))) for index in range(_PQ_ENTRIES)]
        return struct.pack(f">4s4xI{_PQ_ENTRIES}H", b"curv", _PQ_ENTRIES, *values)
    if transfer in _GAMMAS:
        return struct.pack(">4s4xHH", b"para", 0, 0) + _fixed([_GAMMAS[transfer]])
    return struct.pack(">4s4xHH", b"para", 3, 0) + _fixed(_SRGB_CURVE)


def _pq(value: float) -> float:
    """Return the light of a stored value of PQ (SMPTE ST 2084), as a share of a diffuse white."""
    root = math.pow(value, 32 / 2523)
    light = max(0.0, root - 107 / 128) / (2413 / 128 - 2392 / 128 * root)
    return min(1.0, math.pow(light, 8192 / 1305) * _PQ_PEAK / _PQ_WHITE)


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ \0\0\0\0" + _fixed(values)


def _fixed(values: Sequence[float]) -> bytes:
    """Return numbers as ICC's s15Fixed16Number."""
    return struct.pack(f">{len(values)}i", *(round(value * 65536) for value in values))
