"""Thumbnails in the page: each embedded once, however often it is shown.

A picture becomes an SVG symbol that the page defines once and shows by `<use>`: no script,
and unlike a CSS background it prints and carries an alternative text.
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
_LARGE_EDGE_PX: Final = 192  # of pictures to look at closely
_WEBP_QUALITY: Final = 62  # 2-4 kB per picture
_MAP_EDGE_PX: Final = 56  # of an activation map; the browser smooths the rest
_MAP_COLOURS: Final = "inferno"
_MAP_MAX_ALPHA: Final = 0.8  # where the activation is highest
_FIRST_TRANSPOSED: Final = 5  # EXIF orientations from here on swap width and height


@dataclass(frozen=True)
class Thumbnail:
    """One picture as the page embeds it.

    Attributes:
        id: Id of its symbol in the page.
        width: Width in pixels, aspect kept.
        height: Height in pixels.
        uri: `data:` address; "" if the picture can no longer be read.
    """

    id: str
    width: int
    height: int
    uri: str


class Album:
    """Thumbnails of a page, each made when it is first shown."""

    def __init__(
        self, read: Callable[[int], bytes], *, prefix: str, large: Collection[int] = ()
    ) -> None:
        """Start an empty album.

        Args:
            read: Returns the encoded file of the i-th picture.
            prefix: Prefix of the symbols' ids.
            large: Indices of the pictures to keep larger.
        """
        self._read = read
        self._prefix = prefix
        self._large = large
        self._made: dict[int, Thumbnail] = {}

    def show(self, index: int) -> str:
        """Add a picture if it is new, and return the id of its symbol."""
        if index not in self._made:
            edge = _LARGE_EDGE_PX if index in self._large else _EDGE_PX
            self._made[index] = self._make(index, edge)
        return self._made[index].id

    def box(self, index: int) -> dict[str, str]:
        """Return the position of a picture that is centred in a square of 100 x 100."""
        self.show(index)
        made = self._made[index]
        edge = max(made.width, made.height) / 100
        width, height = made.width / edge, made.height / edge
        box = {"x": 50 - width / 2, "y": 50 - height / 2, "width": width, "height": height}
        return {name: f"{value:.2f}" for name, value in box.items()}

    @property
    def thumbnails(self) -> list[Thumbnail]:
        """All pictures shown so far."""
        return [self._made[index] for index in sorted(self._made)]

    def _make(self, index: int, edge: int) -> Thumbnail:
        name = f"{self._prefix}{index}"
        try:
            small = shrink(self._read(index), edge)
        except (PictureError, OSError):  # deleted since the evaluation
            return Thumbnail(name, edge, edge, "")
        return Thumbnail(name, small.width, small.height, _uri(small))


def shrink(data: bytes, edge: int) -> Image.Image:
    """Decode a picture upright, in RGB, its aspect kept and its longer side `edge` pixels.

    Raises:
        PictureError: As `models.imaging.decode.decode_image`, which decodes it.
    """
    header = open_image(data)
    width, height = header.size
    if exif_orientation(header) >= _FIRST_TRANSPOSED:
        width, height = height, width
    planes = decode_image(data, size=edge).numpy()  # (3, S, S)
    square = Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0)))
    scale = edge / max(width, height)
    return square.resize(
        (max(1, round(width * scale)), max(1, round(height * scale))), Image.Resampling.BOX
    )


def activation_uri(activation: NDArray[np.float32]) -> str:
    """Return a class-activation map as a translucent picture to lay over its picture.

    Negative values, which speak against the class, are cut; the highest is 1.

    Args:
        activation: float32 (h, w).
    """
    from matplotlib import colormaps

    positive = np.nan_to_num(np.maximum(activation, 0.0))
    positive = positive / (positive.max() or 1.0)
    smooth = Image.fromarray(positive.astype(np.float32)).resize(
        (_MAP_EDGE_PX, _MAP_EDGE_PX), Image.Resampling.BICUBIC
    )
    strength = np.clip(np.asarray(smooth), 0.0, 1.0)
    colours: NDArray[Any] = np.array(colormaps[_MAP_COLOURS](strength))  # (h, w, 4) in 0..1
    colours[..., 3] = strength * _MAP_MAX_ALPHA
    return _uri(Image.fromarray((colours * 255).round().astype(np.uint8), "RGBA"))


def _uri(picture: Image.Image) -> str:
    data = io.BytesIO()
    picture.save(data, "WEBP", quality=_WEBP_QUALITY, method=2)
    return "data:image/webp;base64," + base64.b64encode(data.getvalue()).decode()
