"""Bounds on pictures, apart from the decoder so that settings need not load PyTorch."""

from typing import Final

MAX_PIXELS: Final = 50_000_000
"""Default of the most pixels a picture: above any phone's main camera mode, 150 MB in RGB."""

MAX_PIXELS_CEILING: Final = 178_956_970
"""Largest sensible setting: beyond, Pillow itself refuses (2 x Image.MAX_IMAGE_PIXELS)."""

MAX_FILE_BYTES: Final = 32 * 2**20
"""Default of the most bytes a file: a phone's 50 megapixels as JPEG have 10 to 25 MB."""

DECODE_S: Final = 5.0
"""Default of the most processor seconds a picture: 50 megapixels take below 1.5 in any format."""

MAX_SCANS: Final = 100
"""Scans of a JPEG: encoders make 10 or so, and each may cost 4 ms at 50 megapixels with no data."""

MAX_PIECES: Final = 65_536
"""Strips or tiles of a TIFF, each of which costs Pillow some 300 bytes before any is decoded."""

MAX_HEADER_READS: Final = 20_000
"""Reads until the header is known; a part of it takes three or so. Pillow remembers each part."""

BYTES_A_PIXEL: Final = 16
"""Most memory that decoding takes a pixel: WebP's two canvases, its answer, and Pillow's copy."""

DECODED_BYTES_A_PIXEL: Final = 12
"""What of that is still held once a picture is decoded: WebP's two canvases, and the picture."""

TURNING_BYTES_A_PIXEL: Final = 24
"""Most memory that making a decoded picture upright and RGB takes a pixel: six copies of it."""

UPRIGHT_PX: Final = 1920
"""Longer side that pictures are decoded at, at least, where faces are wanted: one that can just be
found then keeps its pixels. From twice as many they are reduced."""

SEARCHED_PX: Final = (320, 1280)
"""Longer sides that a picture is searched for faces at. The detector is best at faces of 20 to 300
pixels: the small copy is for faces that fill the picture, the large one for small faces."""

SEARCH_BYTES: Final = 80 * SEARCHED_PX[-1] ** 2
"""Most memory of a search: the copies given to the detector and its feature maps."""

COPIES: Final = 3
"""Of an encoded file while it is decoded: ours, and WebP's two."""
