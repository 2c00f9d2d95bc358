"""Signatures: a broken picture of a known format is not another file, and other files are named."""

import base64
import quopri
from typing import Any

import pytest

from models.errors import UndecodableImage, UnsupportedFormat
from models.imaging.decode import decode_image
from models.imaging.formats import known_format
from tests.images import encode, photograph
from tests.models.imaging.handmade import with_frame

WHOLE = {
    kind: encode(photograph(224, 224), kind)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
}


@pytest.mark.parametrize("length", [4, 8, 12, 16, 20, 30, 45, 60, 100, 200])
@pytest.mark.parametrize("kind", WHOLE)
def test_picture_cut_short_in_its_header_is_undecodable(kind: str, length: int) -> None:
    with pytest.raises(UndecodableImage, match=f"^The {kind} picture is broken or cut short"):
        decode_image(WHOLE[kind][:length], size=8)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"bits": 12}, "A JPEG of 12 bits per sample"),
        ({"marker": 0xC1, "bits": 12}, "A JPEG of 12 bits per sample"),
        ({"marker": 0xC3}, "A lossless JPEG"),
        ({"marker": 0xC5}, "A hierarchical JPEG"),
        ({"marker": 0xF7}, "JPEG-LS"),
        ({"components": 2}, "A JPEG of 2 components"),
        ({"components": 5}, "A JPEG of 5 components"),
    ],
)
def test_unread_kinds_of_jpeg_are_named(changes: dict[str, Any], kind: str) -> None:
    with pytest.raises(UndecodableImage, match=f"^{kind} is not read here: send a baseline"):
        decode_image(with_frame(WHOLE["JPEG"], **changes), size=8)


def test_png_with_converted_line_ends_is_undecodable() -> None:
    with pytest.raises(UndecodableImage):
        decode_image(WHOLE["PNG"].replace(b"\r\n", b"\n"), size=8)


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (base64.b64encode(WHOLE["JPEG"]), "base64 text"),
        (base64.encodebytes(WHOLE["PNG"]).replace(b"\n", b"\r\n"), "base64 text"),
        (base64.urlsafe_b64encode(WHOLE["WEBP"]), "base64 text"),
        (b"data:image/jpeg;base64," + base64.b64encode(WHOLE["JPEG"]), "base64"),
        (quopri.encodestring(WHOLE["JPEG"]), "quoted-printable"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "video"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video"),
        (b"\x1aE\xdf\xa3" + bytes(40), "video"),
        (b"RIFF\x24\0\0\0AVI LIST", "video"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "sound"),
        (b"\xff\x0a" + bytes(20), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
        (b"\xff\x4f\xff\x51\0\x2f", "JPEG 2000"),
        (encode(photograph(16, 16), "ICO"), "icon"),
        (encode(photograph(16, 16), "PPM"), "Netpbm"),
        (b"8BPS\0\1" + bytes(20), "Photoshop"),
        (bytes(128) + b"DICM" + bytes(20), "DICOM"),
        (b"%PDF-1.7\n", "PDF"),
        (b"%!PS-Adobe-3.0", "PostScript"),
        (b"PK\3\4" + bytes(26), "ZIP"),
        (b"\x1f\x8b\x08" + bytes(10), "gzip"),
        (b"7z\xbc\xaf\x27\x1c", "archive"),
        (b"\n<!DOCTYPE html><html>", "HTML"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg/>", "SVG"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "XML"),
        (b'{"error": "not found"}', "JSON"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "Git LFS pointer"),
        (b"https://example.org/face.jpg", "address"),
        (b'--X\r\nContent-Disposition: form-data; name="files"\r\n\r\n', "multipart"),
    ],
)  # fmt: skip
def test_other_files_are_named_with_what_to_send(data: bytes, name: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        decode_image(data, size=8)
    assert name in str(caught.value)
    assert "send" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "data",
    [b"", b"B", b"GIF", b"BMW and other text about cars", b"RIFF\0\0\0\0WAVE", b"II", b"\xff"],
)
def test_known_format_returns_none_for_other_files(data: bytes) -> None:
    assert known_format(data) is None


@pytest.mark.parametrize(
    ("brands", "format"),
    [
        (b"avif\0\0\0\0avifmif1", "AVIF"),
        (b"avis\0\0\0\0avifmsf1", "AVIF"),
        (b"mif1\0\0\0\0mif1avif", "AVIF"),
        (b"heic\0\0\0\0mif1heic", "HEIC"),
        (b"heix\0\0\0\0mif1heix", "HEIC"),
        (b"mif1\0\0\0\0mif1heic", "HEIC"),
        (b"msf1\0\0\0\0hevcmsf1", "HEIC"),
        (b"heic\0\0\0\0mif1heicavif", "HEIC"),
        (b"mp42\0\0\0\0mp42isom", None),
        (b"qt  \0\0\0\0qt  ", None),
    ],
)
def test_brands_of_an_iso_media_file_give_its_format(brands: bytes, format: str | None) -> None:
    size = (len(brands) + 8).to_bytes(4)
    assert known_format(size + b"ftyp" + brands) == format
