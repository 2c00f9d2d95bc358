"""Sends files to a service over HTTP, good pictures between them, and judges every answer."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from models.errors import PictureError
from tests.service.fixtures import form

# One request in so many is a file alone, as the raw body; the others are forms with a good one.
_ALONE: Final = 4
_MOST_A_FORM: Final = 6
# One request in so many asks for faces, if any does.
_FACES: Final = 3
_TIMEOUT_S: Final = 120.0
_MOST_TRIES: Final = 60

_WHOLE: Final = "/predict"
_WITH_FACES: Final = "/predict?faces=true"

Named = tuple[str, bytes]


@dataclass
class Findings:
    """What a run met.

    Attributes:
        files: Sent, without the good pictures.
        good: Good pictures sent, all of them answered as the first time unless `faults` says so.
        put_off: How often a request was told to come again (429).
        outcomes: Files by "answered" or by the error's code.
        faults: What should not have been, and the files of that request.
    """

    files: int = 0
    good: int = 0
    put_off: int = 0
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
    """Send files, so many requests at a time, until there are no more.

    Args:
        address: Of the service.
        files: By what they are; taken as they are needed.
        good: Pictures that must be answered, and always identically.
        seed: Of what goes together.
        connections: Requests in flight.
        faces: Have some of the requests ask for faces.
    """
    found = Findings()
    limits = httpx.Limits(max_connections=connections)
    async with httpx.AsyncClient(base_url=address, timeout=_TIMEOUT_S, limits=limits) as client:
        paths = (_WHOLE, _WITH_FACES) if faces else (_WHOLE,)
        first = {path: [await _first(client, path, picture) for picture in good] for path in paths}
        requests = _requests(files, good, random.Random(seed))
        chance = random.Random(seed)

        async def one_after_the_other() -> None:
            for sent, place, which in requests:
                path = paths[-1] if chance.randrange(_FACES) == 0 else _WHOLE
                fault = await _ask(client, path, sent, place, first[path][which], found)
                if fault is not None:
                    found.faults.append((f"{path}: {fault}", sent))

        await asyncio.gather(*(one_after_the_other() for _ in range(connections)))
    return found


def _requests(
    files: Iterable[Named], good: Sequence[bytes], chance: random.Random
) -> Iterator[tuple[list[Named], int | None, int]]:
    """What each request holds, where in it a good picture is, if one is, and which."""
    rest = iter(files)
    for first in rest:
        which = chance.randrange(len(good))
        if chance.randrange(_ALONE) == 0:
            yield [first], None, which
            continue
        sent = [first]
        for _ in range(chance.randrange(_MOST_A_FORM)):
            sent += [file for file in [next(rest, None)] if file is not None]
        place = chance.randint(0, len(sent))
        sent.insert(place, ("a good picture", good[which]))
        yield sent, place, which


async def _first(client: httpx.AsyncClient, path: str, picture: bytes) -> dict[str, Any]:
    response = await client.post(
        path, content=picture, headers={"Content-Type": "application/octet-stream"}
    )
    response.raise_for_status()
    return _said(response.json()["predictions"][0])


async def _ask(
    client: httpx.AsyncClient,
    path: str,
    sent: list[Named],
    place: int | None,
    expected: dict[str, Any],
    found: Findings,
) -> str | None:
    """Send one request and count its files; returns what is wrong with the answer."""
    if place is None:
        body, kind = sent[0][1], "image/jpeg"
    else:
        parts = [("files", str(index), data) for index, (_, data) in enumerate(sent)]
        body, kind = form(*parts, boundary="4f7c1d9a0b3e")
    try:
        response = await _post(client, path, body, kind, found)
        answer = response.json()
    except (httpx.HTTPError, ValueError) as error:
        return f"no answer: {error!r}"
    found.files += len(sent) - (place is not None)
    found.good += place is not None
    if place is None and response.is_client_error:
        entries = [{"index": 0, "error": answer}]
    elif response.status_code == httpx.codes.OK:
        entries = answer["predictions"]
    else:
        return f"status {response.status_code}: {answer.get('code')}"
    if [entry["index"] for entry in entries] != list(range(len(sent))):
        return "there are other entries than files"
    for entry in entries:
        outcome = entry["error"]["code"] if "error" in entry else "answered"
        if outcome not in _OUTCOMES:
            return f"file {entry['index']}: {outcome}"
        if entry["index"] != place:
            found.outcomes[outcome] += 1
        elif _said(entry) != expected:
            return "the good picture is answered otherwise than at first"
    return None


async def _post(
    client: httpx.AsyncClient, path: str, body: bytes, kind: str, found: Findings
) -> httpx.Response:
    """Send a request, and again when it is time, if the service has its hands full."""
    for _ in range(_MOST_TRIES):
        response = await client.post(path, content=body, headers={"Content-Type": kind})
        if response.status_code != httpx.codes.TOO_MANY_REQUESTS:
            break
        found.put_off += 1
        await asyncio.sleep(float(response.headers["Retry-After"]))
    return response


_OUTCOMES: Final = {"answered"} | {kind.code for kind in PictureError.__subclasses__()}


def _said(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in ("index", "filename")}
