"""Check of the work that a HEIC or AVIF file causes, before a pixel is decoded.

A picture may be a grid of tiles with an alpha channel of its own size, and the same tile may stand
in many places. Only the structures that cameras and encoders write are accepted: one coded
picture or a grid of coded pictures, each with max one alpha channel, turned and mirrored max once.
"""

from dataclasses import dataclass
from typing import Final, NamedTuple

from models.errors import ImageTooCostly, ImageTooLarge, UndecodableImage
from models.imaging.heif.boxes import BrokenBoxes, Items, read_items
from models.imaging.heif.colour import profile_of
from models.imaging.heif.streams import av1_work, hevc_slices

_ALPHA: Final = (
    b"urn:mpeg:avc:2015:auxid:1",
    b"urn:mpeg:hevc:2015:auxid:1",
    b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha",
)
_CODED: Final = {b"hvc1": b"hvcC", b"av01": b"av1C"}
_TURNS: Final = (b"irot", b"imir", b"clap")
# Bytes that decoding one pixel takes, per 16 of `models.imaging.memory`. Measured at 12 megapixels:
# 7 to 11 bytes; 8 to 18 with more than 8 bits; 9 to 22 with alpha; the max is with both.
_MEMORY_PLAIN: Final = 0.75
_MEMORY_DEEP: Final = 1.2
_MEMORY_ALPHA: Final = 1.5
# Decoded samples per pixel allowed: cameras write up to some slices, none of which overlap.
_MAX_SLICES_PER_PIXEL: Final = 8
# ISO/IEC 14496-15, 8.3.2.1, and AV1-ISOBMFF, 2.3.3: where a configuration has the depth of samples.
_HEVC_DEPTH: Final = (17, 0x07)
_AV1_DEPTH: Final = (2, 0x40)
# Layers of an AV1 picture: one is usual, and four is the max that AVIF describes (section 2.3.2).
_MAX_AV1_FRAMES: Final = 4


class CheckedFile(NamedTuple):
    """A HEIC or AVIF file whose work is bounded.

    Attributes:
        held_pixels: Pixels by which its memory is estimated.
        profile: ICC profile of its code points for colours, None if they are those of sRGB.
    """

    held_pixels: int
    profile: bytes | None


@dataclass
class _Work:
    """Work of decoding a picture.

    Attributes:
        pixels: Pixels of all tiles.
        alpha_pixels: Pixels of all alpha channels.
        samples: Pixels, each counted as often as slices or frames may hold it.
        is_deep: A tile has more than 8 bits per channel.
    """

    pixels: int = 0
    alpha_pixels: int = 0
    samples: int = 0
    is_deep: bool = False

    def held_pixels(self) -> int:
        """Return the pixels of a picture of another format that takes as much memory."""
        if self.alpha_pixels:
            weight = _MEMORY_ALPHA
        else:
            weight = _MEMORY_DEEP if self.is_deep else _MEMORY_PLAIN
        return int(weight * max(self.pixels, self.alpha_pixels))


def check_items(data: bytes, format: str, *, max_pixels: int) -> CheckedFile:
    """Check a HEIC or AVIF file before it is opened.

    Args:
        data: The file.
        format: "HEIC" or "AVIF".
        max_pixels: Max pixels of a picture.

    Raises:
        ImageTooLarge: The picture has more pixels, or its tiles, its alpha channel or its depth
            take the memory of more.
        ImageTooCostly: Decoding could take much longer than for a picture of this size.
        UndecodableImage: The file is broken, or its picture has another structure.
    """
    try:
        items = read_items(data)
        work = _Check(data, items, format).run(max_pixels)
    except BrokenBoxes as error:
        raise UndecodableImage(f"The {format} picture is broken or cut short ({error}).") from error
    held_pixels = work.held_pixels()
    if held_pixels > max_pixels:
        raise ImageTooLarge(
            f"The {format} picture's tiles, alpha channel or depth take the memory of "
            f"{held_pixels:,} pixels, more than the {max_pixels:,} allowed."
        )
    if work.samples > _MAX_SLICES_PER_PIXEL * max_pixels:
        raise ImageTooCostly(f"The {format} picture has more slices than are read.")
    return CheckedFile(held_pixels, profile_of(data, items))


class _Check:
    """Walk over the items that make up a picture."""

    def __init__(self, data: bytes, items: Items, format: str) -> None:
        self._data, self._items, self._format = data, items, format
        self._coded: dict[int, tuple[int, int, bool]] = {}  # pixels, samples, is deep
        self._alphas: dict[int, list[int]] = {}
        for (kind, item), targets in items.references.items():
            if kind == b"auxl" and self._is_alpha(item):
                for target in targets:
                    self._alphas.setdefault(target, []).append(item)

    def run(self, max_pixels: int) -> _Work:
        """Return the work of the primary picture."""
        primary = self._items.primary
        width, height = self._items.size(self._data, primary)
        if width * height > max_pixels:
            raise ImageTooLarge(
                f"{width} x {height} pixels are more than the {max_pixels:,} allowed."
            )
        work = _Work()
        self._add(work, primary)
        return work

    def _is_alpha(self, item: int) -> bool:
        box = self._items.of(item, b"auxC")
        return box is not None and (
            bytes(self._data[box.begin + 4 : box.end]).split(b"\0")[0] in _ALPHA
        )

    def _add(
        self, work: _Work, item: int, *, is_tile: bool = False, is_alpha: bool = False
    ) -> None:
        """Add the work of a picture, its tiles and its alpha channel."""
        for turn in _TURNS:
            self._items.of(item, turn)  # raises if it is turned more than once
        kind = self._items.kinds.get(item)
        if kind in _CODED:
            pixels, samples, is_deep = self._coded_work(item, kind)
            work.samples += samples
            work.is_deep |= is_deep
            if is_alpha:
                work.alpha_pixels += pixels
            else:
                work.pixels += pixels
        elif kind == b"grid" and not is_tile:
            for tile in self._tiles(item):
                self._add(work, tile, is_tile=True, is_alpha=is_alpha)
        else:
            name = (kind or b"missing").decode("ascii", "replace")
            raise UndecodableImage(
                f"A {self._format} picture of the kind {name!r} is not read here: save it as one "
                "plain picture."
            )
        alphas = self._alphas.get(item, [])
        if len(alphas) > 1 or (alphas and is_alpha):
            raise BrokenBoxes("a picture has more than one alpha channel")
        for alpha in alphas:
            self._add(work, alpha, is_tile=is_tile, is_alpha=True)

    def _coded_work(self, item: int, kind: bytes) -> tuple[int, int, bool]:
        """Return pixels and samples of a coded picture, and True if it has more than 8 bits."""
        if item not in self._coded:
            width, height = self._items.size(self._data, item)
            box = self._items.of(item, _CODED[kind])
            if box is None:
                raise BrokenBoxes("the decoder's configuration is missing")
            configuration = self._data[box.begin : box.end]
            stream = self._items.content(self._data, item)
            pixels = width * height
            if kind == b"hvc1":  # libheif refuses a stream of another size
                at, bits = _HEVC_DEPTH
                samples = pixels * hevc_slices(configuration, stream)
            else:
                at, bits = _AV1_DEPTH
                coded, frames = av1_work(stream)
                if frames > _MAX_AV1_FRAMES:
                    raise ImageTooCostly("The AVIF picture has more layers than are read.")
                pixels = max(pixels, coded)
                samples = pixels * frames
            self._coded[item] = (
                pixels,
                samples,
                any(byte & bits for byte in configuration[at : at + 1]),
            )
        return self._coded[item]

    def _tiles(self, item: int) -> list[int]:
        """Return the tiles of a grid (23008-12, 6.6.2.3), each as often as it is shown."""
        content = self._items.content(self._data, item)
        tiles = self._items.references.get((b"dimg", item), [])
        if len(content) < 4 or len(tiles) != (content[2] + 1) * (content[3] + 1):
            raise BrokenBoxes("a grid does not have its tiles")
        return tiles
