"""Sends files to a service over HTTP with valid images among them, and checks every answer."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from models.errors import PictureError
from tests.service.fixtures import form

# One request in 4 is one file as the raw body; the others are forms with a valid image.
_REQUESTS_PER_RAW_BODY: Final = 4
_MAX_EXTRA_FILES_PER_FORM: Final = 6
# One request in 3 sets `faces=true`, if faces can be found.
_REQUESTS_PER_FACES: Final = 3
_TIMEOUT_S: Final = 120.0
_MAX_TRIES: Final = 60

_WHOLE: Final = "/predict"
_WITH_FACES: Final = "/predict?faces=true"

Named = tuple[str, bytes]


@dataclass
class Findings:
    """Result of a run.

    Attributes:
        files: Number of files sent, without the valid images.
        good: Number of valid images sent.
        retried: Number of requests that were refused with 429 and repeated.
        outcomes: Number of files per outcome: "answered" or the error's code.
        faults: Sentence per fault, with the files of its request.
    """

    files: int = 0
    good: int = 0
    retried: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[str, list[Named]]] = field(default_factory=list)


async def send(
    address: str,
    files: Iterable[Named],
    good: Sequence[bytes],
    *,
    seed: int,
    connections: int,
    faces: bool = False,
) -> Findings:
    """Send all files over concurrent connections.

    Args:
        address: Base URL of the service.
        files: Description and content of each; read lazily.
        good: Valid images, which must always get the same answer.
        seed: Seed of the composition of requests.
        connections: Number of requests in flight.
        faces: Set `faces=true` in some of the requests.
    """
    found = Findings()
    limits = httpx.Limits(max_connections=connections)
    async with httpx.AsyncClient(base_url=address, timeout=_TIMEOUT_S, limits=limits) as client:
        paths = (_WHOLE, _WITH_FACES) if faces else (_WHOLE,)
        first = {path: [await _first(client, path, picture) for picture in good] for path in paths}
        requests = _requests(files, good, random.Random(seed))
        rng = random.Random(seed)

        async def send_sequentially() -> None:
            for sent, good_index, which in requests:
                path = paths[-1] if rng.randrange(_REQUESTS_PER_FACES) == 0 else _WHOLE
                fault = await _send_one(client, path, sent, good_index, first[path][which], found)
                if fault is not None:
                    found.faults.append((f"{path}: {fault}", sent))

        await asyncio.gather(*(send_sequentially() for _ in range(connections)))
    return found


def _requests(
    files: Iterable[Named], good: Sequence[bytes], rng: random.Random
) -> Iterator[tuple[list[Named], int | None, int]]:
    """Yield the files of each request, the index of its valid image or None, and which it is."""
    rest = iter(files)
    for first in rest:
        which = rng.randrange(len(good))
        if rng.randrange(_REQUESTS_PER_RAW_BODY) == 0:
            yield [first], None, which
            continue
        sent = [first]
        for _ in range(rng.randrange(_MAX_EXTRA_FILES_PER_FORM)):
            sent += [file for file in [next(rest, None)] if file is not None]
        good_index = rng.randint(0, len(sent))
        sent.insert(good_index, ("a valid image", good[which]))
        yield sent, good_index, which


async def _first(client: httpx.AsyncClient, path: str, picture: bytes) -> dict[str, Any]:
    response = await client.post(
        path, content=picture, headers={"Content-Type": "application/octet-stream"}
    )
    response.raise_for_status()
    return _comparable(response.json()["predictions"][0])


async def _send_one(
    client: httpx.AsyncClient,
    path: str,
    sent: list[Named],
    good_index: int | None,
    expected: dict[str, Any],
    found: Findings,
) -> str | None:
    """Send one request and count its files; return the fault of its answer, if any."""
    if good_index is None:
        body, kind = sent[0][1], "image/jpeg"
    else:
        parts = [("files", str(index), data) for index, (_, data) in enumerate(sent)]
        body, kind = form(*parts, boundary="4f7c1d9a0b3e")
    try:
        response = await _post(client, path, body, kind, found)
        answer = response.json()
    except (httpx.HTTPError, ValueError) as error:
        return f"no answer: {error!r}"
    found.files += len(sent) - (good_index is not None)
    found.good += good_index is not None
    if good_index is None and response.is_client_error:
        entries = [{"index": 0, "error": answer}]
    elif response.status_code == httpx.codes.OK:
        entries = answer["predictions"]
    else:
        return f"status {response.status_code}: {answer.get('code')}"
    if [entry["index"] for entry in entries] != list(range(len(sent))):
        return "the entries are not those of the files"
    for entry in entries:
        outcome = entry["error"]["code"] if "error" in entry else "answered"
        if outcome not in _OUTCOMES:
            return f"file {entry['index']}: {outcome}"
        if entry["index"] != good_index:
            found.outcomes[outcome] += 1
        elif _comparable(entry) != expected:
            return "the valid image is not answered as at first"
    return None


async def _post(
    client: httpx.AsyncClient, path: str, body: bytes, kind: str, found: Findings
) -> httpx.Response:
    """Send a request, and repeat it after `Retry-After` while the service is overloaded."""
    for _ in range(_MAX_TRIES):
        response = await client.post(path, content=body, headers={"Content-Type": kind})
        if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
            break
        found.retried += 1
        await asyncio.sleep(float(response.headers["Retry-After"]))
    return response


_OUTCOMES: Final = {"answered"} | {kind.code for kind in PictureError.__subclasses__()}


def _comparable(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("index", "filename")}
