"""Pending requests, and the delivery of their answers across threads.

Lanes deliver from their own threads; a request's future and answers are touched on the caller's
event loop only.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar

from service.inference.batching.errors import BatcherClosed, BatchFailed, DeadlineExceeded

In = TypeVar("In")
Out = TypeVar("Out")

_ERRORS: Final = (BatcherClosed, BatchFailed, DeadlineExceeded)


@dataclass
class PendingRequest(Generic[In, Out]):
    """The items that one caller submitted together.

    Attributes:
        items: Items in the caller's order.
        future: Resolved with one answer per item, in order, or with the first error.
        accepted_at: Time of acceptance on the batcher's clock.
        deadline: Time on the batcher's clock after which an answer is useless.
        taken: Number of items that lanes have taken.
        failed: True once an error is being delivered: the remaining items are dropped.
        answers: Answers by index of the item.
    """

    items: Sequence[In]
    future: "asyncio.Future[list[Out]]"
    accepted_at: float
    deadline: float
    taken: int = 0
    failed: bool = False
    answers: dict[int, Out] = field(default_factory=dict)

    def resolve(self, index: int, result: Out | Exception) -> None:
        """Store one item's answer, on the caller's loop; an error resolves the whole request."""
        if self.future.done():
            return
        if isinstance(result, _ERRORS):
            self.future.set_exception(result)
            return
        self.answers[index] = result  # type: ignore[assignment]
        if len(self.answers) == len(self.items):
            self.future.set_result([self.answers[i] for i in range(len(self.items))])


Job = tuple[PendingRequest[In, Out], int]
"""One item: its request, and its index there."""


def deliver(jobs: Sequence[Job[In, Out]], results: Sequence[Any]) -> None:
    """Deliver one answer or error per job, with one wake-up per event loop of a caller."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Job[In, Out], Any]]] = {}
    for job, result in zip(jobs, results, strict=True):
        job[0].failed |= isinstance(result, _ERRORS)
        by_loop.setdefault(job[0].future.get_loop(), []).append((job, result))

    def resolve_all(answers: list[tuple[Job[In, Out], Any]]) -> None:
        for (request, index), result in answers:
            request.resolve(index, result)

    for loop, answers in by_loop.items():
        with contextlib.suppress(RuntimeError):  # the loop is closed: no caller waits there
            loop.call_soon_threadsafe(resolve_all, answers)
