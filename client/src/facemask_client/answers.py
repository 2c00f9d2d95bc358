"""Typed answers, parsed from the service's JSON and checked: the server may be any."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from facemask_client.text import clean

_TOLERANCE: Final = 1e-6  # of a probability, for its rounding
_MAX_DISTANCE: Final = 16  # twice the largest scale of a class


class ClientError(Exception):
    """The service is unreachable, or its answer is about the request and not about a picture.

    Attributes:
        code: Stable error code of the service's problem document, if there was one.
        status: HTTP status of the answer, if there was one.
    """

    def __init__(self, detail: str, *, code: str = "", status: int | None = None) -> None:
        """Store a sentence for people, and a code and a status for programs."""
        super().__init__(detail)
        self.code, self.status = code, status


@dataclass(frozen=True)
class Box:
    """Part of a picture, in pixels of the upright picture."""

    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True)
class FaceAnswer:
    """Classification of one face.

    Attributes:
        left: Left edge of the bounding box, in pixels of the upright picture.
        top: Top edge, likewise.
        width: Width of the box, likewise.
        height: Height of the box, likewise.
        face_score: Confidence of the face detector, 0..1.
        decision: As in `Answer`, as are the remaining fields.
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
    distance: float | None = None


@dataclass(frozen=True)
class Answer:
    """Classification of one picture, or the reason why there is none.

    Attributes:
        file: Path of the picture.
        decision: The label, `uncertain` below the threshold, or `unfamiliar` if the picture is out
            of distribution; None after an error.
        label: The most probable class.
        score: Probability of `label`, 0..1.
        scores: Probability of each class.
        familiar: False if the picture is out of distribution, None if the model has no detector.
        distance: Distance from the training pictures, mostly below 1; None if the model has no
            detector.
        framing: `face` if the main face of a larger picture was classified, else `whole`; None if
            the service is an older one.
        box: The part that was classified, in pixels of the upright picture; None for the whole.
        further_faces: Number of further faces of similar size, if a face was looked for.
        threshold: Score below which the decision is `uncertain`; None if the service is an older
            one that does not name it.
        model: Version of the model that answered.
        error: Error as a sentence.
        code: Error as a stable code.
        faces: One answer per face, most probable first, if faces were requested; decision,
            label, score and scores are then empty.
    """

    file: Path
    decision: str | None = None
    label: str | None = None
    score: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    familiar: bool | None = None
    distance: float | None = None
    framing: str | None = None
    box: Box | None = None
    further_faces: int | None = None
    threshold: float | None = None
    model: str | None = None
    error: str | None = None
    code: str | None = None
    faces: Sequence[FaceAnswer] | None = None


class OddAnswerError(Exception):
    """JSON is not of the shape that the service documents."""


def parse_object(content: bytes) -> dict[str, Any]:
    """Return the JSON object that a response holds.

    Raises:
        OddAnswerError: It holds something else.
    """
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise OddAnswerError("it is not JSON") from error
    if not isinstance(document, dict):
        raise OddAnswerError("it is no JSON object")
    return document


def parse_answers(paths: Sequence[Path], document: Mapping[str, Any]) -> list[Answer]:
    """Return one answer per picture from the document of a successful response.

    Raises:
        OddAnswerError: The document is not of the documented shape.
    """
    common = {
        "model": _text(_member(document, "model", dict), "version"),
        "threshold": _number(document, "threshold") if "threshold" in document else None,
    }
    entries = _member(document, "predictions", list)
    if len(entries) != len(paths):
        raise OddAnswerError(f"it has {len(entries)} predictions for {len(paths)} pictures")
    return [
        _parse_answer(path, _object(entry), common)
        for path, entry in zip(paths, entries, strict=True)
    ]


def parse_errors(document: Mapping[str, Any]) -> tuple[str, str, dict[int, tuple[str, str]]]:
    """Return detail and code of a problem document, and those of single pictures by their index.

    Raises:
        OddAnswerError: The document is not of the documented shape.
    """
    errors = _member(document, "errors", list) if "errors" in document else []
    by_index = {
        _member(error, "index", int): (_text(error, "detail"), _text(error, "code"))
        for error in map(_object, errors)
    }
    code = _text(document, "code") if "code" in document else ""
    return _text(document, "detail"), code, by_index


def _parse_answer(path: Path, entry: Mapping[str, Any], common: Mapping[str, Any]) -> Answer:
    if "error" in entry:
        error = _member(entry, "error", dict)
        detail, code = _text(error, "detail"), _text(error, "code")
        return Answer(path, **common, error=detail, code=code)
    if "faces" in entry:
        faces = [_parse_face(_object(face)) for face in _member(entry, "faces", list)]
        return Answer(path, **common, faces=faces)
    return Answer(path, **common, **_classification(entry), **_framing(entry))


def _framing(entry: Mapping[str, Any]) -> dict[str, Any]:
    further = entry.get("further_faces")
    return {
        "framing": _text(entry, "framing") if "framing" in entry else None,
        "box": None if entry.get("box") is None else Box(**_edges(entry)),
        "further_faces": None if further is None else _member(entry, "further_faces", int),
    }


def _edges(entry: Mapping[str, Any]) -> dict[str, Any]:
    box = _member(entry, "box", dict)
    return {side: _member(box, side, int) for side in ("left", "top", "width", "height")}


def _parse_face(face: Mapping[str, Any]) -> FaceAnswer:
    return FaceAnswer(
        **_edges(face),
        face_score=_number(face, "face_score"),
        **_classification(face),
    )


def _classification(entry: Mapping[str, Any]) -> dict[str, Any]:
    scores = _member(entry, "scores", dict)
    return {
        "decision": _text(entry, "decision"),
        "label": _text(entry, "label"),
        "score": _number(entry, "score"),
        "scores": {clean(label): _number(scores, label) for label in scores},
        "familiar": _member(entry, "familiar", bool, type(None)) if "familiar" in entry else None,
        "distance": _number(entry, "distance", high=_MAX_DISTANCE)
        if entry.get("distance") is not None
        else None,
    }


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise OddAnswerError("it has a value where an object belongs")
    return value


def _member(entry: Mapping[str, Any], name: str, *types: type) -> Any:
    value = entry.get(name)
    if type(value) not in types:  # not isinstance: True is no number
        raise OddAnswerError(f"its {clean(name)!r} is missing or of another type")
    return value


def _text(entry: Mapping[str, Any], name: str) -> str:
    return clean(_member(entry, name, str))


def _number(entry: Mapping[str, Any], name: str, *, high: int = 1) -> float:
    value = _member(entry, name, int, float)
    if not -_TOLERANCE <= value <= high + _TOLERANCE:  # NaN is not, either
        raise OddAnswerError(f"its {clean(name)!r} is no number from 0 to {high}")
    return float(value)
