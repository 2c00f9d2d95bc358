"""Camera and web site: blur, noise and compression, the last step and the same for all classes.

They come after the drawing, so that no drawn edge is sharper or cleaner than the photograph
beside it.
"""

import io

import numpy as np
from PIL import Image, ImageFilter

from training.sample.drawing import EDGE_PX, Array
from training.sample.fabrics import rgb

Rng = np.random.Generator


def develop(rng: Rng, canvas: Array) -> bytes:
    """Light, expose, blur, resize and compress a canvas.

    Returns:
        One JPEG file, its longer edge 112 to 320 pixels.
    """
    y, x = np.mgrid[-1 : 1 : EDGE_PX * 1j, -1 : 1 : EDGE_PX * 1j].astype(np.float32)
    turn, strength = rng.uniform(0, 2 * np.pi), abs(rng.normal(0, 0.18))
    slope = 1 + strength * (np.cos(turn) * x + np.sin(turn) * y)
    cast = 1 + rng.normal(0, 0.04, 3)
    gain = (rng.uniform(0.7, 1.15) * cast).astype(np.float32)
    exposed = np.clip(canvas * slope[..., None] * gain, 0, 1) ** np.float32(rng.uniform(0.75, 1.2))
    grey = (exposed @ rgb(0.3, 0.59, 0.11))[..., None]
    colourfulness = 0.0 if rng.random() < 0.06 else rng.uniform(0.65, 1.2)
    exposed = grey + colourfulness * (exposed - grey)

    picture = Image.fromarray(np.clip(exposed * 255, 0, 255).astype(np.uint8))
    # Most pictures are in focus; people in the background are far out of focus.
    blur_px = abs(rng.normal(0.3, 0.6)) if rng.random() < 0.85 else rng.uniform(1.5, 4.0)
    picture = picture.filter(ImageFilter.GaussianBlur(float(blur_px)))
    long_px = int(np.exp(rng.uniform(np.log(112), np.log(320))))
    short_px = int(long_px * rng.uniform(0.82, 1.0))
    size = (short_px, long_px) if rng.random() < 0.6 else (long_px, short_px)
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    grain = abs(rng.normal(0, 3.5)) * rng.standard_normal((size[1], size[0], 1), np.float32)
    noisy = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noisy).save(file, "JPEG", quality=int(rng.integers(60, 96)))
    return file.getvalue()
