"""Files made to keep a decoder busy are refused; similar harmless files are read."""

import math
import time
from collections.abc import Callable

import pytest
from PIL import Image

from models.errors import FileTooLarge, ImageTooCostly, ImageTooLarge
from models.imaging.bounded_reader import BoundedReader
from models.imaging.decode import OrientedImage, decode_image, decode_opened
from models.imaging.limits import MAX_HEADER_READS, MAX_JPEG_SCANS, MAX_TIFF_PARTS
from models.imaging.open import open_image
from tests.images import encode
from tests.models.imaging.costly_pictures import (
    many_chunks,
    many_runs,
    many_scans,
    many_segments,
    tiff,
)


def test_jpeg_with_too_many_scans_is_too_costly() -> None:
    assert decode_image(many_scans(MAX_JPEG_SCANS), size=8).float().mean() > 50
    with pytest.raises(ImageTooCostly, match="100 scans"):
        decode_image(many_scans(MAX_JPEG_SCANS + 1), size=8)


def test_scan_markers_after_the_picture_or_in_a_segment_are_not_counted() -> None:
    picture = many_scans(10)
    behind = picture + b"\xff\xda\x00\x02" * 200
    within = picture[:2] + b"\xff\xfe\x03\x22" + b"\xff\xda\x00\x02" * 200 + picture[2:]
    for data in (behind, within):
        assert decode_image(data, size=8).equal(decode_image(picture, size=8))


def test_scans_of_single_components_are_counted_in_sequential_jpegs() -> None:
    """A sequential JPEG without all components in its first scan may have any number of scans."""
    plain = encode(Image.new("RGB", (16, 16)), "JPEG")
    at = plain.find(b"\xff\xda")
    one = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    with pytest.raises(ImageTooCostly, match="100 scans"):
        open_image(plain[:at] + (one + b"\x00") * 101 + b"\xff\xd9")


@pytest.mark.parametrize("make", [many_segments, many_chunks])
def test_header_with_too_many_parts_is_too_costly(make: Callable[[int], bytes]) -> None:
    decode_image(make(1000), size=8)
    with pytest.raises(ImageTooCostly, match="more parts"):
        open_image(make(MAX_HEADER_READS))


@pytest.mark.parametrize("big", [False, True])
def test_tiff_with_too_many_tiles_is_too_costly(big: bool) -> None:
    assert int(decode_image(tiff(big=big), size=8)[0, 0, 0]) == 100
    with pytest.raises(ImageTooCostly, match="65,536"):
        open_image(tiff(offsets=MAX_TIFF_PARTS + 1, big=big))


def test_tiff_with_a_huge_tile_is_too_large() -> None:
    """A picture of 32 x 32 may have one tile that fills memory."""
    with pytest.raises(ImageTooLarge, match="16000 x 16000"):
        open_image(tiff(tile=16000))


def test_truncated_tiff_directory_raises_a_picture_error() -> None:
    whole = tiff()
    for length in range(2, len(whole) - 8, 7):
        with pytest.raises(Exception, match=r".") as caught:
            decode_image(whole[:length], size=8)
        assert type(caught.value).__module__ == "models.errors"


def test_decoding_beyond_its_processor_time_is_too_costly(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def tick() -> float:
        nonlocal now
        now += 0.001
        return now

    monkeypatch.setattr(time, "thread_time", tick)
    image = open_image(many_runs(2000), decode_s=1.0)  # each run is two reads
    with pytest.raises(ImageTooCostly, match="longer than 1 s"):
        decode_opened(image, size=8)
    image = open_image(many_runs(2000), decode_s=1.0)
    with pytest.raises(ImageTooCostly, match="longer than 1 s"):
        OrientedImage(image, longest_px=8)
    decode_opened(open_image(encode(Image.new("RGB", (64, 64)), "PNG"), decode_s=1.0), size=8)


def test_bounded_reader_reads_as_a_file() -> None:
    reader = BoundedReader(b"abc", math.inf)
    assert (reader.read(1), reader.read(), reader.read(5)) == (b"a", b"bc", b"")


def test_open_image_refuses_larger_files() -> None:
    data = encode(Image.new("RGB", (8, 8)), "PNG")
    open_image(data, max_bytes=len(data))
    with pytest.raises(FileTooLarge, match=f"{len(data) - 1} bytes"):
        open_image(data, max_bytes=len(data) - 1)
