"""Blocking and asyncio clients: send batches in order, retry while the service is busy."""

import asyncio
import email.utils
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx

from facemask_client.answers import Answer, ClientError
from facemask_client.batches import Batch, find_pictures, read_batches

_RETRY_STATUSES: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_DEFAULT_RETRY_S: Final = 1.0
_MAX_RETRY_S: Final = 60.0


class Client:
    """Blocking client of one service."""

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
        """Configure the client without sending a request.

        Args:
            address: Base URL of the service, such as `http://127.0.0.1:8000`.
            key: API key, sent as a bearer token.
            retries: Max repetitions of a request that was answered with 429 or 503.
            timeout_s: Max seconds without a byte.
            faces: Classify each face instead of the whole image.
            transport: httpx transport, for tests and embedding.
        """
        self._retries = retries
        self._http = httpx.Client(
            **_http_options(address, key, faces), timeout=timeout_s, transport=transport
        )

    def classify(self, paths: Iterable[str | Path]) -> Iterator[Answer]:
        """Yield one answer per image, in order; folders are searched for images.

        Raises:
            ClientError: The service is unreachable, refuses the key, or stays busy.
        """
        for batch in read_batches(find_pictures(paths)):
            if isinstance(batch, Answer):
                yield batch
            else:
                yield from self._send(batch)

    def _send(self, batch: Batch) -> Iterator[Answer]:
        for attempt in range(self._retries + 1):
            try:
                response = self._http.post("/predict", files=batch.parts())
            except httpx.TransportError as error:
                raise _unreachable(error) from error
            if response.status_code not in _RETRY_STATUSES or attempt == self._retries:
                break
            time.sleep(retry_after_s(response))
        if batch.must_be_split(response):
            for single in batch.singles():
                yield from self._send(single)
        else:
            yield from batch.answers(response)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        self._http.close()


class AsyncClient:
    """Asyncio counterpart of `Client`."""

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
        """Configure the client without sending a request; arguments as for `Client`."""
        self._retries = retries
        self._http = httpx.AsyncClient(
            **_http_options(address, key, faces), timeout=timeout_s, transport=transport
        )

    async def classify(self, paths: Iterable[str | Path]) -> AsyncIterator[Answer]:
        """Yield one answer per image, in order; folders are searched for images.

        Raises:
            ClientError: The service is unreachable, refuses the key, or stays busy.
        """
        for batch in read_batches(find_pictures(paths)):
            if isinstance(batch, Answer):
                yield batch
            else:
                for answer in await self._send(batch):
                    yield answer

    async def _send(self, batch: Batch) -> list[Answer]:
        for attempt in range(self._retries + 1):
            try:
                response = await self._http.post("/predict", files=batch.parts())
            except httpx.TransportError as error:
                raise _unreachable(error) from error
            if response.status_code not in _RETRY_STATUSES or attempt == self._retries:
                break
            await asyncio.sleep(retry_after_s(response))
        if batch.must_be_split(response):
            return [answer for one in batch.singles() for answer in await self._send(one)]
        return list(batch.answers(response))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        await self._http.aclose()


def retry_after_s(response: httpx.Response) -> float:
    """Return the seconds to wait by `Retry-After`, at most a minute.

    The header is a number of seconds or a date (RFC 9110, section 10.2.3).
    """
    value = response.headers.get("Retry-After", "")
    if value.isdecimal() and value.isascii():
        seconds = float(value[:10])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            seconds = _DEFAULT_RETRY_S
    return min(max(seconds, 0.0), _MAX_RETRY_S)


def _http_options(address: str, key: str | None, faces: bool) -> dict[str, Any]:
    return {
        "base_url": address,
        "headers": {"Authorization": f"Bearer {key}"} if key else {},
        "params": {"faces": "true"} if faces else {},
    }


def _unreachable(error: httpx.TransportError) -> ClientError:
    return ClientError(f"The service does not answer ({error or type(error).__name__}).")
