"""A client of the service, for other programs and as a command: pictures in, answers out.

    with Client("http://127.0.0.1:8000") as client:
        for answer in client.classify(["a.jpg", "folder"]):
            print(answer.file, answer.decision or answer.error)

`AsyncClient` is the same with `async with` and `async for`. As a command:

    python -m service.client http://127.0.0.1:8000 a.jpg folder --csv answers.csv

Needs nothing but httpx, neither PyTorch nor FastAPI.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx

from service.client.answers import (
    Answer,
    Batch,
    ClientError,
    FaceAnswer,
    away,
    batches,
    find_pictures,
    is_busy,
    key_headers,
    query,
    wait_s,
)

__all__ = ["Answer", "AsyncClient", "Client", "ClientError", "FaceAnswer", "find_pictures"]


class Client:
    """Asks in batches, one after the other, and waits where the service asks for it."""

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        retries: int = 5,
        timeout_s: float = 60.0,
        faces: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Ask nothing yet.

        Args:
            address: Of the service, as in `http://127.0.0.1:8000`.
            key: Sent as a bearer token, where the service wants one.
            retries: How often a request is sent again that met 429 or 503.
            timeout_s: Most seconds without a byte.
            faces: Ask about each face instead of the whole picture.
            transport: httpx's, for tests and embedding.
        """
        self._retries = retries
        self._http = httpx.Client(
            base_url=address,
            headers=key_headers(key),
            params=query(faces),
            timeout=timeout_s,
            transport=transport,
        )

    def classify(self, paths: Iterable[str | Path]) -> Iterator[Answer]:
        """Answer each picture, in order; folders are searched for pictures.

        Raises:
            ClientError: The service does not answer, wants another key, or stays busy.
        """
        for batch in batches(find_pictures(paths)):
            if isinstance(batch, Answer):
                yield batch
            else:
                yield from self._ask(batch)

    def _ask(self, batch: Batch) -> Iterator[Answer]:
        for attempt in range(self._retries + 1):
            try:
                response = self._http.post("/predict", files=batch.parts())
            except httpx.TransportError as error:
                raise away(error) from error
            if not is_busy(response) or attempt == self._retries:
                break
            time.sleep(wait_s(response))
        if batch.refused_whole(response):
            for single in batch.singles():
                yield from self._ask(single)
        else:
            yield from batch.answers(response)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._http.close()


class AsyncClient:
    """`Client` for asyncio."""

    def __init__(
        self,
        address: str,
        *,
        key: str | None = None,
        retries: int = 5,
        timeout_s: float = 60.0,
        faces: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Ask nothing yet; the arguments are those of `Client`."""
        self._retries = retries
        self._http = httpx.AsyncClient(
            base_url=address,
            headers=key_headers(key),
            params=query(faces),
            timeout=timeout_s,
            transport=transport,
        )

    async def classify(self, paths: Iterable[str | Path]) -> AsyncIterator[Answer]:
        """Answer each picture, in order; folders are searched for pictures.

        Raises:
            ClientError: The service does not answer, wants another key, or stays busy.
        """
        for batch in batches(find_pictures(paths)):
            if isinstance(batch, Answer):
                yield batch
            else:
                for answer in await self._ask(batch):
                    yield answer

    async def _ask(self, batch: Batch) -> list[Answer]:
        for attempt in range(self._retries + 1):
            try:
                response = await self._http.post("/predict", files=batch.parts())
            except httpx.TransportError as error:
                raise away(error) from error
            if not is_busy(response) or attempt == self._retries:
                break
            await asyncio.sleep(wait_s(response))
        if batch.refused_whole(response):
            return [answer for one in batch.singles() for answer in await self._ask(one)]
        return list(batch.answers(response))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        await self._http.aclose()
