"""Small files that cost much memory or time, of each format: by size, by count, by nesting.

`edge` is the edge of the largest square that the service accepts, in pixels. A file of that size
may be answered, a larger one is refused, and neither may cost more than an ordinary image of that
size.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import Any, Final

from PIL import Image

from checks.fuzz.originals import originals
from checks.fuzz.sizes import announce
from tests.models.imaging.heif_files import Item, box, coded, heic, put_together, tiled

_REPEATED_PARTS: Final = 20_000
_JPEG_SCANS: Final = 2_000
_TIFF_STRIPS: Final = 200_000
_ANNOUNCED_SIZES: Final = ((0, 0), (1, 2**31 - 1), (2**16 - 1, 2**16 - 1), (2**31 - 1, 2**31 - 1))


def bombs(edge: int) -> Iterator[tuple[str, bytes]]:
    """Yield files, each with a name that describes it."""
    yield from _announced(edge)
    yield from _plain(edge)
    yield from _repeated(edge)
    yield from _tiled(edge)
    yield from _nested(edge)


def _announced(edge: int) -> Iterator[tuple[str, bytes]]:
    """Yield small images whose headers announce other sizes."""
    for name, data in originals().items():
        for width, height in (
            *_ANNOUNCED_SIZES,
            (edge, edge),
            (edge + 1, edge + 1),
            (edge * edge, 1),
        ):
            yield f"{name} that announces {width} x {height}", announce(data, width, height)


def _plain(edge: int) -> Iterator[tuple[str, bytes]]:
    """Yield real images of one colour: the largest accepted size, and a larger one."""
    for size in (edge, edge + edge // 4):
        grey = Image.new("L", (size, size), 90)
        rgb = Image.new("RGB", (size, size), (90, 20, 150))
        yield f"png, {size}", _saved(rgb, "PNG")
        yield f"png of 16 bits, {size}", _saved(Image.new("I;16", (size, size), 900), "PNG")
        yield f"jpeg, {size}", _saved(rgb, "JPEG")
        yield f"progressive jpeg, {size}", _saved(rgb, "JPEG", progressive=True)
        yield f"cmyk jpeg, {size}", _saved(rgb.convert("CMYK"), "JPEG")
        yield f"gif, {size}", _saved(grey, "GIF")
        yield f"tiff, {size}", _saved(rgb, "TIFF", compression="tiff_deflate")
        yield f"tiff of one bit, {size}", _saved(grey.convert("1"), "TIFF", compression="group4")
        yield f"bmp of runs, {size}", _bmp_of_runs(size)
        yield f"heic, {size}", heic(rgb)
        yield f"heic with alpha, {size}", heic(rgb.convert("RGBA"))
        yield f"avif, {size}", _saved(rgb, "AVIF", speed=10)
        if size < 2**14:  # the format's own limit
            yield f"webp, {size}", _saved(rgb, "WEBP", lossless=True, method=0)


def _repeated(edge: int) -> Iterator[tuple[str, bytes]]:
    """Yield files that repeat one small part."""
    whole = originals()
    jpeg = _saved(Image.new("L", (edge, edge), 90), "JPEG", progressive=True)
    scan = jpeg[jpeg.rfind(b"\xff\xda") : -2]
    yield "jpeg of many scans", jpeg[:-2] + scan * _JPEG_SCANS + jpeg[-2:]
    comment = b"\xff\xfe\0\x03x"
    yield "jpeg of many comments", jpeg[:2] + comment * _REPEATED_PARTS + jpeg[2:]
    for part in (b"tEXt", b"prVt", b"fcTL"):
        chunk = _chunk(part, b"a\0b")
        yield f"png of many {part.decode()}", _png_with(whole["png"], chunk * _REPEATED_PARTS)
    squeezed = zlib.compress(bytes(100_000_000), 9)
    yield "png with a text bomb", _png_with(whole["png"], _chunk(b"zTXt", b"a\0\0" + squeezed))
    yield "png with a profile bomb", _png_with(whole["png"], _chunk(b"iCCP", b"a\0\0" + squeezed))
    gif = whole["gif"]
    at = gif.index(b"\x21\xf9")
    comment = b"\x21\xfe" + b"\xff" + b"x" * 255 + b"\0"
    yield "gif of many comments", gif[:at] + comment * _REPEATED_PARTS + gif[at:]
    yield (
        "gif of many comment parts",
        gif[:at] + b"\x21\xfe" + b"\x01x" * _REPEATED_PARTS + b"\0" + gif[at:],
    )
    frames = [Image.new("L", (9, 9), shade % 256) for shade in range(1_000)]
    for kind in ("GIF", "WEBP", "PNG"):
        yield (
            f"{kind.lower()} of many frames",
            _saved(frames[0], kind, save_all=True, append_images=frames[1:]),
        )
    yield "tiff of many strips", _tiff_of_strips(_TIFF_STRIPS)
    yield "tiff that is its own next page", _tiff_of_strips(1, own_next=True)
    yield "tiff of many depths", _tiff_of_depths(whole["tiff"], _TIFF_STRIPS)


def _tiled(edge: int) -> Iterator[tuple[str, bytes]]:
    """Yield HEIC and AVIF files that show parts more often or larger than they announce."""
    large = Image.new("RGB", (edge, edge), (90, 20, 150))
    small = heic(large.resize((64, 64)))
    edge_files = {"heic": heic(large), "avif": _saved(large, "AVIF", speed=10)}
    for kind, whole in edge_files.items():
        yield f"{kind} of large tiles", tiled(whole, 8, 8, (64, 64), brand=kind.encode())
        item = coded(whole)
        item.content *= 50
        yield f"{kind} of many pictures in one", put_together([item], brand=kind.encode())
        lying = coded(whole, (16, 16))
        yield f"{kind} that announces less", put_together([lying], brand=kind.encode())
    yield "heic of many tiles", tiled(small, 16, 16, (1000, 1000))
    turned = coded(edge_files["heic"])
    turned.properties = [*turned.properties, *[box(b"irot", b"\1")] * 200]
    yield "heic of many turns", put_together([turned])
    shown = [coded(small)] * 200
    metadata = Item(b"Exif", [], bytes(5_000_000))
    yield (
        "heic of many pictures with the same metadata",
        put_together([*shown, metadata], [(b"cdsc", 201, range(1, 201))]),
    )


def _nested(edge: int) -> Iterator[tuple[str, bytes]]:
    """Yield files inside files."""
    whole = originals()
    bomb = _saved(Image.new("L", (2 * edge, 2 * edge)), "PNG")
    inner = _saved(Image.new("L", (edge, edge)), "JPEG")
    yield "png in an icon", _icon(bomb)
    yield "png in a bitmap", _bmp_header(edge, edge, bits=0, compression=5, palette=b"") + bomb
    yield "jpeg in a bitmap", _bmp_header(edge, edge, bits=0, compression=4, palette=b"") + inner
    exif = b"Exif\0\0" + whole["tiff deflate"] + bomb
    for kind in ("jpeg", "webp"):
        yield f"tiff and png in a {kind}'s exif", _with_exif(whole[kind], exif[:60_000])
    deep = whole["png"]
    for _ in range(12):
        deep = _png_with(whole["png"], _chunk(b"eXIf", deep))
    yield "png in png in png", deep
    yield "all formats, one behind the other", b"".join(whole.values())


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_with(png: bytes, chunks: bytes) -> bytes:
    """Return a PNG with chunks after its header."""
    return png[:33] + chunks + png[33:]


def _with_exif(data: bytes, exif: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return _saved(image.copy(), str(image.format), exif=exif)


def _bmp_header(width: int, height: int, *, bits: int, compression: int, palette: bytes) -> bytes:
    start = 54 + len(palette)
    head = struct.pack("<2sIII", b"BM", start, 0, start)
    return (
        head
        + struct.pack(
            "<IiiHHIIiiII", 40, width, height, 1, bits, compression, 0, 1, 1, len(palette) // 4, 0
        )
        + palette
    )


def _bmp_of_runs(edge: int) -> bytes:
    """Return a bitmap in RLE8, where two bytes encode 255 pixels."""
    row = b"\xff\x01" * (edge // 255) + bytes([edge % 255, 1]) * (edge % 255 > 0) + b"\0\0"
    palette = bytes(range(256)) * 4
    return _bmp_header(edge, edge, bits=8, compression=1, palette=palette) + row * edge + b"\0\1"


def _icon(png: bytes) -> bytes:
    return struct.pack("<HHHBBBBHHII", 0, 1, 1, 0, 0, 0, 0, 1, 32, len(png), 22) + png


def _tiff_of_strips(count: int, *, own_next: bool = False) -> bytes:
    """Return a grey TIFF, one pixel wide, with one row per strip, all at the same offset."""
    tags = [
        (256, 4, 1, 1),  # width
        (257, 4, 1, count),  # height
        (258, 3, 1, 8),  # bits
        (259, 3, 1, 1),  # not compressed
        (262, 3, 1, 1),  # grey
        (273, 4, count, 8 if count == 1 else 114),  # where the strips are, or their list is
        (278, 4, 1, 1),  # rows per strip
        (279, 4, count, 1 if count == 1 else 114 + 4 * count),  # their sizes, or the list
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    directory += struct.pack("<I", 8 if own_next else 0)
    data = struct.pack("<2sHI", b"II", 42, 8) + directory
    data += bytes(114 - len(data))
    return data + struct.pack("<I", 8) * count + struct.pack("<I", 1) * count


def _tiff_of_depths(tiff: bytes, count: int) -> bytes:
    """Return a TIFF with `count` values for BitsPerSample; Pillow makes an integer of each."""
    found = bytearray(tiff)
    (at,) = struct.unpack_from("<I", tiff, 4)
    (entries,) = struct.unpack_from("<H", tiff, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", tiff, entry) == (258,):
            struct.pack_into("<HII", found, entry + 2, 3, count, len(tiff))
    return bytes(found) + b"\x2c\x01" * count
