"""Scene: a grey photograph re-rendered as a person in colour before a drawn background.

The scene does not depend on the class. Framing, tint, light, clothes and background come from
one distribution, so that none of them reveals a mask.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from training.sample.drawing import (
    EDGE_PX,
    Array,
    Frame,
    blend,
    clouds,
    fill,
    mirrored,
    rounded,
    soften,
    stroke,
)
from training.sample.fabrics import any_colour, hue, patterned, rgb, surgical_colour
from training.sample.photographs import CHIN_OFFSET_PX, EYES_OFFSET_PX, HALF_WIDTH_PX, Photograph

Rng = np.random.Generator


@dataclass(frozen=True)
class Scene:
    """A canvas with one person on it.

    Attributes:
        canvas: The picture so far; painted on in place.
        frame: Position of the face.
        light: Plane, about 1: brightness of the light on the face at each pixel.
        skin: (3,): the colour of the cheeks.
        hair: (3,): the colour of drawn hair.
    """

    canvas: Array
    frame: Frame
    light: Array
    skin: Array
    hair: Array


def render_person(rng: Rng, photograph: Photograph) -> Scene:
    """Place a photograph's head on a drawn body before a drawn background.

    Args:
        rng: Source of all random choices.
        photograph: Shows the person.
    """
    frame, grey, inside = _frame_photograph(rng, photograph)
    grey, inside = frame.turned(grey), frame.turned(inside)
    if rng.random() < 0.5:
        frame, grey, inside = _flipped(frame), grey[:, ::-1], inside[:, ::-1]
    u, v = frame.coordinates
    face = np.clip(1.6 - 1.4 * np.hypot(u / 1.0, (v - 0.3) / 0.85), 0, 1)
    grey = _levelled(rng, grey, face)
    tinted, skin, hair = _tint(rng, grey, u, v)
    light = soften(grey, 0.22 * frame.unit_px)
    light = np.clip(light / np.average(light, weights=face + 1e-6), 0.45, 1.5).astype(np.float32)

    canvas = _background(rng)
    _draw_body(rng, canvas, frame, skin, hair)
    blend(canvas, _matte(grey, u, v) * inside, tinted)
    return Scene(canvas, frame, light, skin, hair)


def _frame_photograph(rng: Rng, photograph: Photograph) -> tuple[Frame, Array, Array]:
    """Scale, turn and shift a photograph; return its frame, grey 0..1 and coverage plane."""
    # Eye to chin in pixels: from a head and shoulders to a face that fills the picture.
    height_px = EDGE_PX * np.exp(rng.uniform(np.log(0.22), np.log(0.46)))
    zoom = height_px / ((CHIN_OFFSET_PX[1] - EYES_OFFSET_PX[1]) * photograph.scale)
    turn = np.radians(rng.normal(0, 7))
    tight = height_px / EDGE_PX
    x_px = EDGE_PX * (0.5 + rng.normal(0, 0.05))
    # The middle of the face is a little above that of the picture, unless cropped tightly.
    y_px = EDGE_PX * (0.5 - 0.3 * tight + rng.normal(0, 0.04))

    cos, sin = float(np.cos(turn) / zoom), float(np.sin(turn) / zoom)
    source_x, source_y = photograph.centre_px
    lean = _draw_lean(rng)
    narrow = 1 - 0.5 * abs(lean)  # a turned face is narrower
    affine = (
        cos / narrow, sin / narrow, source_x - (cos * x_px + sin * y_px) / narrow,
        -sin, cos, source_y + sin * x_px - cos * y_px,
    )  # fmt: skip
    size, method = (EDGE_PX, EDGE_PX), Image.Transform.AFFINE
    picture = Image.fromarray(photograph.grey)
    moved = picture.transform(size, method, affine, Image.Resampling.BICUBIC)
    # The borders fade out, or the photograph's rectangle would show on the background.
    border = np.zeros(photograph.grey.shape, np.uint8)
    border[1:-3, 2:-2] = 255
    rim = Image.fromarray(border).transform(size, method, affine, Image.Resampling.BILINEAR)
    inside = soften(np.asarray(rim, dtype=np.float32) / np.float32(255), 1.5)

    roll = np.radians(photograph.roll_deg) + turn
    scale = zoom * photograph.scale
    right = scale * narrow * np.array([np.cos(roll), np.sin(roll)])
    down = scale * np.array([-np.sin(roll), np.cos(roll)])
    eyes = np.array([x_px, y_px]) + EYES_OFFSET_PX[1] * down
    frame = Frame(
        eyes.astype(np.float32),
        (HALF_WIDTH_PX * right).astype(np.float32),
        ((CHIN_OFFSET_PX[1] - EYES_OFFSET_PX[1]) * down).astype(np.float32),
        lean=lean,
    )
    grey = np.asarray(moved, dtype=np.float32) / np.float32(255)
    return frame, _sharpened(grey, 0.6 * zoom), inside


def _draw_lean(rng: Rng) -> float:
    """Draw the turn of the head: the photographs are frontal, people in the street are not."""
    if rng.random() < 0.5:
        return float(rng.normal(0, 0.06))
    return float(rng.choice([-1, 1]) * rng.uniform(0.15, 0.45))


def _sharpened(grey: Array, radius_px: float) -> Array:
    """Reverse part of the softness of enlarging a photograph of 92 pixels."""
    sharp: Array = np.clip(grey + 0.9 * (grey - soften(grey, radius_px)), 0, 1)
    return sharp


def _flipped(frame: Frame) -> Frame:
    """Mirror a frame left to right."""
    mirror = np.array([-1, 1], np.float32)
    eyes = np.array([EDGE_PX - 1, 0], np.float32) + mirror * frame.eyes_px
    return Frame(eyes, -mirror * frame.right_px, mirror * frame.down_px, -frame.lean)


def _levelled(rng: Rng, grey: Array, face: Array) -> Array:
    """Scale the face to a drawn mean brightness; the photographs differ more than skins do."""
    mean = float(np.average(grey, weights=face + 1e-6))
    target = float(np.clip(rng.normal(0.6, 0.1), 0.3, 0.8))
    levelled: Array = np.clip(grey * (target / max(mean, 0.05)), 0, 1) ** 0.95
    return levelled.astype(np.float32)


def _tint(rng: Rng, grey: Array, u: Array, v: Array) -> tuple[Array, Array, Array]:
    """Colour a grey head: skin within the face, hair above and beside it, cloth below.

    Returns:
        The coloured canvas, the colour of the cheeks and the colour of the hair.
    """
    warmth = rng.uniform(0.6, 1.3)
    # Skin reflects red most: its curve lies above that of grey, that of blue below.
    powers = rgb(1 - 0.5 * warmth, 1 + 0.1 * warmth, 1 + 0.6 * warmth)
    levels = (np.arange(1, 257, dtype=np.float32)[:, None] / 256) ** powers
    skin = levels[(grey * 255).astype(np.uint8)]
    dye = hue(rng.uniform(0.02, 0.1), rng.uniform(0.05, 0.55), 1.0)
    hair = grey[..., None] * dye
    cloth = grey[..., None] * (0.4 + 0.9 * any_colour(rng))
    not_skin = np.clip(6 * (np.hypot(u / 1.02, (v - 0.25) / 0.98) - 0.9), 0, 1)
    below = np.clip(5 * (v - 1.12 - 0.1 * np.abs(u)), 0, 1)
    # Beards and brows are dark and of the hair's colour.
    dark = np.clip(1.4 - 4.5 * grey, 0, 0.7)
    tinted = skin + np.maximum(not_skin * (grey < 0.45), dark)[..., None] * (hair - skin)
    tinted += below[..., None] * (cloth - tinted)
    lips = 0.35 * np.clip(2 - 2 * np.hypot(u / 0.42, (v - 0.62) / 0.12), 0, 1)
    tinted *= 1 - (lips * rng.uniform(0, 1))[..., None] * rgb(0.0, 0.5, 0.4)
    cheeks = (np.abs(u) < 0.7) & (v > 0.1) & (v < 0.7) & (grey > 0.15)
    colour = skin[cheeks].mean(axis=0) if cheeks.any() else rgb(0.8, 0.6, 0.5)
    return (
        np.clip(tinted, 0, 1).astype(np.float32),
        colour.astype(np.float32),
        (dye * rng.uniform(0.04, 0.25)).astype(np.float32),
    )


def _matte(grey: Array, u: Array, v: Array) -> Array:
    """Return the matte of the head: certain within the face, by grey level around it."""
    core = np.clip(5 * (1.12 - np.hypot(u / 1.05, (v - 0.25) / 0.98)), 0, 1)
    shell = np.clip(5 * (1.25 - np.hypot(u / 1.3, (v - 0.1) / 1.2)), 0, 1)
    neck = np.clip(4 * (v - 0.9), 0, 1) * np.clip(4 * (1.5 - np.abs(u)), 0, 1)
    backdrop = (v < 0.4) & (np.abs(u) > 1.35) & (np.abs(u) < 1.9) & (grey > 0.01)
    level = float(np.median(grey[backdrop])) if backdrop.sum() > 50 else 0.3
    unlike = np.clip(np.abs(grey - level) * 14 - 0.6, 0, 1)
    matte = np.maximum(core, np.maximum(shell, neck) * unlike)
    return soften(matte, 1.6)


def _background(rng: Rng) -> Array:
    """Draw a studio wall, a gradient, or objects out of focus."""
    base = any_colour(rng)
    canvas = np.empty((EDGE_PX, EDGE_PX, 3), np.float32)
    canvas[:] = base
    kind = rng.random()
    if kind < 0.25:  # plain, most often bright, as in a studio
        canvas[:] = rgb(1, 1, 1) * rng.uniform(0.75, 1.0) if rng.random() < 0.5 else base
        return canvas
    slope = clouds(rng, 1)[..., None] * 0.5 + 0.5
    canvas += slope * (any_colour(rng) - canvas)
    if kind < 0.4:
        return canvas
    for _ in range(rng.integers(4, 14)):  # people, lamps, shelves, leaves
        x, y = rng.uniform(0, EDGE_PX, 2)
        wide, high = np.exp(rng.uniform(np.log(8), np.log(120), 2))
        corners = np.array([(-wide, -high), (wide, -high), (wide, high), (-wide, high)]) / 2
        outline = corners + np.array((x, y))
        if rng.random() < 0.6:
            outline = rounded(outline)
        paint = patterned(rng) if rng.random() < 0.2 else any_colour(rng)
        if rng.random() < 0.2:
            paint = hue(rng.uniform(0.02, 0.09), rng.uniform(0.25, 0.6), rng.uniform(0.4, 0.95))
        blend(canvas, fill(outline.astype(np.float32)), paint)
    for _ in range(rng.integers(0, 4)):
        _draw_bystander(rng, canvas)
    focus_px = rng.uniform(0, 9)
    return np.stack([soften(canvas[..., channel], focus_px) for channel in range(3)], axis=-1)


def _draw_bystander(rng: Rng, canvas: Array) -> None:
    """Draw a person out of focus: hair, skin, clothes, and a mask on half of them.

    Bystanders' masks do not depend on the class.
    """
    half_px = EDGE_PX * rng.uniform(0.06, 0.17)
    x_px = EDGE_PX * (0.5 + rng.choice([-1, 1]) * rng.uniform(0.2, 0.55))
    frame = Frame(
        np.array((x_px, EDGE_PX * rng.uniform(0.1, 0.7)), np.float32),
        np.array((half_px, 0), np.float32),
        np.array((0, 1.6 * half_px), np.float32),
        lean=float(rng.uniform(-0.45, 0.45)),
    )
    hair = [(0, -1.05), (1.0, -0.9), (1.35, -0.2), (1.25, rng.uniform(0.2, 1.6))]
    body = [(0.6, 1.1), (1.9, 1.4), (2.3, 2.2), (2.4, 5)]
    face = [(0, -0.6), (0.8, -0.5), (1.0, 0.2), (0.7, 0.85), (0.0, 1.1)]
    skin = hue(rng.uniform(0.03, 0.08), rng.uniform(0.3, 0.6), rng.uniform(0.35, 0.95))
    dark = hue(rng.uniform(0.02, 0.1), rng.uniform(0, 0.5), rng.uniform(0.03, 0.3))
    for half, paint in ((hair, dark), (body, any_colour(rng)), (face, skin)):
        blend(canvas, fill(frame.place(rounded(mirrored(half), rounds=2))), paint)
    if rng.random() < 0.5:
        mask = [(0, 0.25), (0.9, 0.35), (0.85, 0.7), (0, 1.1)]
        alpha = fill(frame.place(rounded(mirrored(mask), rounds=2)))
        blend(canvas, alpha, surgical_colour(rng))


def _draw_body(rng: Rng, canvas: Array, frame: Frame, skin: Array, hair: Array) -> None:
    """Draw shoulders, neck and often long hair behind the head."""
    long_hair = rng.random() < 0.45
    if long_hair:
        length = rng.uniform(0.9, 2.6)
        half = [(0, -1.15), (0.8, -1.05), (1.25, -0.4), (1.3, 0.5), (1.4, length), (0.5, length)]
        strands = hair * (1 + 0.3 * clouds(rng, 20))[..., None]
        blend(canvas, fill(frame.place(rounded(mirrored(half))), soft_px=1.5), strands)
    neck = mirrored([(0.6, 0.5), (0.68, 1.2), (1.0, 1.9)])
    blend(canvas, fill(frame.place(neck), soft_px=1.0), skin * 0.75)
    slope, collar = rng.uniform(1.3, 1.65), rng.uniform(1.08, 1.4)
    half = [
        (0, collar + 0.4),
        (0.55, collar),
        (0.9, collar + 0.1),
        (2.1, slope),
        (2.7, 2.4),
        (3, 6),
    ]
    cloth = patterned(rng) * (1 + 0.15 * clouds(rng, 6))[..., None]
    blend(canvas, fill(frame.place(rounded(mirrored(half))), soft_px=0.7), cloth)
    if rng.random() < 0.4:  # an open jacket
        side = [(0.5, collar), (0.9, collar), (2.3, slope), (2.9, 2.4), (3.2, 6), (0.8, 6)]
        jacket = any_colour(rng)
        for mirror in (1, -1):
            lapel = frame.place(np.array(side) * (mirror, 1))
            blend(canvas, fill(lapel, soft_px=0.7), jacket)
            blend(canvas, stroke(lapel[[0, 5]], 1.5), jacket * 0.5)
