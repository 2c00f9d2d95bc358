"""Fixtures of the service's tests: a tiny real bundle, pictures that encode a number, a client.

The graph decodes the number from a picture's red and green, and answers it as a probability, so
that every answer can be matched to its picture.
"""

import asyncio
import base64
import dataclasses
import functools
import hashlib
import io
import math
import random
import re
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import httpx
import torch
from fastapi import FastAPI
from PIL import Image
from torch import Tensor, nn

from models.bundle.load import Bundle
from models.bundle.publish import publish
from models.imaging.decode import DECODER, decode_image
from models.imaging.limits import MAX_PIXELS
from service.app import create_app
from service.inference.engine import Engine
from service.inference.state import State
from service.settings import Settings
from tests import WAIT_S

SIZE_PX = 32
CODES = 4096
THRESHOLD = 0.75
FAMILIAR = 0.2475  # distances above are unfamiliar: those of codes from 4056 on
TWO = ("mask", "no_mask")
THREE = ("cat", "dog", "neither")
_STEPS = 512.0  # codes to one unit of the logit: -4..4
_BOUNDARY = "a-boundary-of-the-tests"

T = TypeVar("T")


def wait(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, with a timeout."""

    async def bounded() -> T:
        async with asyncio.timeout(WAIT_S):
            return await coroutine

    return asyncio.run(bounded())


async def happens(event: Event) -> None:
    assert await asyncio.to_thread(event.wait, WAIT_S), "what was waited for did not happen"


def code_picture(code: int, *, format: str = "PNG") -> bytes:
    """A plain picture that carries a number below `CODES`."""
    return encoded(Image.new("RGB", (SIZE_PX, SIZE_PX), (code // 256, code % 256, 7)), format)


def encoded(image: Image.Image, format: str) -> bytes:
    file = io.BytesIO()
    image.save(file, format)
    return file.getvalue()


def code_of(entry: Mapping[str, Any]) -> int:
    """The number of the picture that a prediction is about."""
    first, second, *_ = entry["scores"].values()
    return round(_STEPS * math.log(first / second)) + CODES // 2


class _CodeGraph(nn.Module):
    """uint8 (N, 3, S, S) -> probabilities (N, K), map (N, K, 4, 4) with the logits as its means.

    The third output, the distance, grows with the code.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.others = nn.Parameter(torch.zeros(1, classes - 1, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cells = nn.functional.avg_pool2d(pixels.float(), SIZE_PX // 4)  # (N, 3, 4, 4)
        code = cells[:, 0:1] * 256 + cells[:, 1:2]
        first = (code - CODES // 2) / _STEPS  # (N, 1, 4, 4)
        activation = torch.cat([first, first * 0 + self.others], dim=1)
        return activation.mean((2, 3)).softmax(1), activation, code.mean((1, 2, 3)) / (4 * CODES)


@functools.cache
def graph_bytes(classes: int) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and the product's format
        example = torch.zeros((2, 3, SIZE_PX, SIZE_PX), dtype=torch.uint8)
        traced = torch.jit.trace(  # type: ignore[no-untyped-call]
            _CodeGraph(classes).eval(), example
        )
        torch.jit.save(traced, file)
    return file.getvalue()


def golden(classes: int) -> dict[str, Any]:
    pictures = [code_picture(code) for code in (3, 2000, 4001)]
    with torch.inference_mode():
        probabilities, activation, distance = _CodeGraph(classes)(
            torch.stack([decode_image(picture, size=SIZE_PX) for picture in pictures])
        )
    return {
        "tolerance": 1e-4,
        "pictures": [
            {
                "picture": base64.b64encode(picture),
                "probabilities": row,
                "activation_means": means,
                "distance": away,
            }
            for picture, row, means, away in zip(
                pictures,
                probabilities.tolist(),
                activation.mean((2, 3)).tolist(),
                distance.tolist(),
                strict=True,
            )
        ],
    }


def publish_bundle(
    store: Path, labels: Sequence[str] = TWO, documents: Mapping[str, bytes] | None = None
) -> Bundle:
    """Train nothing, and publish it as the training job would."""
    digest = hashlib.sha256(b"").hexdigest()
    facts = {
        "labels": list(labels),
        "input_px": SIZE_PX,
        "decoder": DECODER,
        "backbone": {
            "name": "none",
            "source": "the tests",
            "licence": "MIT",
            "weights_sha256": digest,
            "feature_width": 3,
        },
        "dataset": {"fingerprint": digest, "pictures": {}, "groups": 0, "skipped": 0},
        "config": {},
        "metrics": {"cross_validation": {"balanced_accuracy": 0.75, "mean_score": 0.9}},
        "packages": {},
        "decision": {"threshold": THRESHOLD, "target_error": 0.01, "coverage": 0.9},
        "familiarity": {
            "threshold": FAMILIAR,
            "false_alarms": 0.05,
            "neighbours": 1,
            "references": 1,
            "mean_distance": 0.1,
        },
        "golden": golden(len(labels)),
    }
    return publish(store, {"model.pt": graph_bytes(len(labels)), **(documents or {})}, facts)


def make_engine(
    bundle: Bundle,
    model: Callable[[Tensor], Any] | None = None,
    *,
    threads: int = 1,
    max_batch: int = 8,
    max_pixels: int = MAX_PIXELS,
) -> Engine:
    """An engine, perhaps with a callable in the place of the bundle's graph."""
    if model is not None:
        bundle = dataclasses.replace(bundle, model=cast("torch.jit.ScriptModule", model))
    return Engine(bundle, threads=threads, max_batch=max_batch, max_pixels=max_pixels)


class GatedModel:
    """A bundle's graph that, once armed, waits at a gate or fails.

    `entered` is set when a batch has come in; nothing leaves before `gate` is set.
    """

    def __init__(self, bundle: Bundle) -> None:
        self._model = bundle.model
        self.armed = False
        self.entered, self.gate = Event(), Event()
        self.failure: BaseException | None = None
        self.pictures = 0  # that it was asked about

    def __call__(self, pixels: Tensor) -> Any:
        if self.failure is not None:
            raise self.failure
        self.pictures += len(pixels)
        if self.armed:
            self.entered.set()
            assert self.gate.wait(WAIT_S), "the gate was not opened"
        return self._model(pixels)


def settings_of(store: Path, **values: Any) -> Settings:
    return Settings(store=store, threads=1, **values)


def documented(app: FastAPI, response: httpx.Response) -> None:
    """Fail unless /openapi.json announces this status with this media type."""
    asked = response.request.url.path
    operation = None
    for path, operations in app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", path), asked):
            operation = operations.get(response.request.method.lower())
    if operation is None:
        return
    answers = operation["responses"]
    assert str(response.status_code) in answers, f"{response.status_code} is not documented"
    media_type = response.headers["content-type"].split(";")[0]
    assert media_type in answers[str(response.status_code)]["content"]


@asynccontextmanager
async def serving(
    settings: Settings, engine: Engine | None = None, **options: Any
) -> AsyncIterator[tuple[httpx.AsyncClient, State]]:
    """The application with its lifespan, and a client whose every answer must be documented."""
    app = create_app(settings, engine, **options)

    async def check(response: httpx.Response) -> None:
        documented(app, response)

    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport,
            base_url="http://service",
            timeout=WAIT_S,
            event_hooks={"response": [check]},
        ) as client,
    ):
        yield client, app.state.facemask


def files_of(*codes: int) -> list[tuple[str, tuple[str, bytes, str]]]:
    """httpx's `files`: one part a code, named after it."""
    return [("files", (f"{code}.png", code_picture(code), "image/png")) for code in codes]


def form(*parts: tuple[str, str | None, bytes], boundary: str = _BOUNDARY) -> tuple[bytes, str]:
    """A multipart body of (field, file name, data) and its Content-Type, made by hand."""
    body = bytearray()
    for name, filename, data in parts:
        disposition = f'Content-Disposition: form-data; name="{name}"'
        if filename is not None:
            disposition += f'; filename="{filename}"'
        body += f"--{boundary}\r\n{disposition}\r\n\r\n".encode() + data + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    return bytes(body), f'multipart/form-data; boundary="{boundary}"'


def shuffled_codes(count: int, *, seed: int = 0) -> list[int]:
    return random.Random(seed).sample(range(CODES), count)


def bare_request(**state: Any) -> Any:
    """As much of a request as a problem document looks at."""
    return SimpleNamespace(state=SimpleNamespace(**state), scope={"path": "/predict"})
