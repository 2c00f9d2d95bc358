"""POST /predict: classify one picture or many."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from service.http.api_keys import KEYED
from service.http.face_responses import face_predictions
from service.http.fast_path import PlainRoute
from service.http.openapi import with_examples
from service.http.responses import json_response, predictions
from service.http.schemas import (
    EXPLAIN_QUERY,
    FACES_QUERY,
    PREDICT_EXAMPLES,
    UPLOAD_BODY,
    PredictAnswer,
    problem_response,
)
from service.http.state import State, waiting_pixels
from service.http.uploads import Upload, read_uploads
from service.inference.batcher import BatcherClosed, TooLate
from service.inference.engine import Engine
from service.problems import BadQuery, DeadlinePassed, Stopping

router = APIRouter(route_class=PlainRoute)


_PREDICT_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": PredictAnswer,
        "description": "One entry a picture, in upload order.",
        "content": {"application/json": {"examples": PREDICT_EXAMPLES}},
    },
    400: problem_response("No picture, an empty one, a broken multipart body, or a bad query."),
    408: problem_response("The request's body takes too long to come."),
    413: problem_response("The body, a picture or the number of pictures is over its limit."),
    415: problem_response("Neither multipart nor a picture of a format that is read."),
    422: problem_response("No picture of the request can be read."),
    429: problem_response("As many pictures or bytes wait as are allowed; see Retry-After."),
    431: problem_response("The request's line and headers are larger than allowed."),
    500: problem_response("The service failed; its log says why."),
    501: problem_response("Faces are asked for, and no face detector is installed."),
    503: problem_response("No model is being served yet, or the service is stopping."),
    504: problem_response("No answer within the time allowed."),
}


@router.post(
    "/predict",
    summary="Classify one picture or many",
    responses=with_examples(_PREDICT_RESPONSES),
    openapi_extra={"requestBody": UPLOAD_BODY, "parameters": [EXPLAIN_QUERY, FACES_QUERY]},
    dependencies=[KEYED],
)
async def predict(request: Request) -> Response:
    """Send pictures as multipart `files`, or one picture as the raw body.

    With `faces=true` each face is found first and answered for itself.

    The answer has one entry a picture, in upload order. A picture that cannot be read has an
    `error` in its entry and spoils nothing else; if none can be read, the answer is a problem.
    """
    state: State = request.app.state.facemask
    settings = state.settings
    state.admission.refuse_if_full()  # before anything is read
    deadline = time.monotonic() + settings.deadline_s
    try:
        async with asyncio.timeout(settings.deadline_s):
            explain, faces = _flag(request, "explain"), _flag(request, "faces")
            with state.live.use() as engine, state.bodies.hold() as take:
                uploads = await read_uploads(
                    request,
                    max_bytes=settings.max_body_bytes,
                    max_files=settings.max_files,
                    seconds=settings.body_s,
                    take=take,
                )
                request.state.pictures = len(uploads)
                entries = await _entries(
                    state, engine, uploads, explain=explain, faces=faces, deadline=deadline
                )
                state.metrics.answered(
                    one for entry in entries for one in entry.get("faces", [entry])
                )
                return json_response(
                    {
                        "model": {"version": engine.manifest.version, "labels": engine.labels},
                        "predictions": entries,
                        "request_id": request.state.request_id,
                    }
                )
    except (TimeoutError, TooLate) as error:
        raise DeadlinePassed(f"No answer within {settings.deadline_s:g} s.") from error
    except BatcherClosed as error:
        raise Stopping("The service is stopping: come again.") from error


PREDICT_ROUTE: Final = next(
    route for route in router.routes if isinstance(route, PlainRoute) and route.endpoint is predict
)


async def _entries(
    state: State,
    engine: Engine,
    uploads: Sequence[Upload],
    *,
    explain: bool,
    faces: bool,
    deadline: float,
) -> list[dict[str, Any]]:
    """One entry a picture, in upload order: for the whole of it, or for its faces."""
    settings, pictures = state.settings, [upload.data for upload in uploads]
    with state.admission.enter(len(pictures), waiting_pixels(pictures, settings.max_pixels)):
        if faces:
            return await face_predictions(
                engine, uploads, most=settings.max_faces, explain=explain, deadline=deadline
            )
        outcomes = await engine.predict(pictures, explain=explain, deadline=deadline)
    return predictions(engine, uploads, outcomes)


def _flag(request: Request, name: str) -> bool:
    """A query parameter that is true or false, and false where it is not given."""
    if not request.scope["query_string"]:
        return False
    given = request.query_params.get(name, "false")
    if given not in ("true", "false"):
        raise BadQuery(f"{name} must be true or false.")
    return given == "true"
