"""Columns of a shard, and the row of one input."""

import hashlib
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from models.errors import PictureError
from scoring.inputs import Entry, Unreadable
from service.inference.decision import PictureFaces, Prediction

_BOX = pa.struct([(name, pa.int32()) for name in ("left", "top", "width", "height")])


def schema(labels: Sequence[str]) -> pa.Schema:
    """Return the columns of a shard of a model with these labels.

    `error_code` and `error` are null where there is an answer, and all columns from `label` on
    where there is none.
    """
    scores = pa.struct([(label, pa.float64()) for label in labels])
    answer = [
        ("label", pa.string()),
        ("decision", pa.string()),
        ("score", pa.float64()),
        ("scores", scores),
        ("familiar", pa.bool_()),
        ("distance", pa.float64()),
    ]
    face = pa.struct([*answer, ("box", _BOX)])
    return pa.schema(
        [
            ("key", pa.string()),
            ("sha256", pa.string()),
            ("bytes", pa.int64()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            *answer,
            ("framing", pa.string()),
            ("box", _BOX),
            ("faces", pa.list_(face)),
            ("error_code", pa.string()),
            ("error", pa.string()),
            ("model_version", pa.string()),
            ("model_sha256", pa.string()),
        ]
    )
