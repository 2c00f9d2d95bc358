"""The gallery, decisions, undo, groups."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from studio.http.state import actor_of
from studio.labels.decisions import MAX_DECISIONS, Answer, Decision, decide
from studio.labels.gallery import MAX_DETAILS, Order, describe_pictures, list_ids
from studio.labels.groups import Grouping, group_by_pattern, group_pictures, preview_groups
from studio.labels.history import MAX_ACTS, list_acts
from studio.labels.undo import undo
from studio.problems import BadRequest
from studio.projects.projects import MAX_ID, number_of, project_row

router = APIRouter(tags=["labels"])

_Id = Annotated[int, Field(ge=0, le=MAX_ID)]


class WantedDecision(BaseModel):
    """A label for a picture, and the revision that was seen."""

    picture: _Id
    label: str | None = Field(max_length=1000)
    revision: _Id


class Decisions(BaseModel):
    """Decisions that are made, repeated and undone as one act."""

    act: str = Field(max_length=64, description="UUID, made by the client.")
    decisions: list[WantedDecision] = Field(max_length=MAX_DECISIONS)


class Undo(BaseModel):
    """An act to undo."""

    act: str = Field(max_length=64, description="The act to undo.")
    id: str | None = Field(default=None, max_length=64, description="UUID of this act.")


class Groups(BaseModel):
    """Pictures and their group, or a pattern of names."""

    pictures: list[_Id] | None = Field(default=None, max_length=MAX_DECISIONS)
    group: str | None = Field(default=None, max_length=1000)
    pattern: str | None = Field(default=None, max_length=1000)
    preview: bool = False
    act: str | None = Field(default=None, max_length=64)


@router.get("/api/projects/{project}/index", summary="Ids of the pictures to show")
def index(
    request: Request,
    project: int,
    label: Annotated[str | None, Query(max_length=1000)] = None,
    filter: Annotated[str | None, Query(pattern="^[a-z_]{0,32}$")] = None,
    order: Order = "added",
) -> dict[str, Any]:
    """Return the ids of all pictures of a label and a filter, in order."""
    with request.app.state.database.read() as connection:
        revision = project_row(connection, project).revision
        ids = list_ids(connection, project, label=label, filter=filter, order=order)
    return {"ids": ids, "revision": revision}


@router.get("/api/projects/{project}/pictures", summary="Details of pictures")
def details(
    request: Request,
    project: int,
    ids: Annotated[str, Query(max_length=12 * MAX_DETAILS, description="Such as 1,2,3.")],
) -> dict[str, Any]:
    """Return label, revision, findings and more of up to 400 pictures."""
    numbers = [number_of(part.strip()) for part in ids.split(",") if part.strip()]
    found = [number for number in numbers if number is not None]
    if len(found) != len(numbers):
        raise BadRequest("ids are numbers, separated by commas.")
    with request.app.state.database.read() as connection:
        pictures = describe_pictures(connection, project, found)
    return {"pictures": pictures}


@router.post("/api/projects/{project}/decisions", summary="Decide on labels")
def create(request: Request, project: int, body: Decisions) -> dict[str, Any]:
    """Save decisions; those about a picture that has changed since are conflicts."""
    answer = decide(
        request.app.state.database,
        project,
        act=body.act,
        wanted=[Decision(one.picture, one.label, one.revision) for one in body.decisions],
        by=actor_of(request).name,
    )
    return to_json(answer)


@router.post("/api/projects/{project}/undo", summary="Undo an act")
def undo_act(request: Request, project: int, body: Undo) -> dict[str, Any]:
    """Undo an act of any kind; undoing an undo does the act again."""
    by = actor_of(request).name
    database = request.app.state.database
    return to_json(undo(database, project, act=body.act, uuid=body.id, by=by))


@router.get("/api/projects/{project}/acts", summary="The history of acts")
def acts(
    request: Request,
    project: int,
    limit: Annotated[int, Query(ge=1, le=MAX_ACTS)] = 50,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
) -> dict[str, Any]:
    """Return acts, the newest first; `before` is the `key` of the last one that is known."""
    with request.app.state.database.read() as connection:
        return {"acts": list_acts(connection, project, limit=limit, before=before)}


@router.post("/api/projects/{project}/groups", summary="Group pictures")
def group(request: Request, project: int, body: Groups) -> dict[str, Any]:
    """Group pictures by hand, or by a pattern of their names; a preview changes nothing."""
    database, by = request.app.state.database, actor_of(request).name
    if (body.pictures is None) == (body.pattern is None):
        raise BadRequest("Give either pictures, with a group, or a pattern.")
    if body.pattern is None:
        ids = body.pictures or []
        act = group_pictures(database, project, ids, body.group, by=by, act=body.act)
        return {"act": act, "pictures": len(ids)}
    if body.preview:
        return _grouping_to_json(preview_groups(database, project, body.pattern))
    found, act = group_by_pattern(database, project, body.pattern, by=by, act=body.act)
    return {"act": act, **_grouping_to_json(found)}


def to_json(answer: Answer) -> dict[str, Any]:
    """Return the result of an act as the page reads it."""
    return {
        "saved": [
            {"picture": one.picture, "label": one.label, "revision": one.revision}
            for one in answer.saved
        ],
        "conflicts": [
            {
                "picture": one.picture,
                "label": one.label,
                "revision": one.revision,
                "by": one.by,
                "at": one.at,
            }
            for one in answer.conflicts
        ],
    }


def _grouping_to_json(found: Grouping) -> dict[str, Any]:
    return {
        "groups": [
            {"group": name, "pictures": list(ids), "count": len(ids)}
            for name, ids in found.groups.items()
        ],
        "unmatched": found.unmatched,
    }
