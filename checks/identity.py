"""Whether each answer goes to who asked: every picture carries a number, and every answer tells it.

    python -m checks.identity [--answers 100000] [--callers 24] [--seed 0] [--out DIR]

A model that reads a number of 24 bits out of a picture's colour is served by a real service. Many
callers send pictures with numbers of which none comes twice: one as the raw body, several in a
form, some through /v2; some forms hold broken files, and some callers leave with their request half
sent, or sent. Ends with 1 if any answer tells another number than its picture, or is missing.
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
from models.bundle.load import publish
from service.http.kserve_schema import HEADER_LENGTH
from tests.models.tiny_bundle import TINY_PX, bundle_facts, torchscript
from tests.service.fixtures import form

_LABELS: Final = ("red", "green", "blue", "none")
_SCALE: Final = 32.0  # of a colour's 0..255 to a logit
_MIDDLE: Final = 127.5
_NUMBERS: Final = 2**24
_STEP: Final = 0x9E3779  # odd, so that no number comes twice, and neighbours differ in all colours
_MOST_A_REQUEST: Final = 8
_BROKEN: Final = (b"no picture", b"\x89PNG\r\n\x1a\n torn")
_MAX_WAITING: Final = 1024  # or callers that have left would have others refused
_MOST_WRONG: Final = 100  # enough is known by then
_TIMEOUT_S: Final = 120.0


class _Reader(nn.Module):
    """A bundle's graph whose logits are the mean colours, and 0 for a fourth class."""

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        colours = nn.functional.avg_pool2d(pixels.to(torch.float32), 4)  # (N, 3, 4, 4)
        colours = (colours - _MIDDLE) / _SCALE
        activation = torch.cat([colours, colours[:, :1] * 0], dim=1)  # (N, 4, 4, 4)
        return activation.mean((2, 3)).softmax(1), activation


def publish_reader(store: Path) -> None:
    """Publish a model that tells the number of a picture."""
    graph = torchscript(_Reader())
    publish(store, {"model.pt": graph}, bundle_facts(graph, _LABELS))


def picture_of(number: int) -> bytes:
    """A PNG of one colour that carries a number; its size depends on the number, too."""
    file = io.BytesIO()
    size = (TINY_PX + number % 23, TINY_PX + number % 17)
    Image.new("RGB", size, (number >> 16, number >> 8 & 255, number & 255)).save(file, "PNG")
    return file.getvalue()


def number_of(probabilities: Sequence[float]) -> int:
    """The number of the picture that the model says this of."""
    *colours, none = probabilities
    red, green, blue = (round(_MIDDLE + _SCALE * math.log(p / none)) for p in colours)
    return red << 16 | green << 8 | blue


def numbers() -> Iterator[int]:
    """All of them, in an order of no meaning."""
    return (place * _STEP % _NUMBERS for place in range(_NUMBERS))


class Callers:
    """What callers share: the numbers that are left, and what has come back."""

    def __init__(self, port: int, *, answers: int, seed: int) -> None:
        """Ask the service at a port until so many answers are there."""
        self.counted: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._port = port
        self._answers = answers
        self._numbers = numbers()
        self._chance = random.Random(seed)

    async def ask(self, client: httpx.AsyncClient) -> None:
        """One caller, who asks again and again."""
        while self.counted["answers"] < self._answers and len(self.wrong) < _MOST_WRONG:
            count = self._chance.choice((1, 1, 1, 2, 3, 5, _MOST_A_REQUEST))
            asked = list(itertools.islice(self._numbers, count))
            kind = self._chance.choice(("form", "form", "form with broken files", "v2", "left"))
            kind = "raw body" if count == 1 and kind == "form" else kind
            self.counted[f"requests, {kind}"] += 1
            if kind == "left":
                await self._leave(asked)
            elif kind == "v2":
                await self._ask_v2(client, asked)
            else:
                await self._ask_predict(client, asked, kind)

    async def _ask_predict(self, client: httpx.AsyncClient, asked: list[int], kind: str) -> None:
        request_id = str(asked[0])
        if kind == "raw body":
            body, media_type = picture_of(asked[0]), "image/png"
        else:
            parts = [("files", str(number), picture_of(number)) for number in asked]
            if kind == "form with broken files":
                broken = ("files", "broken", self._chance.choice(_BROKEN))
                parts.insert(self._chance.randint(0, len(parts)), broken)
            body, media_type = form(*parts)
        headers = {"Content-Type": media_type, "X-Request-ID": request_id}
        response = await client.post("/predict", content=body, headers=headers)
        if not response.is_success:
            self.wrong.append(f"{kind}: status {response.status_code}")
            return
        document = response.json()
        if {document["request_id"], response.headers["X-Request-ID"]} != {request_id}:
            self.wrong.append(f"{kind}: the request id is another's")
        entries = document["predictions"]
        self._judge(kind, asked, [list(e["scores"].values()) for e in entries if "scores" in e])
        named = [entry["filename"] for entry in entries]
        if kind != "raw body" and named != [filename for _, filename, _ in parts]:
            self.wrong.append(f"{kind}: the file names are others, or in another order")

    async def _ask_v2(self, client: httpx.AsyncClient, asked: list[int]) -> None:
        pictures = [picture_of(number) for number in asked]
        head, packed = binary_request(pictures, name=str(asked[0]))
        headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(head))}
        response = await client.post(
            "/v2/models/facemask/infer", content=head + packed, headers=headers
        )
        if not response.is_success:
            self.wrong.append(f"v2: status {response.status_code}")
            return
        document = response.json()
        if document["id"] != str(asked[0]):
            self.wrong.append("v2: the id is another's")
        flat = document["outputs"][0]["data"]
        width = len(_LABELS)
        rows = [flat[at : at + width] for at in range(0, len(flat), width)]
        self._judge("v2", asked, rows)

    def _judge(self, kind: str, asked: list[int], rows: list[list[float]]) -> None:
        """Hold the answers of one request against its pictures."""
        told = [number_of(row) for row in rows]
        self.counted["answers"] += len(told)
        if told != asked:
            self.wrong.append(f"{kind}: {told} for {asked}")

    async def _leave(self, asked: list[int]) -> None:
        """Send a request, or the half of one, and go."""
        body, kind = form(*(("files", str(number), picture_of(number)) for number in asked))
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        sent = body[: self._chance.choice((len(body) // 2, len(body)))]
        _, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(head.encode() + sent)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


async def ask_all(port: int, *, answers: int, callers: int, seed: int) -> Callers:
    """Have so many callers ask at the same time, until there are so many answers."""
    shared = Callers(port, answers=answers, seed=seed)
    limits = httpx.Limits(max_connections=callers)
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{port}", timeout=_TIMEOUT_S, limits=limits
    ) as client:
        await asyncio.gather(*(shared.ask(client) for _ in range(callers)))
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
    print(f"| answers to another picture, or missing | {len(found.wrong):,} |")
    for line in found.wrong:
        print(f"wrong: {line}", file=sys.stderr)
    return int(bool(found.wrong))


if __name__ == "__main__":
    sys.exit(main())
