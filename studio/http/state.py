"""State that all requests share for the life of the studio."""

from dataclasses import dataclass
from typing import cast

from fastapi import Request

from studio.database import Database
from studio.jobs.supervisor import Supervisor
from studio.keys import Actor, Key
from studio.live.candidates import Candidates
from studio.settings import Settings


@dataclass(frozen=True)
class State:
    """Objects that the application creates at the start.

    Attributes:
        settings: Settings, read at the start.
        database: Data sets, decisions, versions, jobs, runs, promotions.
        keys: Known keys; without any, every caller may do everything.
        session_secret: Secret that session cookies are signed with.
        supervisor: Runs the jobs.
        candidates: Service processes of models that are tried out.
    """

    settings: Settings
    database: Database
    keys: tuple[Key, ...]
    session_secret: bytes
    supervisor: Supervisor
    candidates: Candidates


def state_of(request: Request) -> State:
    """Return the state of the application that answers a request."""
    return cast(State, request.app.state.studio)


def actor_of(request: Request) -> Actor:
    """Return the actor of a request, as determined by `SecurityMiddleware`."""
    return cast(Actor, request.state.identity)
