"""Small pictures in a page: each embedded once, however often it is shown.

A picture becomes an SVG symbol that the page defines once and shows by `<use>`: no script,
and unlike a CSS background it prints and has a text for those who cannot see it.
"""

import base64
import io
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.errors import PictureError
from models.imaging.decode import decode_image, exif_orientation
from models.imaging.open import open_image

_EDGE_PX: Final = 112
_LARGE_PX: Final = 192  # of the pictures that are looked at closely
_QUALITY: Final = 62  # of WebP: 2-4 kB a picture
_MAP_PX: Final = 56  # edge of an activation map; the browser smooths the rest
_MAP_COLOURS: Final = "inferno"
_MAP_ALPHA: Final = 0.8  # where the activation is highest
# First EXIF orientation that swaps width and height.
_TURNED: Final = 5


@dataclass(frozen=True)
class Thumbnail:
    """A picture as the page holds it.

    Attributes:
        id: Of its symbol in the page.
        width: In pixels, aspect kept.
        height: In pixels.
        uri: `data:` address; "" where the picture can no longer be read.
    """

    id: str
    width: int
    height: int
    uri: str


class Album:
    """The pictures that a page shows, each made when it is first asked for."""

    def __init__(
        self, picture: Callable[[int], bytes], *, prefix: str, large: Collection[int] = ()
    ) -> None:
        """
        Args:
            picture: The encoded file of the i-th picture.
            prefix: Of the symbols' ids.
            large: Places of the pictures that are kept larger.
        """
        self._picture = picture
        self._prefix = prefix
        self._large = large
        self._made: dict[int, Thumbnail] = {}

    def show(self, place: int) -> str:
        """The id of a picture's symbol; it is in the album from now on."""
        if place not in self._made:
            edge = _LARGE_PX if place in self._large else _EDGE_PX
            self._made[place] = self._make(place, edge)
        return self._made[place].id

    def box(self, place: int) -> dict[str, str]:
        """Where the picture lies in a square of 100 x 100 that it is centred in."""
        self.show(place)
        made = self._made[place]
        edge = max(made.width, made.height) / 100
        width, height = made.width / edge, made.height / edge
        found = {"x": 50 - width / 2, "y": 50 - height / 2, "width": width, "height": height}
        return {name: f"{value:.2f}" for name, value in found.items()}

    @property
    def thumbnails(self) -> list[Thumbnail]:
        """Everything that was asked for."""
        return [self._made[place] for place in sorted(self._made)]

    def _make(self, place: int, edge: int) -> Thumbnail:
        name = f"{self._prefix}{place}"
        try:
            small = shrink(self._picture(place), edge)
        except (PictureError, OSError):  # it is gone since it was judged
            return Thumbnail(name, edge, edge, "")
        return Thumbnail(name, small.width, small.height, _uri(small))


def shrink(data: bytes, edge: int) -> Image.Image:
    """A picture upright, in RGB, its aspect kept and its longer side `edge` pixels.

    Raises:
        PictureError: As `models.imaging.decode.decode_image`, which decodes it.
    """
    header = open_image(data)
    width, height = header.size
    if exif_orientation(header) >= _TURNED:
        width, height = height, width
    planes = decode_image(data, size=edge).numpy()  # (3, S, S)
    square = Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))
    scale = edge / max(width, height)
    return square.resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX
    )


def activation_uri(activation: NDArray[np.float32]) -> str:
    """A class-activation map as a see-through picture to lay over its picture.

    Only what speaks for the class counts: negative values are cut, the highest is 1.

    Args:
        activation: float32 (h, w).
    """
    from matplotlib import colormaps

    positive = np.nan_to_num(np.maximum(activation, 0.0))
    positive = positive / (positive.max() or 1.0)
    smooth = Image.fromarray(positive.astype(np.float32)).resize(
        (_MAP_PX, _MAP_PX), Image.Resampling.BICUBIC
    )
    strength = np.clip(np.asarray(smooth), 0.0, 1.0)
    colours: NDArray[Any] = np.array(colormaps[_MAP_COLOURS](strength))  # (h, w, 4) in 0..1
    colours[..., 3] = strength * _MAP_ALPHA
    return _uri(Image.fromarray((colours * 255).round().astype(np.uint8), "RGBA"))


def _uri(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=_QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
