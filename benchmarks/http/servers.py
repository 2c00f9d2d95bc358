"""Servers to measure, each with a clock on the CPU time of its event loop's thread.

    python -m benchmarks.http.servers NAME FILE_DESCRIPTOR

`service` is the whole application on a batcher that answers at once; `refusing` is the same with no
capacity for any image; `bare` reads the body and answers a constant. GET /spent returns the CPU
seconds of the thread, in total and by step.
"""

import functools
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from models.bundle.manifest import Manifest, ScoreFacts
from service.__main__ import server_options
from service.app import create_app
from service.http import access_log, fast_path, predict
from service.inference.batching.batcher import Batcher, Prepared
from service.inference.decision import AnswerOptions, Prediction, decide
from service.inference.engine import Engine
from service.settings import Settings
from service.telemetry.logging import configure_logging
from service.telemetry.metrics import Metrics

STEPS: Final = ("reading and parsing", "hand-over", "answer", "log and figures", "application")
_ANSWER: Final = b'{"predictions": [{"label": "a", "score": 1.0}]}'


class Clock:
    """ASGI wrapper that counts the thread's CPU seconds, by step; for one request at a time."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._spent = dict.fromkeys(STEPS, 0.0)

    def step(self, name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with its CPU time added to a step."""

        @functools.wraps(run)
        def timed(*args: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return run(*args, **options)
            finally:
                self._spent[name] += time.thread_time() - began

        return timed

    def awaited(self, name: str, run: Callable[..., Awaitable[Any]]) -> Callable[..., Any]:
        """Do the same for a coroutine function; work of the thread meanwhile counts, too."""

        @functools.wraps(run)
        async def timed(*args: Any, **options: Any) -> Any:
            began = time.thread_time()
            try:
                return await run(*args, **options)
            finally:
                self._spent[name] += time.thread_time() - began

        return timed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/spent":
            spent = json.dumps({**self._spent, "in all": time.thread_time()}).encode()
            await _answer(spent, send)
        elif scope["type"] == "http":
            await self.awaited("application", self.app)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


class _StubEngine:
    """Engine whose lane answers every picture with the same prediction, without decoding it."""

    labels = ("mask", "no_mask")
    report = None
    batches = 0
    crops_faces = False
    framing = None
    threshold = 0.5

    def __init__(self) -> None:
        self.manifest = SimpleNamespace(
            version="none",
            labels=self.labels,
            scores=ScoreFacts(),
            created_at=datetime.now(UTC),
            backbone=SimpleNamespace(name="none"),
            decision=SimpleNamespace(threshold=0.5),
            familiarity=None,
            input_px=224,
        )
        answer = decide(cast("Manifest", self.manifest), [0.9123456, 0.0876544])
        self._batcher: Batcher[object, object, Prediction] = Batcher(
            lambda picture, _: Prepared(picture),
            lambda batch, _: [answer] * len(batch),
            max_batch=8,
        )
        self.alive, self.busy_s = self._batcher.alive, self._batcher.busy_s
        self.close = self._batcher.close

    def threshold_for(self, options: AnswerOptions) -> float:
        return self.threshold

    async def predict(
        self, pictures: Sequence[object], options: AnswerOptions, *, deadline: float
    ) -> list[Prediction]:
        return await self._batcher.submit(pictures, deadline=deadline)


def _service(settings: Settings, *, full: bool) -> Clock:
    engine = _StubEngine()
    app = create_app(settings, cast("Engine", engine))
    clock = Clock(app)
    parts: tuple[tuple[Any, str, str, Callable[..., Any]], ...] = (
        (predict, "read_uploads", "reading and parsing", clock.awaited),
        (engine, "predict", "hand-over", clock.awaited),
        (predict, "picture_entries", "answer", clock.step),
        (predict, "json_response", "answer", clock.step),
        (fast_path, "answer_error", "answer", clock.awaited),
        (access_log.AccessLogMiddleware, "_record", "log and figures", clock.step),
    )
    for owner, name, step, timed in parts:
        setattr(owner, name, timed(step, getattr(owner, name)))
    if full:

        async def refusing(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                app.state.facemask.budgets.pictures.held = settings.max_waiting
            await app(scope, receive, send)

        clock.app = refusing
    return clock


async def _bare(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        scope["state"]["metrics"] = Metrics()  # for the connections
        for kind in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{kind}.complete"})
        return
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    await _answer(_ANSWER, send)


async def _answer(body: bytes, send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main() -> int:
    name, listening = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
    settings = Settings()
    configure_logging(settings.log_format)
    app = Clock(_bare) if name == "bare" else _service(settings, full=name == "refusing")
    config = uvicorn.Config(app, **server_options(settings))
    uvicorn.Server(config).run(sockets=[listening])
    return 0


if __name__ == "__main__":
    sys.exit(main())
