"""Files that are made to keep a decoder busy are refused, and those that are not are read."""

import io
import math
import time
from collections.abc import Callable

import pytest
from PIL import Image

from models.errors import FileTooLarge, ImageTooCostly, ImageTooLarge
from models.imaging.bounded_reader import Reader
from models.imaging.decode import Upright, decode_image, decode_opened, decoding_bytes, open_image
from models.imaging.limits import MAX_HEADER_READS, MAX_PIECES, MAX_SCANS
from tests.models.imaging.costly_pictures import (
    many_chunks,
    many_runs,
    many_scans,
    many_segments,
    tiff,
)
from tests.service.fixtures import encoded


def test_scans_have_a_bound() -> None:
    assert decode_image(many_scans(MAX_SCANS), size=8).float().mean() > 50
    with pytest.raises(ImageTooCostly, match="100 scans"):
        decode_image(many_scans(MAX_SCANS + 1), size=8)


def test_what_looks_like_scans_behind_the_picture_or_within_a_segment_does_not_count() -> None:
    picture = many_scans(10)
    behind = picture + b"\xff\xda\x00\x02" * 200
    within = picture[:2] + b"\xff\xfe\x03\x22" + b"\xff\xda\x00\x02" * 200 + picture[2:]
    for data in (behind, within):
        assert decode_image(data, size=8).equal(decode_image(picture, size=8))


def test_a_scan_of_some_components_only_is_none_of_a_plain_picture() -> None:
    """Without all components in the first scan, a sequential JPEG may have any number, too."""
    plain = encoded(Image.new("RGB", (16, 16)), "JPEG")
    at = plain.find(b"\xff\xda")
    one = b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00"
    with pytest.raises(ImageTooCostly, match="100 scans"):
        open_image(plain[:at] + (one + b"\x00") * 101 + b"\xff\xd9")


@pytest.mark.parametrize("make", [many_segments, many_chunks])
def test_the_parts_of_a_header_have_a_bound(make: Callable[[int], bytes]) -> None:
    decode_image(make(1000), size=8)
    with pytest.raises(ImageTooCostly, match="more parts"):
        open_image(make(MAX_HEADER_READS))


@pytest.mark.parametrize("big", [False, True])
def test_the_tiles_of_a_tiff_have_a_bound(big: bool) -> None:
    assert int(decode_image(tiff(big=big), size=8)[0, 0, 0]) == 100
    with pytest.raises(ImageTooCostly, match="65,536"):
        open_image(tiff(offsets=MAX_PIECES + 1, big=big))


def test_a_tile_is_judged_like_a_picture() -> None:
    """A picture of 32 x 32 may lie in a tile that fills memory."""
    with pytest.raises(ImageTooLarge, match="16000 x 16000"):
        open_image(tiff(tile=16000))


def test_a_directory_that_is_cut_short_is_no_crash() -> None:
    whole = tiff()
    for length in range(2, len(whole) - 8, 7):
        with pytest.raises(Exception, match=r".") as caught:
            decode_image(whole[:length], size=8)
        assert type(caught.value).__module__ == "models.errors"


def test_decoding_has_a_bound_of_processor_time(monkeypatch: pytest.MonkeyPatch) -> None:
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
        Upright(image, longest_px=8)
    decode_opened(open_image(encoded(Image.new("RGB", (64, 64)), "PNG"), decode_s=1.0), size=8)


def test_a_reader_reads_as_any_file() -> None:
    reader = Reader(b"abc", math.inf)
    assert (reader.read(1), reader.read(), reader.read(5)) == (b"a", b"bc", b"")


def test_bytes_a_file_have_a_bound() -> None:
    data = encoded(Image.new("RGB", (8, 8)), "PNG")
    open_image(data, max_bytes=len(data))
    with pytest.raises(FileTooLarge, match=f"{len(data) - 1} bytes"):
        open_image(data, max_bytes=len(data) - 1)


def test_memory_for_decoding_is_foreseen_by_the_header() -> None:
    picture = Image.new("RGB", (1024, 512))
    pixels = 1024 * 512

    def foreseen(format: str, **options: bool) -> int:
        file = io.BytesIO()
        picture.save(file, format, **options)
        return decoding_bytes(open_image(file.getvalue()), 64)

    assert foreseen("PNG") == 16 * pixels
    assert foreseen("JPEG") == 16 * pixels // 64  # decoded at an eighth
    assert foreseen("JPEG", progressive=True) == 16 * pixels // 64 + 6 * pixels
    assert decoding_bytes(open_image(tiff(tile=160)), 64) == 16 * 160 * 160
