"""Short form of `checks.identity`, and proof that it finds a mix-up."""

import asyncio
import re
from itertools import islice
from pathlib import Path

import pytest
import torch
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from checks.identity import ask_all, main, number_of, numbers, picture_of, publish_reader
from models.bundle.load import open_bundle
from models.bundle.store import current_version
from models.imaging.decode import decode_image
from tests.models.tiny_bundle import TINY_PX
from tests.process.running import running


def test_identity_finds_no_fault_in_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["--answers", "2000", "--out", str(tmp_path)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    counted = {
        name: int(n.replace(",", ""))
        for name, n in re.findall(r"\| (.+) \| ([\d,]+) \|", captured.out)
    }
    assert counted.pop("answers to another picture, or missing") == 0
    assert counted.pop("answers") >= 2000
    assert set(counted) == {
        f"requests, {kind}"
        for kind in ("raw body", "form", "form with broken files", "v2", "disconnected")
    }
    assert all(count > 20 for count in counted.values())


def test_number_of_reads_the_number_of_each_image(tmp_path: Path) -> None:
    publish_reader(tmp_path)
    bundle = open_bundle(tmp_path / current_version(tmp_path))
    asked = [0, 1, 255, 256, 65535, 65536, 2**24 - 1, *islice(numbers(), 200)]
    pixels = [decode_image(picture_of(number), size=TINY_PX) for number in asked]
    probabilities = bundle.answer(torch.stack(pixels)).probabilities
    assert [number_of(row) for row in probabilities.tolist()] == asked


def test_numbers_are_never_repeated() -> None:
    drawn = list(islice(numbers(), 200_000))
    assert len(set(drawn)) == len(drawn)


def test_ask_all_finds_an_answer_to_another_request() -> None:
    async def predict(request: Request) -> Response:
        scores = dict(zip(("red", "green", "blue", "none"), (0.25,) * 4, strict=True))
        own = request.headers["X-Request-ID"]
        entries = [{"index": 0, "filename": None, "scores": scores}]
        document = {"request_id": own, "predictions": entries}
        return JSONResponse(document, headers={"X-Request-ID": own})

    app = Starlette(routes=[Route("/predict", predict, methods=["POST"])])
    with running(app) as address:
        found = asyncio.run(ask_all(int(address.rpartition(":")[2]), answers=50, callers=2, seed=0))
    assert any(line.startswith("raw body: [8421504] for ") for line in found.faults)
    assert "v2: status 404" in found.faults
