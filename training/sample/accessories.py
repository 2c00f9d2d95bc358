"""Accessories of all classes: hats, hoods, glasses, objects in the picture."""

import numpy as np

from training.sample.drawing import (
    EDGE_PX,
    Array,
    blend,
    clouds,
    fill,
    mirrored,
    rounded,
    stroke,
)
from training.sample.fabrics import hue, patterned, rgb
from training.sample.scene import Scene

Rng = np.random.Generator


def draw_accessories(rng: Rng, scene: Scene) -> None:
    """Add accessories, at the same rates in all classes."""
    if abs(scene.frame.lean) > 0.15:
        _draw_side_of_head(rng, scene)
    if rng.random() < 0.14:
        _draw_glasses(rng, scene, dark=rng.random() < 0.45)
    headwear = rng.random()
    if headwear < 0.16:
        _draw_hat(rng, scene)
    elif headwear < 0.24:
        _draw_hood(rng, scene)
    elif headwear < 0.4:
        _draw_fringe(rng, scene)
    if rng.random() < 0.25:
        _draw_patch(rng, scene)
    if rng.random() < 0.08:
        _draw_watermark(rng, scene)


def _draw_side_of_head(rng: Rng, scene: Scene) -> None:
    """Draw hair on the visible side of a turned head, over the hidden cheek."""
    side = -np.sign(scene.frame.lean)
    temple = rng.uniform(0.6, 0.95)
    outline = [(temple - 0.3, -0.9), (temple, -0.3), (temple + 0.05, rng.uniform(-0.1, 0.9))]
    outline += [(1.3, rng.uniform(0.3, 1.4)), (1.6, -0.2), (1.3, -1.0), (0.4, -1.35)]
    strands = scene.hair * (1 + 0.35 * clouds(rng, 22))[..., None]
    alpha = fill(scene.frame.place(rounded(np.array(outline) * (side, 1))), soft_px=1.5)
    blend(scene.canvas, alpha, np.clip(strands, 0, 1).astype(np.float32))


def _draw_glasses(rng: Rng, scene: Scene, *, dark: bool) -> None:
    """Draw spectacles or sunglasses on the eyes."""
    frame, wide, high = scene.frame, rng.uniform(0.34, 0.44), rng.uniform(0.13, 0.21)
    level, squareness = rng.uniform(-0.02, 0.06), rng.uniform(2, 4)
    angles = np.linspace(0, 2 * np.pi, 33)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    oval = np.sign(arc) * np.abs(arc) ** (2 / squareness)
    colour = hue(rng.random(), rng.uniform(0, 0.6), rng.uniform(0.02, 0.5))
    line_px = rng.uniform(0.02, 0.07) * frame.unit_px
    for side in (1, -1):
        lens = frame.place(np.array((0.47 * side, level)) + oval * (wide, high))
        opacity = rng.uniform(0.75, 1.0) if dark else rng.uniform(0.0, 0.15)
        glass = colour * np.float32(0.4) if dark else rgb(1, 1, 1)
        blend(scene.canvas, fill(lens, soft_px=0.5) * opacity, glass)
        blend(scene.canvas, stroke(lens, line_px), colour)
        temple = frame.place([((0.47 + wide) * side, level - 0.03), (1.1 * side, level)])
        blend(scene.canvas, stroke(temple, line_px), colour)
    bridge = frame.place([(-0.14, level), (0, level - 0.03), (0.14, level)])
    blend(scene.canvas, stroke(bridge, line_px), colour)


def _draw_hat(rng: Rng, scene: Scene) -> None:
    """Draw a cap, a woollen hat or a surgeon's cap: cloth above the brows."""
    brow, crown = rng.uniform(-0.5, -0.28), rng.uniform(-1.5, -1.1)
    half = [(0, crown), (0.75, crown + 0.1), (1.2, -0.7), (1.22, brow + 0.1), (0.6, brow - 0.05)]
    half.append((0.0, brow - 0.08))
    u, _ = scene.frame.coordinates
    shade = (1.05 - 0.3 * u**2 + 0.1 * clouds(rng, 9)) * rng.uniform(0.7, 1)
    cloth = np.clip(patterned(rng) * shade[..., None], 0, 1).astype(np.float32)
    alpha = fill(scene.frame.place(rounded(mirrored(half), rounds=2)), soft_px=0.6)
    blend(scene.canvas, alpha, cloth)
    if rng.random() < 0.5:  # a peak or a turned-up edge
        band = [(0, brow - 0.18), (1.25, brow), (1.2, brow + 0.14), (0, brow - 0.02)]
        edge = fill(scene.frame.place(rounded(mirrored(band), rounds=2)), soft_px=0.6)
        blend(scene.canvas, edge, cloth * np.float32(rng.uniform(0.5, 1.1)))


def _draw_hood(rng: Rng, scene: Scene) -> None:
    """Draw a hood or a veil: a ring of cloth around the face that leaves the face free."""
    ring = [(0, -1.6), (1.1, -1.4), (1.75, -0.4), (1.8, 0.9), (2.2, 1.9), (0, 1.9)]
    opening = [(0, rng.uniform(-0.75, -0.4)), (0.7, -0.5), (1.02, 0.0), (0.98, 0.6), (0.6, 1.05)]
    opening.append((0, rng.uniform(1.08, 1.2)))
    alpha = fill(scene.frame.place(rounded(mirrored(ring))), soft_px=0.8)
    alpha = alpha * (1 - fill(scene.frame.place(rounded(mirrored(opening))), soft_px=1.2))
    cloth = patterned(rng) * (0.85 + 0.25 * clouds(rng, 7))[..., None]
    blend(scene.canvas, alpha, np.clip(cloth, 0, 1).astype(np.float32))


def _draw_fringe(rng: Rng, scene: Scene) -> None:
    """Draw hair over the forehead, which the tightly cropped photographs lack."""
    parting, brow = rng.uniform(-0.4, 0.4), rng.uniform(-0.55, -0.2)
    outline = [(-1.15, 0.2), (-1.2, -0.6), (-0.8, -1.15), (0, -1.3), (0.8, -1.15), (1.2, -0.6)]
    outline += [(1.15, 0.2), (0.95, -0.3), (0.5, brow), (parting, brow - 0.2), (-0.5, brow)]
    outline.append((-0.95, -0.3))
    strands = scene.hair * (1 + 0.35 * clouds(rng, 26))[..., None]
    blend(scene.canvas, fill(scene.frame.place(rounded(outline)), soft_px=1.2), strands)


def _draw_patch(rng: Rng, scene: Scene) -> None:
    """Draw cloth or a flat object away from nose and mouth: a sign, a sleeve, a bag."""
    angle = rng.uniform(0, 2 * np.pi)
    away = np.array((np.cos(angle) * rng.uniform(1.6, 2.8), 0.5 + np.sin(angle) * 1.9))
    sides = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * rng.uniform(0.25, 0.75, 2)
    turn = rng.normal(0, 0.3)
    sides = sides @ np.array([(np.cos(turn), np.sin(turn)), (-np.sin(turn), np.cos(turn))])
    outline = rounded(away + sides, rounds=2) if rng.random() < 0.6 else away + sides
    _, v = scene.frame.coordinates
    folds = 1 + 0.1 * clouds(rng, 8) + 0.08 * np.sin(v * rng.uniform(10, 40))
    cloth = np.clip(patterned(rng) * folds[..., None], 0, 1).astype(np.float32)
    blend(scene.canvas, fill(scene.frame.place(outline), soft_px=rng.uniform(0.3, 2)), cloth)


def _draw_watermark(rng: Rng, scene: Scene) -> None:
    """Draw faint strokes across the picture, as on an agency's preview."""
    y_px = rng.uniform(0.2, 0.9) * EDGE_PX
    colour: Array = hue(0, 0, rng.uniform(0.6, 1))
    x_px = rng.uniform(0, 0.3) * EDGE_PX
    while x_px < 0.8 * EDGE_PX:
        points = np.array([(x_px, y_px), (x_px + 8, y_px - 18)]) + rng.uniform(-5, 5, (2, 2))
        blend(scene.canvas, 0.35 * stroke(points.astype(np.float32), 3), colour)
        x_px += rng.uniform(10, 20)
