"""Shows that each response belongs to its request, under concurrent load.

    python -m checks.identity [--answers 100000] [--callers 24] [--seed 0] [--out DIR]

Takes 10 minutes for 100,000 answers on two cores. A real service serves a model that reads a 24-bit
number out of an image's colour. Concurrent callers send images with numbers that are never
repeated: one as the raw body, several in a form, some through /v2. Some forms hold broken files,
and some callers disconnect after half a request or before the response. Exits with 1 if an answer
has another number than its image, or is missing.
"""

import argparse
import asyncio
import io
import itertools
import math
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.process import binary_request, service
from models.bundle.publish import publish
from service.http.kserve.schema import HEADER_LENGTH
from tests.models.tiny_bundle import TINY_PX, bundle_facts, torchscript
from tests.service.fixtures import form

_LABELS: Final = ("red", "green", "blue", "none")
_LEVELS_PER_LOGIT: Final = 32.0  # of a colour, 0..255
_MIDDLE_LEVEL: Final = 127.5
_NUM_NUMBERS: Final = 2**24
_STEP: Final = 0x9E3779  # odd, so that no number comes twice, and neighbours differ in all colours
_MAX_IMAGES_PER_REQUEST: Final = 8
_BROKEN: Final = (b"no picture", b"\x89PNG\r\n\x1a\n torn")
_MAX_WAITING: Final = 1024  # else those that disconnected would have others refused with 429
_MAX_FAULTS: Final = 100  # then the check stops early
_TIMEOUT_S: Final = 120.0
# Kinds of requests; "form" stands twice, as it becomes "raw body" for one image.
_KINDS: Final = ("form", "form", "form with broken files", "v2", "disconnected")


class _Reader(nn.Module):
    """Graph of a bundle whose logits are the mean colours, and 0 for a fourth class."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        colours = nn.functional.avg_pool2d(pixels.to(torch.float32), 4)  # (N, 3, 4, 4)
        colours = (colours - _MIDDLE_LEVEL) / _LEVELS_PER_LOGIT
        activation = torch.cat([colours, colours[:, :1] * 0], dim=1)  # (N, 4, 4, 4)
        return activation.mean((2, 3)).softmax(1), activation


def publish_reader(store: Path) -> None:
    """Publish a model whose probabilities encode the number of an image."""
    graph = torchscript(_Reader())
    publish(store, {"model.pt": graph}, bundle_facts(graph, _LABELS))


def picture_of(number: int) -> bytes:
    """Return a PNG of one colour that encodes a number; so does its size."""
    file = io.BytesIO()
    size = (TINY_PX + number % 23, TINY_PX + number % 17)
    Image.new("RGB", size, (number >> 16, number >> 8 & 255, number & 255)).save(file, "PNG")
    return file.getvalue()


def number_of(probabilities: Sequence[float]) -> int:
    """Return the number that probabilities encode."""
    *colours, none = probabilities
    red, green, blue = (
        round(_MIDDLE_LEVEL + _LEVELS_PER_LOGIT * math.log(p / none)) for p in colours
    )
    return red << 16 | green << 8 | blue


def numbers() -> Iterator[int]:
    """Yield all numbers in a scattered order."""
    return (index * _STEP % _NUM_NUMBERS for index in range(_NUM_NUMBERS))


class Callers:
    """State that all callers share: unused numbers, counts, faults."""

    def __init__(self, port: int, *, answers: int, seed: int) -> None:
        """Prepare to call the service at a port until `answers` answers have arrived."""
        self.counted: Counter[str] = Counter()
        self.faults: list[str] = []
        self._port = port
        self._answers = answers
        self._numbers = numbers()
        self._random = random.Random(seed)

    async def call(self, client: httpx.AsyncClient) -> None:
        """Send one request after the other, as one caller."""
        while self.counted["answers"] < self._answers and len(self.faults) < _MAX_FAULTS:
            count = self._random.choice((1, 1, 1, 2, 3, 5, _MAX_IMAGES_PER_REQUEST))
            sent = list(itertools.islice(self._numbers, count))
            kind = self._random.choice(
                ("form", "form", "form with broken files", "v2", "disconnected")
            )
            kind = "raw body" if count == 1 and kind == "form" else kind
            self.counted[f"requests, {kind}"] += 1
            if kind == "disconnected":
                await self._disconnect(sent)
            elif kind == "v2":
                await self._call_v2(client, sent)
            else:
                await self._call_predict(client, sent, kind)

    async def _call_predict(self, client: httpx.AsyncClient, sent: list[int], kind: str) -> None:
        request_id = str(sent[0])
        if kind == "raw body":
            body, media_type = picture_of(sent[0]), "image/png"
        else:
            parts = [("files", str(number), picture_of(number)) for number in sent]
            if kind == "form with broken files":
                broken = ("files", "broken", self._random.choice(_BROKEN))
                parts.insert(self._random.randint(0, len(parts)), broken)
            body, media_type = form(*parts)
        headers = {"Content-Type": media_type, "X-Request-ID": request_id}
        response = await client.post("/predict", content=body, headers=headers)
        if not response.is_success:
            self.faults.append(f"{kind}: status {response.status_code}")
            return
        document = response.json()
        if {document["request_id"], response.headers["X-Request-ID"]} != {request_id}:
            self.faults.append(f"{kind}: the request id is that of another request")
        entries = document["predictions"]
        self._check(kind, sent, [list(e["scores"].values()) for e in entries if "scores" in e])
        named = [entry["filename"] for entry in entries]
        if kind != "raw body" and named != [filename for _, filename, _ in parts]:
            self.faults.append(f"{kind}: the file names differ, or their order")

    async def _call_v2(self, client: httpx.AsyncClient, sent: list[int]) -> None:
        pictures = [picture_of(number) for number in sent]
        head, packed = binary_request(pictures, name=str(sent[0]))
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
        response = await client.post(
            "/v2/models/facemask/infer", content=head + packed, headers=headers
        )
        if not response.is_success:
            self.faults.append(f"v2: status {response.status_code}")
            return
        document = response.json()
        if document["id"] != str(sent[0]):
            self.faults.append("v2: the id is that of another request")
        flat = document["outputs"][0]["data"]
        width = len(_LABELS)
        rows = [flat[at : at + width] for at in range(0, len(flat), width)]
        self._check("v2", sent, rows)

    def _check(self, kind: str, sent: list[int], rows: list[list[float]]) -> None:
        """Compare the answers of one request with its images."""
        answered = [number_of(row) for row in rows]
        self.counted["answers"] += len(answered)
        if answered != sent:
            self.faults.append(f"{kind}: {answered} for {sent}")

    async def _disconnect(self, sent: list[int]) -> None:
        """Send a request or half of one, and close the connection."""
        body, kind = form(*(("files", str(number), picture_of(number)) for number in sent))
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        part = body[: self._random.choice((len(body) // 2, len(body)))]
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(head.encode() + part)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def ask_all(port: int, *, answers: int, callers: int, seed: int) -> Callers:
    """Run concurrent callers until `answers` answers have arrived."""
    shared = Callers(port, answers=answers, seed=seed)
    limits = httpx.Limits(max_connections=callers)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT_S, limits=limits
    ) as client:
        await asyncio.gather(*(shared.call(client) for _ in range(callers)))
    return shared


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m checks.identity")
    parser.add_argument("--answers", type=int, default=100_000)
    parser.add_argument("--callers", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/identity"))
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    settings = {"FACEMASK_THREADS": "2", "FACEMASK_MAX_WAITING": str(_MAX_WAITING)}
    with tempfile.TemporaryDirectory() as store:
        publish_reader(Path(store))
        log = arguments.out / "service.log"
        with service(Path(store), picture_of(1), log=log, **settings) as server:
            found = asyncio.run(
                ask_all(
                    server.port,
                    answers=arguments.answers,
                    callers=arguments.callers,
                    seed=arguments.seed,
                )
            )
    print(f"| {arguments.callers} callers, seed {arguments.seed} | |\n|---|---|")
    for what, count in sorted(found.counted.items()):
        print(f"| {what} | {count:,} |")
    print(f"| answers to another picture, or missing | {len(found.faults):,} |")
    for line in found.faults:
        print(f"fault: {line}", file=sys.stderr)
    return int(bool(found.faults))


if __name__ == "__main__":
    sys.exit(main())
