"""What is sent and what comes back: batches of files, and an answer a picture."""

import email.utils
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx

PICTURES: Final = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jfif",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".mpo",
        ".heic",
        ".heif",
    ]
)
"""Endings of the files that are taken from folders."""

_BATCH_FILES: Final = 8
_BATCH_BYTES: Final = 16 * 2**20
# Statuses that ask for patience: too many requests, and not ready.
_BUSY: Final = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
# Statuses that say something about the pictures, and nothing about the service or the caller.
_ABOUT_PICTURES: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.UNPROCESSABLE_ENTITY,
)
_USUAL_WAIT_S: Final = 1.0
_LONGEST_WAIT_S: Final = 60.0


class ClientError(Exception):
    """The service could not be asked, or would not answer at all.

    Attributes:
        code: The stable code of the service's problem document, if it sent one.
        status: Of the answer, if there was one.
    """

    def __init__(self, detail: str, *, code: str = "", status: int | None = None) -> None:
        """Take one sentence for people, and what programs may look at."""
        super().__init__(detail)
        self.code, self.status = code, status


@dataclass(frozen=True)
class FaceAnswer:
    """What the service said of one face.

    Attributes:
        left: Of its box, in pixels of the upright picture.
        top: As left.
        width: As left.
        height: As left.
        face_score: How sure the detector is that it is one, 0..1.
        decision: As in `Answer`; so are the rest.
    """

    left: int
    top: int
    width: int
    height: int
    face_score: float
    decision: str
    label: str
    score: float
    scores: Mapping[str, float]
    familiar: bool | None = None


@dataclass(frozen=True)
class Answer:
    """What the service said of one picture.

    Attributes:
        file: The picture.
        decision: The label, or `uncertain`; None where there is an error.
        label: The likeliest class.
        score: Probability of `label`, 0..1.
        scores: Probability of each class.
        familiar: Whether the model was trained on pictures like it; None if it cannot tell.
        model: Version of the model that answered.
        error: Why there is no answer, in words.
        code: The same, for programs.
        faces: One answer a face, likeliest first, where faces were asked for; decision, label,
            score and scores are then empty.
    """

    file: Path
    decision: str | None = None
    label: str | None = None
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    familiar: bool | None = None
    model: str | None = None
    error: str | None = None
    code: str | None = None
    faces: Sequence[FaceAnswer] | None = None


def find_pictures(paths: Iterable[str | Path]) -> Iterator[Path]:
    """Files as they are named, and all pictures below folders, in order of their paths."""
    for path in map(Path, paths):
        if path.is_dir():
            for found in sorted(path.rglob("*")):
                hidden = any(step.startswith(".") for step in found.relative_to(path).parts)
                if found.suffix.lower() in PICTURES and not hidden and found.is_file():
                    yield found
        else:
            yield path


@dataclass(frozen=True)
class Batch:
    """The pictures of one request, encoded, each with its path."""

    files: list[tuple[Path, bytes]]

    def parts(self) -> list[tuple[str, tuple[str, bytes]]]:
        return [("files", (path.name, data)) for path, data in self.files]

    def singles(self) -> Iterator["Batch"]:
        return (Batch([one]) for one in self.files)

    def refused_whole(self, response: httpx.Response) -> bool:
        """Whether the batch was too much, and its pictures may be answered one by one."""
        too_large = response.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        return too_large and len(self.files) > 1

    def answers(self, response: httpx.Response) -> Iterator[Answer]:
        """One a picture, whatever the service answered.

        Raises:
            ClientError: It says nothing about the pictures.
        """
        try:
            document: dict[str, Any] = response.json()
        except ValueError:
            document = {}
        if response.is_success and "predictions" in document:
            version = document["model"]["version"]
            for (path, _), entry in zip(self.files, document["predictions"], strict=True):
                yield _answer(path, entry, version)
            return
        code = document.get("code", "")
        detail = document.get("detail") or f"The service answered with {response.status_code}."
        if response.status_code not in _ABOUT_PICTURES:
            raise ClientError(detail, code=code, status=response.status_code)
        own = {error["index"]: error for error in document.get("errors", [])}
        for index, (path, _) in enumerate(self.files):
            error = own.get(index, {"code": code, "detail": detail})
            yield Answer(path, error=error["detail"], code=error["code"])


def batches(paths: Iterable[Path]) -> Iterator[Batch | Answer]:
    """Read files into batches of bounded size; one that cannot be read is an answer at once."""
    files: list[tuple[Path, bytes]] = []
    total_bytes = 0
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            if files:
                yield Batch(files)
                files, total_bytes = [], 0
            reason = error.strerror or type(error).__name__
            yield Answer(path, error=f"The file cannot be read: {reason}.", code="unreadable_file")
            continue
        if files and (len(files) == _BATCH_FILES or total_bytes + len(data) > _BATCH_BYTES):
            yield Batch(files)
            files, total_bytes = [], 0
        files.append((path, data))
        total_bytes += len(data)
    if files:
        yield Batch(files)


def is_busy(response: httpx.Response) -> bool:
    """Whether the service asks to come again."""
    return response.status_code in _BUSY


def wait_s(response: httpx.Response) -> float:
    """Seconds that `Retry-After` asks for: a number or a date (RFC 9110), and a minute at most."""
    value = response.headers.get("Retry-After", "")
    if value.isdecimal() and value.isascii():
        seconds = float(value[:10])
    else:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            seconds = _USUAL_WAIT_S
    return min(max(seconds, 0.0), _LONGEST_WAIT_S)


def away(error: httpx.TransportError) -> ClientError:
    """The error for a request that was never answered."""
    return ClientError(f"The service does not answer ({error or type(error).__name__}).")


def key_headers(key: str | None) -> dict[str, str]:
    """Headers that carry a key."""
    return {"Authorization": f"Bearer {key}"} if key else {}


def _answer(path: Path, entry: Mapping[str, Any], version: str) -> Answer:
    if "error" in entry:
        error = entry["error"]
        return Answer(path, model=version, error=error["detail"], code=error["code"])
    if "faces" in entry:
        return Answer(path, model=version, faces=[_face(face) for face in entry["faces"]])
    return Answer(
        path,
        decision=entry["decision"],
        label=entry["label"],
        score=entry["score"],
        scores=entry["scores"],
        familiar=entry.get("familiar"),
        model=version,
    )


def _face(entry: Mapping[str, Any]) -> FaceAnswer:
    box = entry["box"]
    return FaceAnswer(
        box["left"],
        box["top"],
        box["width"],
        box["height"],
        face_score=entry["face_score"],
        decision=entry["decision"],
        label=entry["label"],
        score=entry["score"],
        scores=entry["scores"],
        familiar=entry.get("familiar"),
    )


def query(faces: bool) -> dict[str, str]:
    """The query of POST /predict."""
    return {"faces": "true"} if faces else {}
