"""Schemas and examples of requests and answers in the OpenAPI document.

A test compares them with the answers that the service gives.
"""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelName(_Schema):
    """Version and labels of the model that answered."""

    version: str = Field(examples=["20261122T204207Z-1f0c9a77"])
    labels: list[str] = Field(examples=[["mask", "no_mask"]])


class ItemError(_Schema):
    """Reason why one picture has no prediction."""

    code: str = Field(examples=["undecodable_image"])
    detail: str


class Activation(_Schema):
    """Class-activation map of `label`, over the upright picture or the part given to the model."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    values: list[list[float]] = Field(description="Row by row from the top, from 0 to a max of 1.")


class Box(_Schema):
    """Part of a picture, in pixels of the upright original."""

    left: int = Field(ge=0)
    top: int = Field(ge=0)
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Place(_Schema):
    """Location of a face."""

    box: Box
    square: Box = Field(description="The part around it that is the model's input.")
    face_score: float = Field(ge=0, le=1, description="Confidence of the face detector.")


class Prediction(_Schema):
    """Answer for one picture, at its index in the upload."""

    index: int = Field(ge=0)
    filename: str | None = None
    decision: str = Field(
        examples=["mask"],
        description="What programs read: `unfamiliar` if the picture is out of distribution, else "
        "`uncertain` if the score is below `threshold`, else `label`.",
    )
    label: str = Field(examples=["mask"], description="Most probable class.")
    score: float = Field(
        ge=0,
        le=1,
        description="Probability of `label`, rounded to 6 decimals. It means little "
        "where `decision` is `unfamiliar`.",
    )
    scores: dict[str, float] = Field(
        description="Probability of each class, rounded to 6 decimals; they sum to 1 but for that."
    )
    familiar: bool | None = Field(
        examples=[True],
        description="False if the picture is out of distribution: unlike the training pictures, so "
        "that `decision` is `unfamiliar`. `null` if the model has no detector for it.",
    )
    distance: float | None = Field(
        examples=[0.21],
        description="Distance from the training pictures, from 0 to 2; small is similar.",
    )
    framing: Literal["whole", "face"] = Field(
        description="`face` if the main face of a larger picture was classified, cut out as the "
        "training pictures show theirs; `whole` for the whole picture."
    )
    box: Box | None = Field(
        default=None,
        description="The part that was classified; missing for the whole picture.",
    )
    further_faces: int | None = Field(
        default=None,
        ge=0,
        examples=[0],
        description="Number of further faces of similar size, which `faces=true` classifies as "
        "well; missing unless a face was looked for and classified.",
    )
    activation: Activation | None = Field(default=None, description="With `explain=true` only.")
    face: Place | None = Field(
        default=None,
        description="The face that was classified, by a model trained with `--crop faces`; null "
        "if none was found and the whole picture was classified.",
    )


class FacePrediction(Place):
    """Answer for one face."""

    decision: str
    label: str
    score: float = Field(ge=0, le=1)
    scores: dict[str, float]
    familiar: bool | None
    distance: float | None
    activation: Activation | None = Field(default=None, description="Over `square`.")


class PictureOfFaces(_Schema):
    """Answer for one picture with `faces=true`; `faces` is empty if no face was found."""

    index: int = Field(ge=0)
    filename: str | None = None
    width: int = Field(ge=1, description="Width of the upright picture, in pixels.")
    height: int = Field(ge=1)
    faces: list[FacePrediction] = Field(description="Ordered by face score, highest first.")
    faces_left_out: int = Field(ge=0, description="Faces found beyond FACEMASK_MAX_FACES.")


class FailedItem(_Schema):
    """Picture that could not be read; the others of its request are answered."""

    index: int = Field(ge=0)
    filename: str | None = None
    error: ItemError


class PredictAnswer(_Schema):
    """Answer of POST /predict."""

    model: ModelName
    threshold: float = Field(
        ge=0,
        le=1,
        examples=[0.77],
        description="Scores below it were decided `uncertain`: the request's, else "
        "FACEMASK_THRESHOLD, else the model's.",
    )
    predictions: list[Prediction | PictureOfFaces | FailedItem]
    request_id: str


class ServingModel(ModelName):
    """The model being served, and its origin."""

    created_at: datetime
    backbone: str
    balanced_accuracy: float | None = Field(
        description="Measured in training, by cross-validation."
    )
    balanced_accuracy_interval_95: tuple[float, float] | None = Field(
        description="Ends of its 95 % interval."
    )
    pictures: int | None = Field(description="Number of pictures that it was measured on.")
    threshold: float = Field(
        description="Scores below it are decided `uncertain`: FACEMASK_THRESHOLD, or the model's."
    )
    framing: Literal["whole", "face"] = Field(
        description="`face` if the main face of a larger picture is classified where the whole is "
        "unfamiliar or uncertain."
    )
    report: str | None = Field(description="Path of its report, if it has one.")
    card: str | None = Field(description="Path of its model card, if it has one.")
    examples: dict[str, str] = Field(
        description="Path of an example picture per class, of the classes that have one."
    )


class Refused(_Schema):
    """Reason why the store's current bundle is not being served."""

    version: str | None
    reason: str


class Loading(_Schema):
    """A version that is being opened, verified and warmed up."""

    version: str
    since: datetime


class HealthAnswer(_Schema):
    """Answer of GET /health."""

    status: Literal["ok", "loading", "no_model"]
    model: ServingModel | None
    loading: Loading | None = Field(
        description="The version that is being loaded, perhaps beside the one that is served."
    )
    refused: Refused | None
    store_polled_s: float | None = Field(
        description="Seconds since the last poll that could read the store; null before it."
    )
    faces: bool = Field(description="True if a face detector is installed, for `faces=true`.")
    uptime_s: float


class Probe(_Schema):
    """Answer of a probe that passes."""

    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """Problem document (RFC 9457): `code` is stable, `detail` is for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:facemask:problem:undecodable_image"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["undecodable_image"])
    request_id: str | None


_EXAMPLE: dict[str, Any] = {
    "model": {"version": "20261122T204207Z-1f0c9a77", "labels": ["mask", "no_mask"]},
    "threshold": 0.75,
    "predictions": [
        {
            "index": 0,
            "filename": "a.jpg",
            "decision": "mask",
            "label": "mask",
            "score": 0.978385,
            "scores": {"mask": 0.978385, "no_mask": 0.021615},
            "familiar": True,
            "distance": 0.244141,
            "framing": "whole",
        },
        {
            "index": 1,
            "filename": "torn.jpg",
            "error": {
                "code": "undecodable_image",
                "detail": "The JPEG picture is broken or cut short (image file is truncated).",
            },
        },
    ],
    "request_id": "7f1c0c8a4b6d4f0e9d4b1a2c3d4e5f60",
}

_EXPLAINED: dict[str, Any] = _EXAMPLE["predictions"][0] | {
    "activation": {"rows": 2, "columns": 3, "values": [[0.0, 0.12, 0.0], [0.31, 1.0, 0.44]]}
}

_FRAMED: dict[str, Any] = _EXAMPLE["predictions"][0] | {
    "framing": "face",
    "box": {"left": 612, "top": 208, "width": 331, "height": 304},
    "further_faces": 1,
}

_FACES: dict[str, Any] = {
    "index": 0,
    "filename": "two.jpg",
    "width": 1280,
    "height": 960,
    "faces": [
        {
            "box": {"left": 212, "top": 140, "width": 96, "height": 118},
            "square": {"left": 178, "top": 116, "width": 165, "height": 165},
            "face_score": 0.94,
            "decision": "mask",
            "label": "mask",
            "score": 0.978385,
            "scores": {"mask": 0.978385, "no_mask": 0.021615},
            "familiar": True,
            "distance": 0.218718,
        },
        {
            "box": {"left": 811, "top": 95, "width": 80, "height": 103},
            "square": {"left": 779, "top": 74, "width": 144, "height": 144},
            "face_score": 0.88,
            "decision": "no_mask",
            "label": "no_mask",
            "score": 0.961213,
            "scores": {"mask": 0.038787, "no_mask": 0.961213},
            "familiar": True,
            "distance": 0.218718,
        },
    ],
    "faces_left_out": 0,
}

PREDICT_EXAMPLES: dict[str, Any] = {
    "plain": {"summary": "Two pictures, one of them torn", "value": _EXAMPLE},
    "explained": {
        "summary": "One picture with explain=true (a real map is 7 x 7 or so)",
        "value": _EXAMPLE | {"predictions": [_EXPLAINED]},
    },
    "framed": {
        "summary": "A photograph whose main face was classified, and shows one more",
        "value": _EXAMPLE | {"predictions": [_FRAMED]},
    },
    "faces": {
        "summary": "One picture of two people with faces=true",
        "value": _EXAMPLE | {"predictions": [_FACES]},
    },
}
