"""Colours and woven textures, the same for masks as for clothes, hats and scarves.

All classes wear the same cloth, so that neither colour nor pattern distinguishes them.
"""

import colorsys

import numpy as np

from training.sample.drawing import EDGE_PX, Array, clouds

Rng = np.random.Generator


def rgb(red: float, green: float, blue: float) -> Array:
    """Return a colour of 0..1 as float32 (3,)."""
    return np.array((red, green, blue), dtype=np.float32)


def hue(hue: float, saturation: float, value: float) -> Array:
    """Return the colour of a hue, saturation and value of 0..1, as float32 (3,)."""
    return rgb(*colorsys.hsv_to_rgb(hue % 1.0, min(1.0, saturation), min(1.0, value)))


def any_colour(rng: Rng) -> Array:
    """Draw a colour of cloth: white, black and grey often, else any hue."""
    kind = rng.random()
    if kind < 0.22:
        return hue(rng.random(), rng.uniform(0, 0.06), rng.uniform(0.8, 1.0))
    if kind < 0.45:
        return hue(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.04, 0.22))
    if kind < 0.58:
        return hue(rng.random(), rng.uniform(0, 0.12), rng.uniform(0.25, 0.75))
    if kind < 0.72:  # all classes wear the pale blues and greens of hospitals
        return surgical_colour(rng)
    return hue(rng.random(), rng.uniform(0.2, 0.95), rng.uniform(0.25, 0.95))


def surgical_colour(rng: Rng) -> Array:
    """Draw the colour of a disposable mask: pale blue, teal, white, rarely pink or black."""
    kind = rng.random()
    if kind < 0.42:
        return hue(rng.uniform(0.52, 0.6), rng.uniform(0.14, 0.5), rng.uniform(0.72, 0.98))
    if kind < 0.58:
        return hue(rng.uniform(0.42, 0.51), rng.uniform(0.18, 0.5), rng.uniform(0.65, 0.95))
    if kind < 0.84:
        return hue(rng.random(), rng.uniform(0, 0.07), rng.uniform(0.82, 1.0))
    if kind < 0.91:
        return hue(rng.uniform(0.9, 1.0), rng.uniform(0.12, 0.4), rng.uniform(0.8, 1.0))
    return hue(rng.random(), rng.uniform(0, 0.2), rng.uniform(0.05, 0.2))


def plain(rng: Rng, colour: Array) -> Array:
    """Draw cloth of one colour, (EDGE_PX, EDGE_PX, 3), with the faint mottle of a weave."""
    weave = 1 + 0.03 * clouds(rng, 60) + 0.05 * clouds(rng, 7)
    cloth: Array = np.clip(colour * weave[..., None], 0, 1).astype(np.float32)
    return cloth


def patterned(rng: Rng) -> Array:
    """Draw cloth, (EDGE_PX, EDGE_PX, 3): plain, striped, checked, dotted, flowered or mottled."""
    cloth = plain(rng, any_colour(rng))
    kind = rng.choice(
        ["plain", "stripes", "checks", "dots", "flowers", "mottle"],
        p=[0.5, 0.14, 0.12, 0.08, 0.08, 0.08],
    )
    if kind == "plain":
        return cloth
    turn, period_px = rng.uniform(0, np.pi), rng.uniform(7, 30)
    y, x = np.mgrid[:EDGE_PX, :EDGE_PX].astype(np.float32) * np.float32(2 * np.pi / period_px)
    along = np.cos(turn) * x + np.sin(turn) * y
    across = np.cos(turn) * y - np.sin(turn) * x
    if kind == "stripes":
        alpha = _edge(np.sin(along) - rng.uniform(-0.5, 0.7))
    elif kind == "checks":
        alpha = 0.5 * _edge(np.sin(along)) + 0.5 * _edge(np.sin(across))
    elif kind == "dots":
        alpha = _edge(np.sin(along) + np.sin(across) - rng.uniform(0.8, 1.5))
    elif kind == "flowers":
        bend = 1.5 * clouds(rng, 9)
        alpha = _edge(np.sin(along + bend) * np.sin(across - bend) - 0.35)
    else:
        alpha = _edge(clouds(rng, int(rng.integers(6, 20))) * 2)
    second = any_colour(rng)
    woven: Array = cloth + alpha[..., None] * (second - cloth)
    return woven


def _edge(field: Array) -> Array:
    """Return 1 for positive and 0 for negative values of a field, with a narrow slope between."""
    plane: Array = np.clip(field * 4 + 0.5, 0, 1).astype(np.float32)
    return plane
