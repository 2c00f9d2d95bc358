"""Blocking and asyncio clients: send batches in order, retry while the service is busy."""

import asyncio
import email.utils
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import httpx

from facemask_client.answers import Answer, ClientError
from facemask_client.batches import Batch, read_batches
from facemask_client.connection import AnswerReader, connection_to
from facemask_client.pictures import find_pictures

_RETRY_STATUSES: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
_DEFAULT_RETRY_S: Final = 1.0
_MAX_RETRY_S: Final = 60.0
_MAX_RETRY_DIGITS: Final = 10


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
        threshold: float | None = None,
        whole: bool = False,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Configure the client without sending a request.

        Args:
            address: Base URL of the service, such as `http://127.0.0.1:8000`.
            key: API key, sent as a bearer token.
            retries: Max repetitions of a request that was answered with 429 or 503.
            timeout_s: Max seconds for a request, from the connection to the answer's last byte.
            faces: Classify each face instead of the whole picture.
            threshold: Score below which the decision is `uncertain`, 0..1; the service's by
                default.
            whole: Classify whole pictures, also where the main face could be framed as in training.
            transport: httpx transport, for tests and embedding; no proxy is used then.

        Raises:
            ClientError: The address, the key, the threshold, or a proxy of the environment cannot
                be used.
        """
        self._retries = retries
        self._connection = connection_to(
            address,
            key,
            query=_query(faces=faces, threshold=threshold, whole=whole),
            timeout_s=timeout_s,
            direct=transport is not None,
        )
        with self._connection.errors():
            self._http = httpx.Client(**self._connection.options(), transport=transport)

    def classify(self, paths: Iterable[str | Path]) -> Iterator[Answer]:
        """Yield one answer per picture, in order; folders are searched for pictures.

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
            with self._connection.errors():
                response = _within(self._connection.timeout_s, lambda: self._post(batch))
            if response.status_code not in _RETRY_STATUSES or attempt == self._retries:
                break
            time.sleep(retry_after_s(response))
        if batch.must_be_split(response):
            for single in batch.singles():
                yield from self._send(single)
        else:
            yield from batch.answers(response)

    def _post(self, batch: Batch) -> httpx.Response:
        with self._http.stream("POST", "/predict", files=batch.parts()) as response:
            reader = AnswerReader(response)
            for chunk in response.iter_bytes():
                reader.add(chunk)
        return reader.response()

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
        threshold: float | None = None,
        whole: bool = False,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Configure the client without sending a request; arguments and errors as for `Client`."""
        self._retries = retries
        self._connection = connection_to(
            address,
            key,
            query=_query(faces=faces, threshold=threshold, whole=whole),
            timeout_s=timeout_s,
            direct=transport is not None,
        )
        with self._connection.errors():
            self._http = httpx.AsyncClient(**self._connection.options(), transport=transport)

    async def classify(self, paths: Iterable[str | Path]) -> AsyncIterator[Answer]:
        """Yield one answer per picture, in order; folders are searched for pictures.

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
            with self._connection.errors():
                async with asyncio.timeout(self._connection.timeout_s):
                    response = await self._post(batch)
            if response.status_code not in _RETRY_STATUSES or attempt == self._retries:
                break
            await asyncio.sleep(retry_after_s(response))
        if batch.must_be_split(response):
            return [answer for one in batch.singles() for answer in await self._send(one)]
        return batch.answers(response)

    async def _post(self, batch: Batch) -> httpx.Response:
        async with self._http.stream("POST", "/predict", files=batch.parts()) as response:
            reader = AnswerReader(response)
            async for chunk in response.aiter_bytes():
                reader.add(chunk)
        return reader.response()

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
        seconds = float(value[:_MAX_RETRY_DIGITS])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            seconds = _DEFAULT_RETRY_S
    return min(max(seconds, 0.0), _MAX_RETRY_S)


def _query(*, faces: bool, threshold: float | None, whole: bool) -> dict[str, str]:
    """Return the parameters of each request.

    Raises:
        ClientError: The threshold is not in 0..1.
    """
    query = {"faces": "true"} if faces else {}
    if whole:
        query["framing"] = "whole"
    if threshold is not None:
        if not 0 <= threshold <= 1:
            raise ClientError(f"The threshold must be from 0 to 1, and is {threshold:g}.")
        query["threshold"] = f"{threshold!r}"
    return query


def _within(seconds: float, request: Callable[[], httpx.Response]) -> httpx.Response:
    """Return the result of a request that runs in a thread of its own.

    A socket's timeout starts again with each byte, and looking up a name has none: only another
    thread can bound the whole. A thread that is given up ends when the client is closed.

    Raises:
        TimeoutError: There is none in time.
    """
    results: queue.SimpleQueue[httpx.Response | BaseException] = queue.SimpleQueue()

    def run() -> None:
        try:
            results.put(request())
        except BaseException as error:  # noqa: BLE001  raised again below
            results.put(error)

    threading.Thread(target=run, name="facemask-client", daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, BaseException):
        raise result
    return result
