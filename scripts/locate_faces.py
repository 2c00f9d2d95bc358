"""Locates the face in each photograph of the sample, and writes them to its table."""

import csv

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.sample.photographs import FACES_FILE, SHRINK, read_photographs

# The matching grid: a photograph at 3/8 of its size, centred in a square of this edge.
_GRID_PX = 48
_REACH_PX = 8  # max distance of a face from the centre, on the grid
_SCALES = (0.8, 0.9, 1.0, 1.1, 1.22)
_ROLLS_DEG = (-8.0, 0.0, 8.0)


def main() -> None:
    people, greys = read_photographs()
    with FACES_FILE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("person", "scale", "roll_deg", "x", "y"))
        for person, row in zip(people, locate(greys).tolist(), strict=True):
            writer.writerow((person, *(f"{value:g}" for value in row)))


def locate(greys: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Locate every face by its similarity to the mean face of all photographs.

    Congealing (Learned-Miller 2006) in its simplest form: match all photographs to their
    mean over shifts, scales and rolls, take the mean of the matches, and match again.

    Returns:
        (N, 4) of scale, roll in degrees, and shift x and y on the grid.
    """
    poses = [(scale, roll) for scale in _SCALES for roll in _ROLLS_DEG]
    grids = {pose: _normalised(greys, *pose) for pose in poses}
    few = slice(None, None, 4)  # a quarter of the photographs gives the same mean face
    template = grids[1.0, 0.0][few].mean(axis=0)
    for _ in range(2):
        _, matched = _match({pose: grid[few] for pose, grid in grids.items()}, template)
        template = matched.mean(axis=0)
    found, _ = _match(grids, template)
    return found


def _normalised(
    greys: list[NDArray[np.uint8]], scale: float, roll_deg: float
) -> NDArray[np.float32]:
    """Scale, turn and band-pass all photographs on the matching grid: (N, grid, grid)."""
    turn, step = np.radians(roll_deg), 1 / (SHRINK * scale)
    cos, sin, middle = step * np.cos(turn), step * np.sin(turn), _GRID_PX / 2
    affine = (cos, -sin, 46 - middle * (cos - sin), sin, cos, 56 - middle * (sin + cos))
    out = np.empty((len(greys), _GRID_PX, _GRID_PX), np.float32)
    for index, grey in enumerate(greys):
        turned = Image.fromarray(grey).transform(
            (_GRID_PX, _GRID_PX),
            Image.Transform.AFFINE,
            affine,
            Image.Resampling.BILINEAR,
            fillcolor=int(grey.mean()),
        )
        out[index] = np.asarray(turned)
    y, x = np.fft.fftfreq(_GRID_PX)[:, None], np.fft.rfftfreq(_GRID_PX)
    squared = -2 * np.pi**2 * (x**2 + y**2)
    # Drop what is finer than a nostril (grain) and coarser than half a face (light).
    band = (np.exp(squared * 0.8**2) - np.exp(squared * 3.0**2)).astype(np.float32)
    return np.fft.irfft2(np.fft.rfft2(out) * band, s=out.shape[1:]).astype(np.float32)


def _match(
    grids: dict[tuple[float, float], NDArray[np.float32]], template: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Match every photograph to a template by normalised correlation.

    Returns:
        (N, 4) of scale, roll in degrees, and shift x and y on the grid; and the (N, grid,
        grid) matched photographs.
    """
    y, x = np.mgrid[:_GRID_PX, :_GRID_PX] - (_GRID_PX - 1) / 2
    window = ((x / 11.5) ** 2 + ((y - 1) / 13) ** 2 < 1).astype(np.float32)
    frontal = (template + template[:, ::-1]) / 2  # a frontal face is its own mirror image
    level = (frontal - frontal[window > 0].mean()) * window
    pattern = (level / np.linalg.norm(level)).astype(np.float32)

    def around(
        spectrum: NDArray[np.complexfloating], mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        product = spectrum * np.conj(np.fft.rfft2(mask))
        plane = np.fft.irfft2(product, s=(_GRID_PX, _GRID_PX))
        plane = np.roll(plane, (_REACH_PX, _REACH_PX), axis=(1, 2))
        return plane[:, : 2 * _REACH_PX + 1, : 2 * _REACH_PX + 1].astype(np.float32)

    shifts = np.arange(-_REACH_PX, _REACH_PX + 1)
    # Weak priors: the face is centred, upright and of the usual size.
    off_centre = 0.0015 * (shifts[:, None] ** 2 + shifts**2)
    n = len(next(iter(grids.values())))
    best = np.full(n, -np.inf)
    found = np.zeros((n, 4))
    matched = np.zeros((n, _GRID_PX, _GRID_PX), np.float32)
    for (scale, roll_deg), grid in grids.items():
        spectrum = np.fft.rfft2(grid)
        likeness = around(spectrum, pattern)
        square, mean = around(np.fft.rfft2(grid**2), window), around(spectrum, window)
        energy = square - mean**2 / window.sum()
        score = likeness / np.sqrt(np.maximum(energy, 1e-3)) - off_centre
        score = score - 0.03 * (roll_deg != 0) - 0.6 * np.log(scale) ** 2
        flat = score.reshape(n, -1)
        peak = flat.argmax(axis=1)
        for index in np.flatnonzero(flat.max(axis=1) > best):
            best[index] = flat[index, peak[index]]
            dy, dx = (int(part) - _REACH_PX for part in divmod(int(peak[index]), shifts.size))
            found[index] = (scale, roll_deg, dx, dy)
            matched[index] = np.roll(grid[index], (-dy, -dx), axis=(0, 1))
    return found, matched


if __name__ == "__main__":
    main()
