"""Canvas, face coordinates on it, and antialiased shapes.

A canvas is float32 (EDGE_PX, EDGE_PX, 3), RGB, 0..1; a plane is the same without channels.
Shapes are given in face coordinates, so that they turn, shrink and lean with the face:

    u = -1..1   from one side of the face to the other
    v = 0..1    from the line of the eyes to the tip of the chin (nose about 0.4, mouth 0.6)
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

EDGE_PX = 224

# Antialiasing: shapes are filled at twice the size and halved.
_SUPERSAMPLING = 2
_COARSE = 4

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Frame:
    """Position, size and pose of a face on the canvas.

    Attributes:
        eyes_px: (2,): x, y of the point between the eyes.
        right_px: (2,): the step on the canvas for u + 1.
        down_px: (2,): the step on the canvas for v + 1.
        lean: Sideways shift of the middle of the face by a turned head, in u.
    """

    eyes_px: Array
    right_px: Array
    down_px: Array
    lean: float = 0.0

    @property
    def unit_px(self) -> float:
        """Half the width of the face, in pixels."""
        return float(np.hypot(*self.right_px))

    def place(self, points: ArrayLike) -> Array:
        """Convert (K, 2) points u, v to (K, 2) points x, y in pixels."""
        uv = np.asarray(points, dtype=np.float32)
        # The edge of the face stays and its middle moves, as on a turned cylinder.
        u = uv[:, :1] + self.lean * np.clip(1 - uv[:, :1] ** 2, 0, 1)
        placed: Array = self.eyes_px + u * self.right_px + uv[:, 1:] * self.down_px
        return placed

    @cached_property
    def coordinates(self) -> tuple[Array, Array]:
        """Planes of u and v: the inverse of `place`, for every pixel."""
        inverse = np.linalg.inv(np.stack([self.right_px, self.down_px], axis=1))
        y, x = np.mgrid[:EDGE_PX, :EDGE_PX].astype(np.float32)
        x, y = x - self.eyes_px[0], y - self.eyes_px[1]
        u = inverse[0, 0] * x + inverse[0, 1] * y
        v = inverse[1, 0] * x + inverse[1, 1] * y
        return self._upright(u.astype(np.float32)), v.astype(np.float32)

    def _upright(self, u: Array) -> Array:
        """Undo the lean of `place`: the root of u = w + lean (1 - w^2) between -1 and 1."""
        if abs(self.lean) < 1e-3:
            return u
        root = np.sqrt(np.maximum(1 - 4 * self.lean * (np.clip(u, -1, 1) - self.lean), 0))
        inside = (1 - root) / np.float32(2 * self.lean)
        upright: Array = np.where(np.abs(u) < 1, inside, u).astype(np.float32)
        return upright

    def turned(self, plane: Array) -> Array:
        """Shift a plane's face sideways by the lean, as `place` shifts shapes."""
        y, x = np.mgrid[:EDGE_PX, :EDGE_PX].astype(np.float32)
        across = (x - self.eyes_px[0]) * self.right_px[0] + (y - self.eyes_px[1]) * self.right_px[1]
        across /= self.unit_px**2
        step = self._upright(across) - across
        x = np.clip(x + step * self.right_px[0], 0, EDGE_PX - 1.01)
        y = np.clip(y + step * self.right_px[1], 0, EDGE_PX - 1.01)
        column, row = x.astype(np.intp), y.astype(np.intp)
        fx, fy = x - column, y - row
        index = row * EDGE_PX + column
        flat = plane.ravel()
        upper = flat[index] * (1 - fx) + flat[index + 1] * fx
        lower = flat[index + EDGE_PX] * (1 - fx) + flat[index + EDGE_PX + 1] * fx
        moved: Array = (upper * (1 - fy) + lower * fy).astype(np.float32)
        return moved


def rounded(points: ArrayLike, *, closed: bool = True, rounds: int = 3) -> Array:
    """Smooth a (K, 2) outline by cutting its corners (Chaikin 1974)."""
    curve = np.asarray(points, dtype=np.float32)
    for _ in range(rounds):
        after = np.roll(curve, -1, axis=0) if closed else curve[1:]
        before = curve if closed else curve[:-1]
        cut = np.stack([0.75 * before + 0.25 * after, 0.25 * before + 0.75 * after], axis=1)
        ends = cut.reshape(-1, 2)
        curve = ends if closed else np.concatenate([curve[:1], ends, curve[-1:]])
    return curve


def mirrored(points: ArrayLike) -> Array:
    """Close the (K, 2) right half of a symmetric outline with its mirror image."""
    half = np.asarray(points, dtype=np.float32)
    return np.concatenate([half, (half * (-1, 1))[::-1]]).astype(np.float32)


def fill(points_px: Array, *, soft_px: float = 0.0) -> Array:
    """Return a plane that is 1 inside an outline of (K, 2) points in pixels and 0 outside."""
    big = Image.new("L", (EDGE_PX * _SUPERSAMPLING,) * 2)
    ImageDraw.Draw(big).polygon((points_px * _SUPERSAMPLING).ravel().tolist(), fill=255)
    return _plane(big, soft_px)


def stroke(points_px: Array, width_px: float, *, soft_px: float = 0.0) -> Array:
    """Return a plane that is 1 on a line through (K, 2) points in pixels and 0 beside it."""
    big = Image.new("L", (EDGE_PX * _SUPERSAMPLING,) * 2)
    draw = ImageDraw.Draw(big)
    wide = max(1, round(width_px * _SUPERSAMPLING))
    draw.line((points_px * _SUPERSAMPLING).ravel().tolist(), fill=255, width=wide, joint="curve")
    for x, y in points_px[[0, -1]] * _SUPERSAMPLING:  # round ends
        draw.ellipse((x - wide / 2, y - wide / 2, x + wide / 2, y + wide / 2), fill=255)
    return _plane(big, soft_px)


def soften(plane: Array, radius_px: float) -> Array:
    """Blur a plane of 0..1."""
    grey = Image.fromarray(np.clip(plane * 255, 0, 255).astype(np.uint8))
    if radius_px < 2 * _COARSE:
        return _plane(grey, radius_px)
    # A wide blur keeps no detail, and costs a sixteenth at a quarter of the edge.
    small = grey.reduce(_COARSE).filter(ImageFilter.GaussianBlur(float(radius_px) / _COARSE))
    return _plane(small.resize((EDGE_PX, EDGE_PX), Image.Resampling.BILINEAR), 0)


def blend(canvas: Array, alpha: Array, paint: Array) -> None:
    """Paint on a canvas, in place.

    Args:
        canvas: Changed in place.
        alpha: Plane of 0..1: opacity of the paint.
        paint: One colour (3,) or a texture like the canvas.
    """
    rows = np.flatnonzero(alpha.any(axis=1))
    columns = np.flatnonzero(alpha.any(axis=0))
    if not rows.size:
        return
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    part = canvas[box]
    part += alpha[box][..., None] * ((paint if paint.ndim == 1 else paint[box]) - part)


def clouds(rng: np.random.Generator, cells: int) -> Array:
    """Return a plane of smooth noise, about -1..1, with `cells` hills along an edge."""
    seeds = rng.uniform(-1, 1, (cells + 1, cells + 1)).astype(np.float32)
    hills = Image.fromarray(seeds).resize((EDGE_PX, EDGE_PX), Image.Resampling.BICUBIC)
    return np.asarray(hills)


def _plane(grey: Image.Image, radius_px: float) -> Array:
    """Convert an 8-bit picture to a plane of the canvas' size, blurred by a radius."""
    if grey.width != EDGE_PX:
        grey = grey.reduce(grey.width // EDGE_PX)
    if radius_px > 0:
        grey = grey.filter(ImageFilter.GaussianBlur(float(radius_px)))
    return np.asarray(grey, dtype=np.float32) / np.float32(255)
