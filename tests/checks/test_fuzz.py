"""Short form of `checks.fuzz`, and proof that it finds faults."""

import asyncio
import contextlib
import io
import logging
import re
import struct
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from checks.fuzz.__main__ import main
from checks.fuzz.mutate import MUTATORS, mutate
from checks.fuzz.originals import originals
from checks.fuzz.run import Findings, send
from checks.fuzz.sizes import announce
from models.errors import PictureError
from models.imaging.decode import decode_image
from models.imaging.header import header_pixels
from models.imaging.open import open_image
from service.telemetry.logging import configure_logging
from tests.process.running import running

NOT_READ = [name for name in originals() if name.endswith("not read")]


def test_fuzz_finds_no_fault_in_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["--files", "700", "--max-pixels", "250000", "--out", str(tmp_path)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    counted = dict(re.findall(r"\| ([\w ,]+) \| ([\d,]+) \|", captured.out))
    assert counted.pop("valid images between them, all answered alike")
    kinds = ("answered", "image_too_large", "undecodable_image", "unsupported_format")
    assert all(int(counted[kind]) > 20 for kind in kinds)


def test_mutate_is_reproducible_by_seed() -> None:
    first, again, other = ([mutate(seed, index) for index in range(300)] for seed in (1, 1, 2))
    assert first == again != other
    assert all(data for _, data in first)
    done = " ".join(name for name, _ in first)
    assert all(mutator.__name__.replace("_", " ") in done for mutator in MUTATORS)


@pytest.mark.parametrize(
    "name",
    ["jpeg", "jpeg progressive", "mpo", "png", "webp lossless", "gif", "tiff lzw", "bmp", "avif"],
)
def test_announce_rewrites_the_size_in_the_header(name: str) -> None:
    assert open_image(announce(originals()[name], 130, 70)).size == (130, 70)


def test_announce_rewrites_the_size_of_a_heic() -> None:
    """What is opened is cut out of it, and turned."""
    assert header_pixels(announce(originals()["heic"], 130, 70)) == 130 * 70


@pytest.mark.parametrize("name", NOT_READ)
def test_unsupported_originals_are_valid_images(name: str) -> None:
    assert Image.open(io.BytesIO(originals()[name])).size == (32, 32)


def entries(count: int, **said: Any) -> dict[str, Any]:
    return {"predictions": [{"index": index, **said} for index in range(count)]}


GOOD = {"label": "cat"}
# Answers of a faulty service after the first request: status, and body for `count` files.
LATER: dict[str, tuple[int, Callable[[int], Any]]] = {
    "status 500": (500, lambda count: {}),
    "the entries are not those of the files": (200, lambda count: entries(count + 1, **GOOD)),
    "file 0: internal_error": (200, lambda count: entries(count, error={"code": "internal_error"})),
    "is not answered as at first": (200, lambda count: entries(count, label="dog")),
}


@pytest.mark.parametrize("fault", LATER)
def test_send_finds_faulty_answers(fault: str) -> None:
    asked = 0

    async def predict(request: Request) -> Response:
        nonlocal asked
        asked += 1
        if asked == 1:
            return JSONResponse(entries(1, **GOOD))
        status, say = LATER[fault]
        count = (await request.body()).count(b"Content-Disposition") or 1
        return JSONResponse(say(count), status)

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    with running(app) as address:
        found: Findings = asyncio.run(
            send(address, [("broken", b"x")] * 20, [b"good"], seed=0, connections=1)
        )
    assert any(fault in sentence for sentence, _ in found.faults)


def with_tag(tiff: bytes, tag: int, kind: int, count: int, value: int) -> bytes:
    """Return a little-endian TIFF with another value of one tag."""
    data = bytearray(tiff)
    (at,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, at)
    for entry in range(at + 2, at + 2 + 12 * entries, 12):
        if struct.unpack_from("<H", data, entry) == (tag,):
            struct.pack_into("<HII", data, entry + 2, kind, count, value)
    return bytes(data)


@pytest.mark.parametrize(
    ("tag", "kind", "count", "value"),
    [pytest.param(277, 3, 1, 200, id="logged"), pytest.param(258, 3, 60_000, 8, id="warned")],
)
def test_configure_logging_silences_warnings_about_broken_files(
    tag: int, kind: int, count: int, value: int, caplog: pytest.LogCaptureFixture
) -> None:
    broken = with_tag(originals()["tiff lzw"], tag, kind, count, value)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        with contextlib.suppress(PictureError):
            decode_image(broken, size=8)
        assert warned or caplog.records  # or this would show nothing
        warned.clear()
        caplog.clear()
        level = logging.getLogger("PIL").level
        configure_logging()
        try:
            with contextlib.suppress(PictureError):
                decode_image(broken, size=8)
        finally:
            logging.getLogger("PIL").setLevel(level)
        assert not warned
        assert not caplog.records
