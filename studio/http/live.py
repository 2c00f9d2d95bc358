"""The live model: status and history, promotion, rollback, answers of two models to a picture."""

import asyncio
import json
from typing import Annotated, Any, Final

import httpx
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from models.errors import FacemaskError
from studio.http.state import State, actor_of, state_of
from studio.http.uploads.bodies import body_of
from studio.live.gate import judge
from studio.live.ledger import MAX_REASON_CHARS, history, promote, roll_back
from studio.problems import BadUpload, ServiceUnreachable
from studio.runs.runs import Run, find_run, get_run, live_version

router = APIRouter(prefix="/api/live", tags=["live"])

_TIMEOUT_S: Final = 35.0  # the service's own deadline is 30
_STATUS_TIMEOUT_S: Final = 2.0


class Promotion(BaseModel):
    """A run to make live."""

    run: int
    reason: str | None = Field(
        default=None,
        max_length=MAX_REASON_CHARS,
        description="Needed if the model is not shown to be as good as the live one.",
    )


class Rollback(BaseModel):
    """A reason to make the previous model live again."""

    reason: str | None = Field(default=None, max_length=MAX_REASON_CHARS)


@router.get("", summary="The live model")
async def live(request: Request) -> dict[str, Any]:
    """Return the live model, the service's status, and the ledger."""
    state = state_of(request)
    status, document = await asyncio.gather(
        _service_status(state), asyncio.to_thread(_live_document, state)
    )
    return document | {"service": status}


@router.get("/gate", summary="The gate's verdict on a run")
def gate(request: Request, run: int) -> dict[str, Any]:
    """Return the gate's verdict on a run, and its evidence."""
    state = state_of(request)
    store = state.settings.store
    with state.database.read() as connection:
        found = get_run(connection, run)
    verdict = judge(store, live_version(store), found.bundle)
    return {
        "run": run,
        "open": verdict.is_open,
        "sentence": verdict.sentence,
        "paired": verdict.evidence,
    }


@router.post("/promote", summary="Make a run's model live")
def make_live(request: Request, body: Promotion) -> dict[str, Any]:
    """Promote a run: the service takes its model over within a second."""
    state = state_of(request)
    with state.database.read() as connection:
        run = get_run(connection, body.run)
    promoted = promote(
        state.database, state.settings.store, run, actor=actor_of(request), reason=body.reason
    )
    return _live_document(state) | {"gate": promoted["gate"]}


@router.post("/rollback", summary="Go back to the model before")
def go_back(request: Request, body: Rollback | None = None) -> dict[str, Any]:
    """Make the previously live model live again."""
    state = state_of(request)
    reason = body.reason if body else None
    roll_back(state.database, state.settings.store, actor=actor_of(request), reason=reason)
    return _live_document(state)


@router.post("/predict", summary="Answers of the live and of a chosen model")
async def predict(
    request: Request,
    run: Annotated[int | None, Query(description="A run whose model is to answer, too.")] = None,
    explain: bool = False,
) -> dict[str, Any]:
    """Send pictures to the service, and to a service process of the chosen run's model.

    The body is forwarded unchanged: a multipart form with pictures in `files`, as for the service.
    """
    state = state_of(request)
    body = await body_of(request)
    kind = request.headers.get("content-type", "")
    if not body or not kind or not kind.isascii():
        raise BadUpload("Send pictures as multipart/form-data, in the field 'files'.")
    chosen = None if run is None else await asyncio.to_thread(_run, state, run)
    query = "?explain=true" if explain else ""
    answers = [_answer_of_service(state, body, kind, query)]
    if chosen is not None:
        answers.append(_answer_of_candidate(state, chosen, body, kind, query))
    found = await asyncio.gather(*answers, return_exceptions=True)
    document: dict[str, Any] = {
        "live": None, "chosen": None, "error_live": None, "error_chosen": None,
    }  # fmt: skip
    for name, answer in zip(("live", "chosen"), found, strict=False):
        if isinstance(answer, FacemaskError):
            document[f"error_{name}"] = {"code": answer.code, "detail": str(answer)}
        elif isinstance(answer, BaseException):
            raise answer
        else:
            error = answer.pop("problem", None)
            document[f"error_{name}" if error else name] = error or answer
    if chosen is not None and document["chosen"] is not None:
        document["chosen"]["run"] = chosen.id
    return document


def _run(state: State, number: int) -> Run:
    with state.database.read() as connection:
        return get_run(connection, number)


def _live_document(state: State) -> dict[str, Any]:
    version = live_version(state.settings.store)
    with state.database.read() as connection:
        run = find_run(connection, version) if version else None
        rows = history(connection)
    return {
        "version": version,
        "run": run.id if run else None,
        "project": run.project if run else None,
        "since": rows[0]["at"] if rows and rows[0]["to"] == version else None,
        # Somebody else may promote as well: a training without the studio, or `models promote`.
        "by_studio": bool(rows) and rows[0]["to"] == version,
        "history": rows,
    }


async def _service_status(state: State) -> dict[str, Any]:
    url = state.settings.service_url
    try:
        async with httpx.AsyncClient(timeout=_STATUS_TIMEOUT_S) as client:
            health = (await client.get(f"{url}/health")).json()
        model = health.get("model") or {}
        return {
            "url": url,
            "status": health.get("status", "unknown"),
            "version": model.get("version"),
            "refused": health.get("refused"),
        }
    except (httpx.HTTPError, ValueError, AttributeError):
        return {"url": url, "status": "unreachable", "version": None, "refused": None}


async def _answer_of_service(state: State, body: bytes, kind: str, query: str) -> dict[str, Any]:
    url = state.settings.service_url
    key = state.settings.service_key
    headers = {"Content-Type": kind} | ({"X-API-Key": key} if key else {})
    try:
        return await _ask(f"{url}/predict{query}", body, headers)
    except httpx.HTTPError as error:
        raise ServiceUnreachable(f"The service at {url} does not answer: is it running?") from error


async def _answer_of_candidate(
    state: State, run: Run, body: bytes, kind: str, query: str
) -> dict[str, Any]:
    url = await state.candidates.url_of(run.bundle)
    try:
        return await _ask(f"{url}/predict{query}", body, {"Content-Type": kind})
    except httpx.HTTPError as error:
        raise ServiceUnreachable("The chosen model's service process does not answer.") from error


async def _ask(url: str, body: bytes, headers: dict[str, str]) -> dict[str, Any]:
    """Return the service's answer, or its problem under `problem`."""
    async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
        response = await client.post(url, content=body, headers=headers)
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise ServiceUnreachable("The server at the service's address is not the service.")
    if response.is_success:
        return document
    code, detail = document.get("code", "error"), document.get("detail", "")
    return {"problem": {"code": code, "detail": detail, "errors": document.get("errors")}}
