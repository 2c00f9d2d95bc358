"""The JSON of POST /predict, built from predictions."""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import Response
from torch import Tensor

from models.errors import FacemaskError, PictureError
from models.imaging.faces import Edges, Face
from models.text import clean
from service.http.uploads import Upload
from service.inference.decision import SCORE_DIGITS, PictureFaces, Prediction
from service.problems import none_readable

# Decimals of the activation map's values: finer than any colour that shows them.
_ACTIVATION_DIGITS: Final = 4


def picture_entries(
    uploads: Sequence[Upload],
    outcomes: Sequence[Prediction | PictureFaces | PictureError],
    *,
    show_face: bool,
) -> list[dict[str, Any]]:
    """Return one entry per picture, in upload order: its answer, its faces, or its error.

    Args:
        uploads: The pictures as they were sent.
        outcomes: The outcome of each picture.
        show_face: Add the face that the answer refers to; null for the whole picture.

    Raises:
        PictureError, NothingReadable: No picture could be read.
    """
    _require_one_readable(uploads, outcomes)
    entries = []
    for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True)):
        entry: dict[str, Any] = {"index": index, "filename": upload.filename}
        if isinstance(outcome, PictureError):
            entry["error"] = {"code": outcome.code, "detail": clean(str(outcome))}
        elif isinstance(outcome, PictureFaces):
            entry |= {
                "width": outcome.width,
                "height": outcome.height,
                "faces": [_face(found) for found in outcome.predictions],
                "faces_left_out": outcome.left_out,
            }
        else:
            entry |= _prediction(outcome) | _framing(outcome)
            if show_face:
                entry["face"] = None if outcome.face is None else _location(outcome.face)
        entries.append(entry)
    return entries


def json_response(
    document: dict[str, Any],
    status: HTTPStatus = HTTPStatus.OK,
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a document as UTF-8 JSON."""
    return Response(
        json.dumps(document, ensure_ascii=False).encode(),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


def _require_one_readable(uploads: Sequence[Upload], outcomes: Sequence[object]) -> None:
    failures: list[tuple[int, str | None, FacemaskError]] = [
        (index, upload.filename, outcome)
        for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True))
        if isinstance(outcome, PictureError)
    ]
    if len(failures) == len(uploads):
        raise none_readable(failures)


def _face(prediction: Prediction) -> dict[str, Any]:
    location = _location(prediction.face) if prediction.face else {}
    return location | _prediction(prediction)


def _prediction(prediction: Prediction) -> dict[str, Any]:
    distance = prediction.distance
    fields = {
        "decision": prediction.decision,
        "label": prediction.label,
        "score": round(prediction.score, SCORE_DIGITS),
        "scores": {label: round(score, SCORE_DIGITS) for label, score in prediction.scores.items()},
        "familiar": prediction.familiar,
        "distance": None if distance is None else round(distance, SCORE_DIGITS),
    }
    if prediction.activation is not None:
        fields["activation"] = _activation(prediction.activation)
    return fields


def _framing(prediction: Prediction) -> dict[str, Any]:
    """Return the part of a picture that was classified."""
    framed, face = prediction.framed, prediction.face
    if framed is not None:
        return {"framing": "face", "box": _box(framed.box), "further_faces": framed.further}
    return {"framing": "face", "box": _box(face.square)} if face else {"framing": "whole"}


def _location(face: Face) -> dict[str, Any]:
    return {"box": _box(face.box), "square": _box(face.square), "face_score": face.score}


def _box(edges: Edges) -> dict[str, int]:
    left, top, right, bottom = edges
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}


def _activation(cells: Tensor) -> dict[str, Any]:
    """Return a class-activation map (h, w): the evidence for the class, scaled to a max of 1."""
    cells = cells.clamp(min=0)
    highest = float(cells.max())
    rows, columns = cells.shape
    scaled: list[list[float]] = (cells / highest if highest > 0 else cells).tolist()
    return {
        "rows": rows,
        "columns": columns,
        "values": [[round(value, _ACTIVATION_DIGITS) for value in row] for row in scaled],
    }
