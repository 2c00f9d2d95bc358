"""File type by signature: a supported format, or a name for the error sentence.

known_format           format whose signature a file has, even if the rest is broken
unsupported_sentence   error sentence for a file without a known signature
unsupported_jpeg_kind  noun phrase for an unsupported kind of JPEG
"""

import re
import string
from typing import Final

from models.imaging.header import ALL_JPEG_FRAMES, jpeg_frame
from models.imaging.heif.boxes import brands

# Pillow accepts two TIFF signatures with a swapped version number, too.
_SIGNATURES: Final = {
    b"\xff\xd8": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II\0*": "TIFF",
    b"MM*\0": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
}
_PRINTABLE: Final = string.printable.encode()
_BMP_HEADER_BYTES: Final = 26

SEND: Final = "send JPEG, PNG, WebP, HEIC, AVIF, BMP, GIF or TIFF"

# ISO/IEC 14496-12, brands in the box `ftyp`: 23008-12 for HEIC, AV1-AVIF for AVIF.
_HEIC_BRANDS: Final = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_AVIF_BRANDS: Final = {b"avif", b"avis"}
_PICTURE_BRANDS: Final = {*_HEIC_BRANDS, *_AVIF_BRANDS, b"mif1", b"msf1"}

_VIDEO: Final = "A video, not a picture"
_OTHER_FILES: Final = (
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL is not read here"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000 is not read here"),
    (rb"\0\0[\1\2]\0.\0", "An icon (ICO) is not read here"),
    (rb"8BPS", "A Photoshop document is not read here"),
    (rb"P[1-7]\s", "Netpbm (PPM, PGM, PBM) is not read here"),
    (rb".{128}DICM", "DICOM is not read here"),
    (rb"%PDF", "A PDF document, not a picture"),
    (rb"%!PS", "A PostScript document, not a picture"),
    (rb"\x1aE\xdf\xa3|RIFF....AVI ", _VIDEO),
    (rb"RIFF....WAVE|ID3|OggS", "A sound, not a picture"),
    (rb"PK[\3\5\7]", "A ZIP archive, not a picture: unpack it"),
    (rb"\x1f\x8b", "gzip data, not a picture: unpack it"),
    (rb"Rar!|7z\xbc\xaf|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd", "An archive, not a picture: unpack it"),
    (rb"version https://git-lfs", "A Git LFS pointer, not the picture: run `git lfs pull`"),
    (rb"\s*data:[\w/+.-]*[;,]", "A data: URI, not a picture: decode its base64 to bytes"),
    (rb"\s*(<\?xml.{0,400}?)?(<!--.{0,400}?-->\s*)?(<!DOCTYPE svg.{0,400}?)?<svg",
     "SVG is not read here"),
    (rb"\s*<(!doctype html|html|head|body)", "An HTML page, not a picture"),
    (rb"\s*<\?xml", "An XML document, not a picture"),
    (rb"\s*(\{\s*[\"}]|\[\s*[\[{\"\d\]-])", "JSON, not a picture"),
    (rb"--[^\r\n]{1,70}\r\nContent-",
     "A multipart body, not a picture: set its Content-Type with the boundary"),
    (rb"=FF=D8=FF|=89PNG", "A picture in quoted-printable: decode it"),
    (rb"\s*https?://", "The address of a picture, not a picture: download it"),
)  # fmt: skip
_OTHER: Final = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), phrase) for pattern, phrase in _OTHER_FILES
)
# The signatures of JPEG, PNG, GIF, WebP, TIFF and BMP in base64 (RFC 4648), line ends among them.
_BASE64: Final = re.compile(
    rb"\s*(/9j/|_9j_|iVBORw0KGgo|R0lGOD|UklGR|SUkqA|TU0AK|Qk[0-3])[\w+/=\s-]*\Z"
)
_SNIFFED_BYTES: Final = 1024


_UNSUPPORTED_JPEGS: Final = {
    **dict.fromkeys((0xC3, 0xCB), "A lossless JPEG"),
    **dict.fromkeys((0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF), "A hierarchical JPEG"),
    0xF7: "JPEG-LS",
}


def known_format(data: bytes) -> str | None:
    """Return Pillow's name of the format whose signature a file has, None for any other file."""
    if data[:4] == b"RIFF" and b"WEBP".startswith(data[8:12]):
        return "WEBP"
    if data[:2] == b"BM":
        header = data[:_BMP_HEADER_BYTES]
        is_text = len(header) == _BMP_HEADER_BYTES and not header.strip(_PRINTABLE)
        return None if is_text else "BMP"
    if data[4:8] == b"ftyp":
        return _box_format(data)
    return next((name for begin, name in _SIGNATURES.items() if data.startswith(begin)), None)


def unsupported_sentence(data: bytes) -> str:
    """Return the error sentence for a file without a known signature."""
    if data[4:8] == b"ftyp":
        return f"{_VIDEO}: {SEND}."
    begin = data[:_SNIFFED_BYTES]
    if _BASE64.match(begin):
        return f"A picture as base64 text: decode it to bytes, and {SEND}."
    phrase = next((phrase for pattern, phrase in _OTHER if pattern.match(begin)), None)
    if phrase is None:
        return f"Not a picture that is read here: {SEND}."
    return f"{phrase}; {SEND}." if ":" in phrase else f"{phrase}: {SEND}."


def unsupported_jpeg_kind(data: bytes) -> str | None:
    """Return a noun phrase for an unsupported kind of JPEG, None for a supported one.

    ITU-T T.81, table B.1: the frame's marker names the process.
    """
    at = jpeg_frame(data, ALL_JPEG_FRAMES)
    if at is None or at + 10 > len(data):
        return None
    marker, bits, components = data[at + 1], data[at + 4], data[at + 9]
    if marker in _UNSUPPORTED_JPEGS:
        return _UNSUPPORTED_JPEGS[marker]
    if bits != 8:
        return f"A JPEG of {bits} bits per sample"
    return None if components in (1, 3, 4) else f"A JPEG of {components} components"


def uninstalled_sentence(format: str) -> str:
    """Return the error sentence for HEIC or AVIF without the library that reads it."""
    if format == "AVIF":
        return "AVIF is not read here, for this Pillow is built without it: send JPEG."
    return (
        "HEIC pictures, as iPhones take them, are not read here: send the picture as JPEG. "
        "To have the phone take JPEG, choose Settings, Camera, Formats, Most Compatible. "
        "They are read where the package pi-heif is installed."
    )


def _box_format(data: bytes) -> str | None:
    """Return "HEIC" or "AVIF" for an ISO media file with a picture, None for a video."""
    found = brands(data)
    major = found[0]
    if major not in _PICTURE_BRANDS:
        return None
    if major in _AVIF_BRANDS or (major not in _HEIC_BRANDS and _AVIF_BRANDS & set(found)):
        return "AVIF"
    return "HEIC"
