"""What POST /predict says of pictures, from what the engine says of them."""

import json
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, Final, TypeVar

from fastapi import Response
from torch import Tensor

from models.errors import FacemaskError, PictureError
from models.imaging.faces import Edges, Face
from service.http.uploads import Upload
from service.inference.decision import decide, is_familiar
from service.inference.engine import Answer, Engine
from service.problems import all_failed

Outcome = TypeVar("Outcome")

# Of the activation map's values: finer than any colour that shows them.
_DIGITS: Final = 4


def predictions(
    engine: Engine, uploads: Sequence[Upload], outcomes: Sequence[Answer | PictureError]
) -> list[dict[str, Any]]:
    """One entry a picture, in upload order.

    Raises:
        PictureError, NothingReadable: No picture could be read.
    """

    def said(answer: Answer) -> dict[str, Any]:
        found = _prediction(engine, answer)
        if engine.crops:
            found["face"] = None if answer.face is None else _place(answer.face)
        return found

    return entries(uploads, outcomes, said)


def entries(
    uploads: Sequence[Upload],
    outcomes: Sequence[Outcome | PictureError],
    said: Callable[[Outcome], dict[str, Any]],
) -> list[dict[str, Any]]:
    """One entry a picture, in upload order: what is said of it, or its error.

    Raises:
        PictureError, NothingReadable: No picture could be read.
    """
    _require_readable(uploads, outcomes)
    found = []
    for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True)):
        entry: dict[str, Any] = {"index": index, "filename": upload.filename}
        if isinstance(outcome, PictureError):
            entry["error"] = {"code": outcome.code, "detail": str(outcome)}
        else:
            entry |= said(outcome)
        found.append(entry)
    return found


def _require_readable(uploads: Sequence[Upload], outcomes: Sequence[object]) -> None:
    """Pass if at least one picture could be read.

    Raises:
        PictureError, NothingReadable: None could.
    """
    failures: list[tuple[int, str | None, FacemaskError]] = [
        (index, upload.filename, outcome)
        for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True))
        if isinstance(outcome, PictureError)
    ]
    if len(failures) == len(uploads):
        raise all_failed(failures)


def face_prediction(engine: Engine, answer: Answer) -> dict[str, Any]:
    """Where a face is, and what the model says of it."""
    return (_place(answer.face) if answer.face else {}) | _prediction(engine, answer)


def _prediction(engine: Engine, answer: Answer) -> dict[str, Any]:
    """What the model says of what it was given."""
    labels, probabilities = engine.labels, answer.probabilities
    decided = decide(labels, engine.manifest.decision.threshold, probabilities)
    found = {
        "decision": decided.decision,
        "label": decided.label,
        "score": decided.score,
        "scores": dict(zip(labels, probabilities, strict=True)),
        "familiar": is_familiar(engine.manifest.familiarity, answer.distance),
        "distance": answer.distance,
    }
    if answer.activation is not None:
        found["activation"] = _activation(answer.activation[labels.index(decided.label)])
    return found


def _place(face: Face) -> dict[str, Any]:
    """Where a face is, and how sure the detector is of it."""
    return {"box": _box(face.box), "square": _box(face.square), "face_score": face.score}


def _box(edges: Edges) -> dict[str, int]:
    left, top, right, bottom = edges
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


def _activation(cells: Tensor) -> dict[str, Any]:
    """A label's class-activation map (h, w): what speaks for it, from 0 to 1 at the most."""
    cells = cells.clamp(min=0)
    highest = float(cells.max())
    rows, columns = cells.shape
    scaled: list[list[float]] = (cells / highest if highest > 0 else cells).tolist()
    return {
        "rows": rows,
        "columns": columns,
        "values": [[round(value, _DIGITS) for value in row] for row in scaled],
    }


def json_response(document: dict[str, Any], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """Serialise a document as UTF-8 JSON."""
    return Response(
        json.dumps(document, ensure_ascii=False).encode(),
        status_code=status,
        media_type="application/json",
    )
