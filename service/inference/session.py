"""One admitted call of any protocol: its leased model, deadline, budgets and errors."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from models.errors import DetectorUnavailable, PictureError
from models.imaging.header import header_pixels
from service.inference.batching.errors import BatcherClosed, DeadlineExceeded
from service.inference.decision import DEFAULT_OPTIONS, AnswerOptions, PictureFaces, Prediction
from service.inference.engine import Engine
from service.inference.model_manager import ModelManager
from service.limits.budget import RequestBudgets, Reservation
from service.problems import DeadlinePassed, FacesUnavailable, Stopping
from service.settings import Settings
from service.telemetry.metrics import Metrics


@dataclass(frozen=True)
class Session:
    """An admitted call, with the resources that it holds until `open_session` releases them.

    Attributes:
        settings: The settings of the service.
        budgets: The budgets that all calls share.
        engine: The engine that answers, even if another goes into service meanwhile.
        body_bytes: The call's share of the budget for request bodies, empty at first.
        deadline: Time on `time.monotonic()`'s clock after which an answer is useless.
    """

    settings: Settings
    budgets: RequestBudgets
    engine: Engine
    body_bytes: Reservation
    deadline: float

    async def predict(
        self,
        pictures: Sequence[bytes | bytearray | Tensor],
        options: AnswerOptions = DEFAULT_OPTIONS,
    ) -> list[Prediction | PictureError]:
        """Return the answer for each picture, in order, or its error if it cannot be read.

        Args:
            pictures: As for `Engine.predict`.
            options: As for `Engine.predict`.

        Raises:
            Overloaded: Too many pictures or pixels are waiting.
            BatchFailed: The model raised.
        """
        with self._reserve(pictures):
            return await self.engine.predict(pictures, options, deadline=self.deadline)

    async def predict_faces(
        self, pictures: Sequence[bytes | bytearray], options: AnswerOptions = DEFAULT_OPTIONS
    ) -> list[PictureFaces | PictureError]:
        """Return the answers for the faces of each picture, in order, or the picture's error.

        Raises:
            FacesUnavailable: No face detector is installed.
            Overloaded, BatchFailed: As for `predict`.
        """
        with self._reserve(pictures):
            try:
                return await self.engine.predict_faces(
                    pictures,
                    options,
                    max_faces=self.settings.max_faces,
                    deadline=self.deadline,
                )
            except DetectorUnavailable as error:
                raise FacesUnavailable(str(error)) from error

    @contextlib.contextmanager
    def _reserve(self, pictures: Sequence[object]) -> Iterator[None]:
        pixels = _count_pixels(pictures, self.settings.max_pixels)
        with self.budgets.pictures.reserve(len(pictures)), self.budgets.pixels.reserve(pixels):
            yield


@contextlib.asynccontextmanager
async def open_session(
    settings: Settings, model_manager: ModelManager, budgets: RequestBudgets
) -> AsyncIterator[Session]:
    """Admit a call before its body is read, and release its resources at the end.

    Raises:
        Overloaded: The max number of pictures is waiting.
        NoModel: No model is being served.
        DeadlinePassed: The `async with` took longer than the settings allow.
        Stopping: The engine was closed meanwhile.
    """
    budgets.pictures.refuse_if_full()
    deadline = time.monotonic() + settings.deadline_s
    try:
        async with asyncio.timeout(settings.deadline_s):
            with model_manager.lease() as engine, budgets.body_bytes.reserve() as body_bytes:
                yield Session(settings, budgets, engine, body_bytes, deadline)
    except (TimeoutError, DeadlineExceeded) as error:
        raise DeadlinePassed(f"No answer within {settings.deadline_s:g} s.") from error
    except BatcherClosed as error:
        raise Stopping from error


def record_outcomes(
    metrics: Metrics, outcomes: Iterable[Prediction | PictureFaces | PictureError]
) -> None:
    """Record the outcome of each picture: its decision, or its error's code."""
    for outcome in outcomes:
        if isinstance(outcome, PictureError):
            metrics.record_unreadable(outcome.code)
            continue
        for found in outcome.predictions if isinstance(outcome, PictureFaces) else (outcome,):
            metrics.record_prediction(
                found.decision,
                found.score,
                distance=found.distance,
                familiar=found.familiar,
                framed=found.framed is not None,
            )


def _count_pixels(pictures: Iterable[object], max_pixels: int) -> int:
    """Return the total pixels of encoded pictures, by their headers.

    A picture without a plain header counts `max_pixels`, so that a hidden size gains nothing;
    tensors count 0: they are as small as the model's input.
    """
    return sum(
        min(max_pixels if (pixels := header_pixels(data)) is None else pixels, max_pixels)
        for data in pictures
        if isinstance(data, bytes | bytearray)
    )
