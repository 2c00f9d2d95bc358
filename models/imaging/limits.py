"""Limits on pictures and their defaults; importable without Pillow and PyTorch."""

from typing import Final

MAX_PIXELS: Final = 50_000_000
"""Default max pixels per picture: above any phone's main camera mode, 150 MB in RGB."""

MAX_PIXELS_CEILING: Final = 178_956_970
"""Largest accepted setting: beyond, Pillow itself refuses (2 x Image.MAX_IMAGE_PIXELS)."""

MAX_FILE_BYTES: Final = 32 * 2**20
"""Default max bytes per file: a phone's 50 megapixels as JPEG have 10 to 25 MB."""

DECODE_S: Final = 5.0
"""Default max processor seconds per picture: 50 megapixels take below 1.5 in any format."""

MAX_JPEG_SCANS: Final = 100
"""Max scans of a JPEG. Encoders write about 10; each costs up to 4 ms at 50 megapixels without any
data."""

MAX_TIFF_PARTS: Final = 65_536
"""Max strips or tiles of a TIFF. Each costs Pillow some 300 bytes before any is decoded."""

MAX_HEADER_READS: Final = 20_000
"""Max reads of a header. Each part takes about three, and Pillow keeps each part in memory."""

ORIENTED_PX: Final = 1920
"""Longer side, in pixels, down to which a picture is reduced before face detection: the smallest
detectable faces keep their pixels. Pictures of at least twice as many are reduced."""

SEARCH_EDGES_PX: Final = (320, 1280)
"""Longer sides, in pixels, at which a picture is searched for faces. The detector is best at faces
of 20 to 300 pixels: the small copy is for faces that fill the picture, the large one for small
faces."""
