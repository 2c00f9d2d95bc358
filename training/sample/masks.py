"""Drawn face masks: disposable, cupped (FFP2, N95) and sewn from cloth.

Each has an outline in face coordinates that covers nose, mouth and chin, a texture, a relief of
folds, and straps to the ears. The relief is multiplied by the light on the face beneath, so that
a mask is lit like the face that wears it.
"""

from collections.abc import Callable

import numpy as np

from training.sample.drawing import (
    Array,
    blend,
    clouds,
    fill,
    mirrored,
    rounded,
    soften,
    stroke,
)
from training.sample.fabrics import any_colour, hue, patterned, plain, surgical_colour
from training.sample.scene import Scene

Rng = np.random.Generator

# An outline (K, 2) in face coordinates and a relief over the planes u and v.
_Pattern = tuple[Array, Callable[[Array, Array], Array]]


def draw_mask(rng: Rng, scene: Scene, *, below_nose: bool = False) -> None:
    """Put a mask of any kind on the scene's face, over nose, mouth and chin.

    Args:
        rng: Source of all random choices.
        scene: Painted on in place.
        below_nose: Pull the mask down, so that the nose is free.
    """
    kind = rng.choice(["disposable", "cup", "cloth"], p=[0.56, 0.22, 0.22])
    if kind == "disposable":
        texture = plain(rng, surgical_colour(rng))
        outline, relief = _disposable(rng)
    elif kind == "cup":
        pale = hue(rng.random(), rng.uniform(0, 0.06), rng.uniform(0.82, 1.0))
        texture = plain(rng, pale if rng.random() < 0.75 else any_colour(rng))
        outline, relief = _cup(rng)
    else:
        texture = patterned(rng)
        outline, relief = _cloth(rng)
    if below_nose:
        outline, relief = _pulled_down(rng, outline, relief)
    wear_mask(rng, scene, outline, relief, texture)
    if kind == "cup" and rng.random() < 0.25:
        _draw_valve(rng, scene)


def wear_mask(
    rng: Rng,
    scene: Scene,
    outline: Array,
    relief: Callable[[Array, Array], Array],
    texture: Array,
) -> None:
    """Draw a mask on the face, with its shadow, folds, rim and straps."""
    # No mask is worn quite straight.
    outline = _jittered(rng, outline)
    shape_px = scene.frame.place(rounded(outline, rounds=2)).astype(np.float32)
    unit_px = scene.frame.unit_px
    alpha = fill(shape_px, soft_px=0.012 * unit_px)

    _draw_straps(rng, scene, outline)
    shadow = soften(np.roll(alpha, round(0.06 * unit_px), axis=0), 0.07 * unit_px)
    blend(scene.canvas, shadow * rng.uniform(0.2, 0.55), scene.skin * 0.25)

    u, v = scene.frame.coordinates
    lit = 1 + rng.uniform(0.3, 0.8) * (scene.light - 1)
    # A mask is a cylinder across the face: its sides turn away from the light.
    round_off = 1 - rng.uniform(0.1, 0.4) * np.clip(np.abs(u), 0, 1.2) ** 2.5
    creases = 1 + rng.uniform(0.02, 0.09) * clouds(rng, int(rng.integers(6, 14)))
    shade = lit * round_off * creases * relief(u, v) * rng.uniform(0.85, 1.08)
    rim = alpha - fill(scene.frame.place(rounded(_shrunk(outline), rounds=2)), soft_px=1)
    shade = shade * (1 + rng.uniform(-0.2, 0.1) * np.clip(rim, 0, 1))
    cloth = np.clip(texture * shade[..., None], 0, 1).astype(np.float32)
    blend(scene.canvas, alpha, cloth)


def _disposable(rng: Rng) -> _Pattern:
    """Return a pleated rectangle that opens over the chin."""
    top = rng.uniform(0.14, 0.34)
    half = [
        (0.0, top - 0.04),
        (0.22, top),
        (0.5, top + rng.uniform(0.06, 0.14)),
        (0.93, top + rng.uniform(0.08, 0.22)),
        (0.93, rng.uniform(0.62, 0.78)),
        (0.62, rng.uniform(0.9, 1.02)),
        (0.3, rng.uniform(1.03, 1.13)),
        (0.0, rng.uniform(1.05, 1.16)),
    ]
    pleats = [top + 0.28 + 0.19 * index + rng.normal(0, 0.02) for index in range(3)]
    depth, wire = rng.uniform(0.04, 0.22), rng.uniform(0, 0.12)
    sag = rng.uniform(-0.02, 0.12)

    def relief(u: Array, v: Array) -> Array:
        level = v + sag * u**2
        shade = 1 + 0.06 * np.exp(-((u / 0.22) ** 2)) * (v < 0.65)
        for pleat in pleats:
            # A pleat is a bright fold over a dark slit.
            slit, fold = (level - pleat) / 0.018, (level - pleat + 0.04) / 0.025
            shade = shade - depth * np.exp(-(slit**2)) + 0.4 * depth * np.exp(-(fold**2))
        band = (level - top - 0.07) / 0.02
        return np.asarray(shade - wire * np.exp(-(band**2)))

    return mirrored(half), relief


def _cup(rng: Rng) -> _Pattern:
    """Return a stiff cup or a folded beak, with a seam across or down the middle."""
    top, wide = rng.uniform(0.12, 0.3), rng.uniform(0.72, 0.9)
    half = [
        (0.0, top - 0.04),
        (0.2, top),
        (0.5, top + 0.18),
        (wide, rng.uniform(0.46, 0.56)),
        (wide * 0.97, 0.72),
        (0.6, rng.uniform(0.94, 1.04)),
        (0.25, rng.uniform(1.08, 1.16)),
        (0.0, rng.uniform(1.08, 1.18)),
    ]
    upright = rng.random() < 0.5
    depth, dome = rng.uniform(0.05, 0.25), rng.uniform(0.1, 0.3)

    def relief(u: Array, v: Array) -> Array:
        away = np.clip(np.hypot(u / 0.95, (v - 0.58) / 0.62), 0, 1.3)
        seam = u / 0.03 if upright else (v - 0.6 + 0.1 * u**2) / 0.03
        return np.asarray(1 + 0.05 - dome * away**2 - depth * np.exp(-(seam**2)))

    return mirrored(half), relief


def _cloth(rng: Rng) -> _Pattern:
    """Return a fitted piece of cloth, often of two halves sewn over the nose."""
    top = rng.uniform(0.12, 0.34)
    half = [
        (0.0, top - 0.03),
        (0.25, top + 0.02),
        (0.6, top + rng.uniform(0.1, 0.2)),
        (0.98, rng.uniform(0.32, 0.46)),
        (0.95, rng.uniform(0.6, 0.72)),
        (0.66, rng.uniform(0.92, 1.02)),
        (0.25, rng.uniform(1.06, 1.14)),
        (0.0, rng.uniform(1.06, 1.16)),
    ]
    depth = rng.uniform(0, 0.3)

    def relief(u: Array, v: Array) -> Array:
        ridge = np.exp(-((u / 0.025) ** 2))
        return np.asarray(1.04 - depth * ridge - 0.12 * np.abs(u) + 0 * v)

    return mirrored(half), relief


def _pulled_down(
    rng: Rng, outline: Array, relief: Callable[[Array, Array], Array]
) -> tuple[Array, Callable[[Array, Array], Array]]:
    """Move a mask's upper edge between nose and mouth; below the chin its cloth bunches."""
    top, bottom = float(outline[:, 1].min()), float(outline[:, 1].max())
    edge, chin = rng.uniform(0.48, 0.56), bottom + rng.uniform(0, 0.1)
    squeeze = (chin - edge) / (bottom - top)
    lowered = outline.copy()
    lowered[:, 1] = edge + (outline[:, 1] - top) * squeeze
    return lowered, lambda u, v: relief(u, (v - edge) / squeeze + top)


def _draw_straps(rng: Rng, scene: Scene, outline: Array) -> None:
    """Draw loops from the corners of the mask to the ears, or bands around the head."""
    colour = any_colour(rng) if rng.random() < 0.3 else hue(0, 0, rng.uniform(0.75, 1))
    width_px = rng.uniform(0.02, 0.07) * scene.frame.unit_px
    ear_high, ear_low = rng.uniform(0.02, 0.2), rng.uniform(0.3, 0.45)
    for side in (1, -1):
        flank = outline[outline[:, 0] * side > 0.6]
        if not len(flank):
            continue
        high, low = flank[flank[:, 1].argmin()], flank[flank[:, 1].argmax()]
        for corner, ear in ((high, (1.1 * side, ear_high)), (low, (1.12 * side, ear_low))):
            bend = (np.add(corner, ear) / 2) + (0, 0.03)
            line = rounded([corner * (0.95, 1), bend, ear], closed=False)
            alpha = stroke(scene.frame.place(line), width_px, soft_px=0.4)
            blend(scene.canvas, alpha, (colour * 0.9).astype(np.float32))


def _draw_valve(rng: Rng, scene: Scene) -> None:
    """Draw the round exhalation valve of some respirators, to one side of the mouth."""
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles) * 0.6], axis=1)
    middle = (rng.choice([-1, 1]) * rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.75))
    colour = hue(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.3, 1))
    for radius, shade in ((0.19, 0.7), (0.17, 1.0), (0.09, 0.8)):
        alpha = fill(scene.frame.place(middle + radius * circle), soft_px=0.6)
        blend(scene.canvas, alpha, colour * np.float32(shade))


def _jittered(rng: Rng, outline: Array) -> Array:
    """Scale, shift and turn an outline a little."""
    moved = outline * rng.normal(1, 0.045, 2) + rng.normal(0, 0.03, 2)
    turned = np.stack([0.6 - moved[:, 1], moved[:, 0]], axis=1)
    return np.asarray(moved + rng.normal(0, 0.04) * turned, dtype=np.float32)


def _shrunk(outline: Array) -> Array:
    """Shrink an outline by a hem's width."""
    middle = outline.mean(axis=0)
    return np.asarray(middle + (outline - middle) * 0.94, dtype=np.float32)
