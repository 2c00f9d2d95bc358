"""Columns of a shard, and the row of one input."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from models.errors import PictureError
from models.imaging.faces import Edges
from models.text import clean
from service.inference.decision import SCORE_DIGITS, PictureFaces, Prediction

_BOX = pa.struct([(name, pa.int32()) for name in ("left", "top", "width", "height")])

UNREADABLE_CODE = "unreadable_input"
"""Error code of an input whose bytes cannot be had; pictures have the codes of the service."""


def columns_of(labels: Sequence[str]) -> pa.Schema:
    """Return the columns of a shard, for a model with these labels.

    `error_code` and `error` are null where there is an answer. The answer's columns, from `label`
    to `box`, are null where there is none; with `--faces` each element of `faces` has them instead.
    """
    answer = [
        ("label", pa.string()),
        ("decision", pa.string()),
        ("score", pa.float64()),
        ("scores", pa.struct([(label, pa.float64()) for label in labels])),
        ("familiar", pa.bool_()),
        ("distance", pa.float64()),
        ("framing", pa.string()),
        ("box", _BOX),
    ]
    return pa.schema(
        [
            ("key", pa.string()),
            ("sha256", pa.string()),
            ("bytes", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            *answer,
            ("faces", pa.list_(pa.struct(answer))),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("model_version", pa.string()),
            ("model_sha256", pa.string()),
        ]
    )


def outcome_columns(outcome: Prediction | PictureFaces | PictureError) -> dict[str, Any]:
    """Return the columns of a row for a picture's answer or error."""
    if isinstance(outcome, PictureError):
        return {"error_code": outcome.code, "error": clean(str(outcome))}
    if isinstance(outcome, PictureFaces):
        return {"faces": [_answer(found) for found in outcome.predictions]}
    return _answer(outcome)


def _answer(prediction: Prediction) -> dict[str, Any]:
    distance, framed, face = prediction.distance, prediction.framed, prediction.face
    box = framed.box if framed else face.box if face else None
    return {
        "label": prediction.label,
        "decision": prediction.decision,
        "score": round(prediction.score, SCORE_DIGITS),
        "scores": {label: round(score, SCORE_DIGITS) for label, score in prediction.scores.items()},
        "familiar": prediction.familiar,
        "distance": None if distance is None else round(distance, SCORE_DIGITS),
        "framing": "face" if box else "whole",
        "box": box and _box(box),
    }


def _box(edges: Edges) -> dict[str, int]:
    left, top, right, bottom = edges
    return {"left": left, "top": top, "width": right - left, "height": bottom - top}
