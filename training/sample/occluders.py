"""Occluders of unmasked faces: hands, scarves, cups, microphones, beards.

Without them the class `mask` would mean "something is drawn on the mouth". Each leaves nose or
mouth visible, or covers them with something other than a mask. Some masked faces have the same
objects beneath or before the mask, or a hand would prove that there is no mask.
"""

from collections.abc import Callable

import numpy as np

from training.sample.drawing import blend, clouds, fill, mirrored, rounded, soften, stroke
from training.sample.fabrics import any_colour, hue, patterned, plain, rgb, surgical_colour
from training.sample.scene import Scene

Rng = np.random.Generator


def draw_occluder(rng: Rng, scene: Scene) -> None:
    """Hide a part of an unmasked face behind one object that is not a mask."""
    kinds = (_draw_hand, _draw_scarf, _draw_beard, _draw_microphone, _draw_cup, _draw_sheet)
    _draw_one(rng, scene, kinds, (0.34, 0.14, 0.16, 0.16, 0.12, 0.08))


def draw_beneath_mask(rng: Rng, scene: Scene) -> None:
    """Draw a beard or a scarf for a mask to cover."""
    _draw_one(rng, scene, (_draw_beard, _draw_scarf), (0.6, 0.4))


def draw_before_mask(rng: Rng, scene: Scene) -> None:
    """Draw a hand, a telephone or a book that hides a part of a mask."""
    _draw_one(rng, scene, (_draw_hand, _draw_sheet), (0.5, 0.5))


def _draw_one(
    rng: Rng,
    scene: Scene,
    kinds: tuple[Callable[[Rng, Scene], None], ...],
    shares: tuple[float, ...],
) -> None:
    """Draw one object, its kind chosen by the shares."""
    kinds[int(rng.choice(len(kinds), p=shares))](rng, scene)


def _draw_hand(rng: Rng, scene: Scene) -> None:
    """Draw a hand of the face's skin before mouth, chin or cheek: fingers over a palm."""
    frame = scene.frame
    target = np.array((rng.normal(0, 0.35), rng.uniform(0.45, 1.0)))
    # Fingers point up and towards the face; the palm comes from below or from a side.
    turn = rng.normal(0, 0.8)
    ahead = np.array((np.sin(turn), -np.cos(turn)))
    beside = np.array((np.cos(turn), np.sin(turn)))
    skin = scene.skin * rng.uniform(0.8, 1.15)
    shade = (0.95 + 0.12 * clouds(rng, 7)) * (0.5 + 0.5 * scene.light)
    paint = np.clip(skin * shade[..., None], 0, 1).astype(np.float32)
    thick = rng.uniform(0.17, 0.24)
    length, spread = rng.uniform(0.45, 0.85), rng.uniform(0.8, 1.15)
    num_fingers = int(rng.integers(2, 5))

    wrist = target - ahead * rng.uniform(1.6, 2.4)
    knuckles = target - ahead * length * 0.6
    palm_width = thick * num_fingers * 0.55
    palm = [knuckles - beside * palm_width, knuckles + beside * palm_width]
    palm += [wrist + beside * palm_width * 0.8, wrist - beside * palm_width * 0.8]
    parts = [fill(frame.place(rounded(palm, rounds=2)), soft_px=0.8)]
    for index in range(num_fingers):
        offset = (index - (num_fingers - 1) / 2) * thick * spread
        reach = length * (1 - 0.12 * abs(index - num_fingers / 2)) * rng.uniform(0.9, 1.1)
        base = knuckles + beside * offset * 0.9
        tip = knuckles + beside * offset * 1.15 + ahead * reach
        bend = (base + tip) / 2 + beside * rng.normal(0, 0.03)
        line = frame.place(rounded([base, bend, tip], closed=False, rounds=2))
        parts.append(stroke(line, thick * frame.unit_px, soft_px=0.6))
    for alpha in parts:
        # Dark gaps between the fingers, lighter along the middle of each.
        rim = np.clip(soften(alpha, 0.05 * frame.unit_px) - alpha, 0, 1)
        blend(scene.canvas, np.clip(rim * 1.3, 0, 0.6), scene.skin * 0.3)
        inner = soften(alpha, 0.09 * frame.unit_px) ** 2
        blend(scene.canvas, alpha, paint * (0.72 + 0.3 * inner[..., None]))


def _draw_scarf(rng: Rng, scene: Scene) -> None:
    """Draw a scarf, a collar or a mask pulled down: cloth on the neck, at most up to the lip."""
    top = rng.uniform(0.78, 1.08)
    half = [(0, top + 0.05), (0.6, top - 0.03), (1.1, top - 0.25), (1.5, top + 0.2)]
    half += [(1.6, top + 1.0), (0, top + rng.uniform(0.9, 1.6))]
    if rng.random() < 0.3:  # a mask worn under the chin
        half = [
            (0, top + 0.12),
            (0.5, top + 0.06),
            (0.88, top - 0.16),
            (0.9, top),
            (0.5, top + 0.36),
        ]
        half.append((0, top + 0.42))
        cloth = plain(rng, surgical_colour(rng))
    else:
        cloth = patterned(rng)
    u, v = scene.frame.coordinates
    folds = np.sin((v + 0.25 * u**2) * rng.uniform(12, 30) + 2 * clouds(rng, 4))
    shade = 0.9 + 0.12 * folds + 0.12 * clouds(rng, 8) - 0.1 * u**2
    alpha = fill(scene.frame.place(rounded(mirrored(half), rounds=2)), soft_px=0.8)
    shadow = soften(alpha, 0.1 * scene.frame.unit_px)
    blend(scene.canvas, shadow * 0.4, scene.skin * 0.25)
    blend(scene.canvas, alpha, np.clip(cloth * shade[..., None], 0, 1).astype(np.float32))


def _draw_beard(rng: Rng, scene: Scene) -> None:
    """Draw a beard, a moustache or both; the lips stay free."""
    u, v = scene.frame.coordinates
    ragged = 0.07 * clouds(rng, 30) + 0.05 * clouds(rng, 10)
    jaw = np.hypot(u / 1.0, (v - 0.3) / rng.uniform(0.8, 1.05)) + ragged
    chin = (v > rng.uniform(0.42, 0.62) + 0.1 * np.cos(3 * u) + ragged) & (jaw < 1)
    lip = np.hypot(u / rng.uniform(0.4, 0.5), (v - 0.5) / 0.09) + 2 * ragged < 1
    mouth = np.hypot(u / 0.38, (v - 0.63) / 0.09) + ragged < 1
    kind = rng.random()
    where = lip if kind < 0.25 else chin | lip
    alpha = soften((where & ~mouth).astype(np.float32), 0.05 * scene.frame.unit_px)
    strands = 1 + 0.4 * clouds(rng, 50) + 0.25 * clouds(rng, 20)
    colour = hue(rng.uniform(0.02, 0.1), rng.uniform(0, 0.6), rng.uniform(0.05, 0.75))
    paint = np.clip(colour * (strands * scene.light)[..., None], 0, 1).astype(np.float32)
    blend(scene.canvas, alpha * rng.uniform(0.6, 0.97), paint)


def _draw_microphone(rng: Rng, scene: Scene) -> None:
    """Draw a microphone held before the mouth, or the boom of a headset beside it."""
    frame = scene.frame
    colour = hue(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.03, 0.35))
    if rng.random() < 0.3:
        side = rng.choice([-1, 1])
        boom = rounded([(1.05 * side, 0.2), (0.9 * side, 0.65), (0.35 * side, 0.72)], closed=False)
        blend(scene.canvas, stroke(frame.place(boom), 0.05 * frame.unit_px), colour)
        tip = np.array([(0.36 * side, 0.72), (0.25 * side, 0.72)])
        blend(scene.canvas, stroke(frame.place(tip), 0.14 * frame.unit_px), colour)
        return
    head = np.array((rng.normal(0, 0.2), rng.uniform(0.65, 1.0)))
    foot = head + np.array((rng.normal(0, 0.7), rng.uniform(1.0, 2.0)))
    size_px = rng.uniform(0.35, 0.6) * frame.unit_px
    handle = stroke(frame.place([head, foot]), 0.55 * size_px, soft_px=0.5)
    blend(scene.canvas, handle, any_colour(rng) * np.float32(0.5))
    ball = stroke(frame.place([head, head + 0.08 * (foot - head)]), size_px, soft_px=0.5)
    u, v = frame.coordinates
    gleam = 1.6 * np.exp(-4 * ((u - head[0] + 0.1) ** 2 + (v - head[1] + 0.1) ** 2))
    mesh = 0.7 + gleam + 0.3 * clouds(rng, 60)
    blend(scene.canvas, ball, np.clip(colour * mesh[..., None], 0, 1).astype(np.float32))


def _draw_cup(rng: Rng, scene: Scene) -> None:
    """Draw a cup, a glass or a can at the lips; the nose stays free."""
    top, wide = rng.uniform(0.55, 0.72), rng.uniform(0.3, 0.5)
    high, side = rng.uniform(0.7, 1.2), rng.normal(0, 0.12)
    sides = [(side - wide, top), (side + wide, top)]
    sides += [(side + wide * 0.75, top + high), (side - wide * 0.75, top + high)]
    u, _ = scene.frame.coordinates
    around = np.clip((u - side) / wide, -1, 1)
    shade = 1.05 - 0.45 * around**2 + 0.25 * np.exp(-(((around + 0.5) / 0.12) ** 2))
    paint = patterned(rng) * shade[..., None]
    blend(
        scene.canvas,
        fill(scene.frame.place(sides), soft_px=0.6),
        np.clip(paint, 0, 1).astype(np.float32),
    )
    rim = np.linspace(-1, 1, 9)
    edge = np.stack([side + wide * rim, top + 0.04 * (1 - rim**2)], axis=1)
    blend(scene.canvas, stroke(scene.frame.place(edge), 2.0), any_colour(rng))


def _draw_sheet(rng: Rng, scene: Scene) -> None:
    """Draw a telephone, a book or a flower before one half of the face, hard-edged and flat."""
    side = rng.choice([-1, 1]) * rng.uniform(0.45, 1.0)
    middle = np.array((side, rng.uniform(0.2, 1.1)))
    half = np.array((rng.uniform(0.2, 0.4), rng.uniform(0.25, 0.6)))
    corners = middle + np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half
    corners = corners + rng.normal(0, 0.06, (4, 2))
    blend(scene.canvas, fill(scene.frame.place(corners), soft_px=0.5), patterned(rng))
    if rng.random() < 0.5:
        inner = middle + (corners - middle) * 0.85
        blend(scene.canvas, fill(scene.frame.place(inner)), rgb(0.05, 0.05, 0.07))
