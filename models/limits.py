"""Bounds on pictures, apart from the decoder so that settings need not load PyTorch."""

from typing import Final

MAX_PIXELS: Final = 50_000_000
"""Default of the most pixels a picture: above any phone's main camera mode, 150 MB in RGB."""

MAX_PIXELS_CEILING: Final = 178_956_970
"""Largest sensible setting: beyond, Pillow itself refuses (2 x Image.MAX_IMAGE_PIXELS)."""
