"""POST /predict: classify one picture or many."""

import math
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from models.text import clean
from service.http.model_version import require_min_version, version_header
from service.http.openapi.document import INFERENCE_ERRORS, problem_responses
from service.http.openapi.parameters import (
    EXPLAIN_QUERY,
    FACES_QUERY,
    FRAMING_QUERY,
    MIN_VERSION_PARAMETER,
    THRESHOLD_QUERY,
    UPLOAD_BODY,
)
from service.http.openapi.schemas import PREDICT_EXAMPLES, PredictAnswer
from service.http.responses import json_response, picture_entries
from service.http.uploads import read_uploads
from service.inference.decision import SCORE_DIGITS, AnswerOptions
from service.inference.session import record_outcomes
from service.inference.state import State
from service.problems import BadQuery, FacesUnavailable, NoPictures, NothingReadable

router = APIRouter()

_PARAMETERS: Final = ("explain", "faces", "framing", "threshold")
# The same words as FastAPI's. "" is a parameter without a value.
_TRUE_WORDS: Final = frozenset({"", "true", "1", "yes", "on", "t", "y"})
_FALSE_WORDS: Final = frozenset({"false", "0", "no", "off", "f", "n"})

_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "model": PredictAnswer,
        "description": "One entry per picture, in upload order.",
        "content": {"application/json": {"examples": PREDICT_EXAMPLES}},
    },
    **problem_responses(*INFERENCE_ERRORS, BadQuery, NoPictures, NothingReadable, FacesUnavailable),
}


@router.post(
    "/predict",
    summary="Classify one picture or many",
    tags=["predict"],
    responses=_RESPONSES,
    openapi_extra={
        "requestBody": UPLOAD_BODY,
        "parameters": [
            *(EXPLAIN_QUERY, FACES_QUERY, FRAMING_QUERY, THRESHOLD_QUERY),
            MIN_VERSION_PARAMETER,
        ],
    },
)
async def predict(request: Request) -> Response:
    """Send pictures as multipart `files`, or one picture as the raw body.

    With `faces=true` each face is found first and answered for itself. Without it, a model of
    pictures of one face each looks for the main face of a picture only if the whole picture is
    unfamiliar or uncertain, and classifies that face if it is nearer to the training pictures.

    The answer has one entry per picture, in upload order. A picture that cannot be read has an
    `error` in its entry and affects no other; if none can be read, the answer is a problem.
    """
    state: State = request.app.state.facemask
    settings = state.settings
    _require_known_parameters(request)
    faces = _flag(request, "faces")
    options = AnswerOptions(
        explain=_flag(request, "explain"),
        threshold=_threshold(request),
        whole=_wants_whole(request),
    )
    async with state.open_session() as session:
        require_min_version(request, session.engine)
        uploads = await read_uploads(
            request,
            session.body_bytes,
            max_bytes=settings.max_body_bytes,
            max_files=settings.max_files,
            timeout_s=settings.body_s,
        )
        request.state.pictures = len(uploads)
        classify = session.predict_faces if faces else session.predict
        outcomes = await classify([upload.data for upload in uploads], options)
        engine = session.engine
        entries = picture_entries(uploads, outcomes, show_face=engine.crops_faces)
        record_outcomes(state.metrics, outcomes)
        return json_response(
            {
                "model": {"version": engine.manifest.version, "labels": engine.labels},
                "threshold": round(engine.threshold_for(options), SCORE_DIGITS),
                "predictions": entries,
                "request_id": request.state.request_id,
            },
            headers=version_header(engine),
        )


def _require_known_parameters(request: Request) -> None:
    """Raise if the query has a parameter that would be ignored, such as a misspelt `threshold`.

    Raises:
        BadQuery: It has one.
    """
    if not request.scope["query_string"]:
        return
    for name in request.query_params:
        if name not in _PARAMETERS:
            raise BadQuery(
                f"{clean(name[:40])!r} is no parameter of /predict: it has "
                f"{', '.join(_PARAMETERS)}."
            )


def _flag(request: Request, name: str) -> bool:
    """Return a boolean query parameter: false by default, true if only its name is given.

    The last value of a repeated parameter counts.

    Raises:
        BadQuery: The value is not a word for true or false.
    """
    if not request.scope["query_string"]:
        return False
    word = request.query_params.get(name, "false").strip().lower()
    if word not in _TRUE_WORDS and word not in _FALSE_WORDS:
        raise BadQuery(f"{name} must be true or false.")
    return word in _TRUE_WORDS


def _wants_whole(request: Request) -> bool:
    """Return True if the query's `framing` is `whole`.

    Raises:
        BadQuery: It is neither `whole` nor `auto`.
    """
    if not request.scope["query_string"]:
        return False
    word = request.query_params.get("framing", "").strip().lower()
    if word not in ("", "auto", "whole"):
        raise BadQuery("framing must be auto or whole.")
    return word == "whole"


def _threshold(request: Request) -> float | None:
    """Return the query's `threshold`; None without one, or without a value.

    Raises:
        BadQuery: It is not a number from 0 to 1.
    """
    if not request.scope["query_string"]:
        return None
    word = request.query_params.get("threshold", "").strip()
    if not word:
        return None
    try:
        threshold = float(word) if word.isascii() and "_" not in word else math.nan
    except ValueError:
        threshold = math.nan
    if not 0 <= threshold <= 1:  # NaN is not, either
        raise BadQuery("threshold must be a number from 0 to 1.")
    return threshold
