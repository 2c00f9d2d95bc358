"""What the endpoints answer, for the OpenAPI page; a test holds the wire to it."""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.problems import MEDIA_TYPE


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ModelName(_Schema):
    """Which model answered."""

    version: str = Field(examples=["20261122T204207Z-1f0c9a77"])
    labels: list[str] = Field(examples=[["mask", "no_mask"]])


class ItemError(_Schema):
    """Why one picture has no prediction."""

    code: str = Field(examples=["undecodable_image"])
    detail: str


class Activation(_Schema):
    """Where the model saw `label`: its class-activation map, over what it was given, upright."""

    rows: int = Field(ge=1)
    columns: int = Field(ge=1)
    values: list[list[float]] = Field(
        description="Row by row from the top; 0 is nothing, and the highest is 1."
    )


class Box(_Schema):
    """A part of a picture, in pixels of the upright original."""

    left: int = Field(ge=0)
    top: int = Field(ge=0)
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class Place(_Schema):
    """Where a face is."""

    box: Box
    square: Box = Field(description="The part around it that the model was given.")
    face_score: float = Field(ge=0, le=1, description="How sure the detector is of the face.")


class Prediction(_Schema):
    """The answer for one picture, in the place that it was uploaded in."""

    index: int = Field(ge=0)
    filename: str | None = None
    decision: str = Field(
        examples=["mask"],
        description="`label`, or `uncertain` where the score is below the model's threshold.",
    )
    label: str = Field(examples=["mask"], description="The likeliest class.")
    score: float = Field(ge=0, le=1, description="Probability of `label`.")
    scores: dict[str, float] = Field(description="Probability of every class; they sum to 1.")
    familiar: bool | None = Field(
        examples=[True],
        description="Whether the picture is like those that the model was trained on. Where it is "
        "not, the answer may mean nothing. `null` if the model cannot tell.",
    )
    distance: float | None = Field(
        examples=[0.21],
        description="How far the picture is from the training pictures: 0 is alike, 2 the most.",
    )
    activation: Activation | None = Field(default=None, description="With `explain=true` only.")
    face: Place | None = Field(
        default=None,
        description="The face that was judged, by a model trained with `--crop faces`; null "
        "where none was found and the whole picture was.",
    )


class FacePrediction(Place):
    """The answer for one face."""

    decision: str
    label: str
    score: float = Field(ge=0, le=1)
    scores: dict[str, float]
    familiar: bool | None
    distance: float | None
    activation: Activation | None = Field(default=None, description="Over `square`.")


class PictureOfFaces(_Schema):
    """The answer for one picture with `faces=true`; no face was found if `faces` is empty."""

    index: int = Field(ge=0)
    filename: str | None = None
    width: int = Field(ge=1, description="Of the upright picture, in pixels.")
    height: int = Field(ge=1)
    faces: list[FacePrediction] = Field(description="The likeliest face first.")
    faces_left_out: int = Field(ge=0, description="Faces found beyond FACEMASK_MAX_FACES.")


class FailedItem(_Schema):
    """A picture that could not be read; its neighbours are answered all the same."""

    index: int = Field(ge=0)
    filename: str | None = None
    error: ItemError


class PredictAnswer(_Schema):
    """The answer of POST /predict."""

    model: ModelName
    predictions: list[Prediction | PictureOfFaces | FailedItem]
    request_id: str


class ServingModel(ModelName):
    """The model in service and where it comes from."""

    created_at: datetime
    backbone: str
    balanced_accuracy: float | None = Field(
        description="Cross-validated, as measured when it was trained."
    )
    threshold: float = Field(description="Scores below it are answered `uncertain`.")
    report: str | None = Field(description="Where its report is, if it has one.")


class Refused(_Schema):
    """Why what the store names is not being served."""

    version: str | None
    reason: str


class HealthAnswer(_Schema):
    """The answer of GET /health."""

    status: Literal["ok", "no_model"]
    model: ServingModel | None
    refused: Refused | None
    faces: bool = Field(description="Whether `faces=true` can be asked for.")
    uptime_s: float


class Probe(_Schema):
    """The answer of a probe that passes."""

    status: Literal["ok"] = "ok"


class Problem(BaseModel):
    """RFC 9457: what went wrong. `code` is stable; `detail` is for people."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["urn:facemask:problem:undecodable_image"])
    title: str
    status: int
    detail: str
    code: str = Field(examples=["undecodable_image"])
    request_id: str | None


PROBLEM_SCHEMA: Final = "#/components/schemas/Problem"
"""Where the schema of problem documents stands in the OpenAPI document."""


def problem_response(text: str) -> dict[str, Any]:
    """A problem document as one of an operation's answers."""
    # `model` would announce application/json beside it.
    return {"description": text, "content": {MEDIA_TYPE: {"schema": {"$ref": PROBLEM_SCHEMA}}}}


_EXAMPLE: dict[str, Any] = {
    "model": {"version": "20261122T204207Z-1f0c9a77", "labels": ["mask", "no_mask"]},
    "predictions": [
        {
            "index": 0,
            "filename": "a.jpg",
            "decision": "mask",
            "label": "mask",
            "score": 0.9784,
            "scores": {"mask": 0.9784, "no_mask": 0.0216},
            "familiar": True,
            "distance": 0.2441,
        },
        {
            "index": 1,
            "filename": "torn.jpg",
            "error": {
                "code": "undecodable_image",
                "detail": "The JPEG picture is broken or cut short "
                "(image file is truncated (0 bytes not processed)).",
            },
        },
    ],
    "request_id": "7f1c0c8a4b6d4f0e9d4b1a2c3d4e5f60",
}

_EXPLAINED: dict[str, Any] = _EXAMPLE["predictions"][0] | {
    "activation": {"rows": 2, "columns": 3, "values": [[0.0, 0.12, 0.0], [0.31, 1.0, 0.44]]}
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
            "score": 0.9784,
            "scores": {"mask": 0.9784, "no_mask": 0.0216},
            "familiar": True,
            "distance": 0.2187,
        },
        {
            "box": {"left": 811, "top": 95, "width": 80, "height": 103},
            "square": {"left": 779, "top": 74, "width": 144, "height": 144},
            "face_score": 0.88,
            "decision": "no_mask",
            "label": "no_mask",
            "score": 0.9612,
            "scores": {"mask": 0.0388, "no_mask": 0.9612},
            "familiar": True,
            "distance": 0.2187,
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
    "faces": {
        "summary": "One picture of two people with faces=true",
        "value": _EXAMPLE | {"predictions": [_FACES]},
    },
}

EXPLAIN_QUERY: dict[str, Any] = {
    "name": "explain",
    "in": "query",
    "required": False,
    "description": "Say for each picture, too, where in it the model saw the label.",
    "schema": {"type": "boolean", "default": False},
}

FACES_QUERY: dict[str, Any] = {
    "name": "faces",
    "in": "query",
    "required": False,
    "description": "Find the faces of each picture first, and answer for each of them.",
    "schema": {"type": "boolean", "default": False},
}

_BINARY = {"type": "string", "format": "binary"}

# Swagger UI shows a file picker for `format: binary` only; what FastAPI makes of
# list[UploadFile] gives text boxes (swagger-ui#10825).
UPLOAD_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {
                    "files": {
                        "type": "array",
                        "minItems": 1,
                        "items": _BINARY,
                        "description": "One picture or many; `file` is understood, too.",
                    }
                },
                "required": ["files"],
            }
        },
        "image/jpeg": {"schema": _BINARY},
        "image/png": {"schema": _BINARY},
        "image/webp": {"schema": _BINARY},
        "image/bmp": {"schema": _BINARY},
        "image/gif": {"schema": _BINARY},
        "image/tiff": {"schema": _BINARY},
    },
}
