"""Typed answers, parsed from the service's JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ClientError(Exception):
    """The service is unreachable, or its answer is about the request and not about an image.

    Attributes:
        code: Stable error code of the service's problem document, if there was one.
        status: HTTP status of the answer, if there was one.
    """

    def __init__(self, detail: str, *, code: str = "", status: int | None = None) -> None:
        """Store a sentence for people, and a code and a status for programs."""
        super().__init__(detail)
        self.code, self.status = code, status


@dataclass(frozen=True)
class FaceAnswer:
    """Classification of one face.

    Attributes:
        left: Left edge of the bounding box, in pixels of the upright image.
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


@dataclass(frozen=True)
class Answer:
    """Classification of one image, or the reason why there is none.

    Attributes:
        file: Path of the image.
        decision: The label, or `uncertain`; None after an error.
        label: The most probable class.
        score: Probability of `label`, 0..1.
        scores: Probability of each class.
        familiar: False if the image is out of distribution, None if the model has no detector.
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
    model: str | None = None
    error: str | None = None
    code: str | None = None
    faces: Sequence[FaceAnswer] | None = None


def parse_answer(path: Path, entry: Mapping[str, Any], version: str) -> Answer:
    """Return the answer that one item of `predictions` holds."""
    if "error" in entry:
        error = entry["error"]
        return Answer(path, model=version, error=error["detail"], code=error["code"])
    if "faces" in entry:
        faces = [
            FaceAnswer(
                **{side: face["box"][side] for side in ("left", "top", "width", "height")},
                face_score=face["face_score"],
                **_classification(face),
            )
            for face in entry["faces"]
        ]
        return Answer(path, model=version, faces=faces)
    return Answer(path, model=version, **_classification(entry))


def _classification(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "decision": entry["decision"],
        "label": entry["label"],
        "score": entry["score"],
        "scores": entry["scores"],
        "familiar": entry.get("familiar"),
    }
