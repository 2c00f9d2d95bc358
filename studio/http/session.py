"""Sign-in with a key: a signed cookie for browsers, which expires with its key.

The cookie holds a part of the key's hash, a time and a signature: the studio keeps no list of
sessions, and a session ends as soon as its key is removed from the settings.
"""

import getpass
import hmac
import time
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import unquote

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from models.layout.labels import MAX_LABEL_CHARS
from models.text import clean, normalize_name
from studio.http.state import actor_of, state_of
from studio.http.uploads.bodies import MAX_CHECKED, MAX_PATHS
from studio.keys import MAX_NAME_CHARS, Actor, Key, Role, find_key
from studio.labels.decisions import MAX_DECISIONS
from studio.live.ledger import MAX_REASON_CHARS
from studio.problems import KeyRefused, KeyRequired
from studio.settings import Settings
from studio.versions.versions import MAX_NOTE_CHARS

router = APIRouter(tags=["session"])

COOKIE: Final = "studio_session"
SESSION_PATH: Final = "/api/session"
_SESSION_S: Final = 30 * 24 * 3600


class SignIn(BaseModel):
    """The key of a person who signs in."""

    key: str = Field(min_length=1, max_length=200)


@router.get(SESSION_PATH, summary="Who is signed in")
async def session(request: Request) -> dict[str, object]:
    """Return the caller's name and role, or null, True if keys are required, and the limits."""
    actor, state = request.state.identity, state_of(request)
    return {
        "name": actor.name if actor else None,
        "role": str(actor.role) if actor else None,
        "keys": bool(state.keys),
        "limits": limits_of(state.settings),
    }


@router.post(SESSION_PATH, summary="Sign in")
async def sign_in(request: Request, response: Response, body: SignIn) -> dict[str, object]:
    """Set the cookie of a session.

    Raises:
        KeyRefused: The key is unknown.
    """
    state = state_of(request)
    if not state.keys:
        actor = actor_of(request)
        return {"name": actor.name, "role": str(actor.role), "keys": False}
    key = find_key(state.keys, body.key)
    if key is None:
        raise KeyRefused
    response.set_cookie(
        COOKIE,
        cookie_of(key, state.session_secret),
        max_age=_SESSION_S,
        httponly=True,
        samesite="strict",
        # Behind a proxy that speaks TLS only the page's own address shows it.
        secure=request.headers.get("origin", "").startswith("https:"),
    )
    return {"name": key.name, "role": str(key.role), "keys": True}


@router.delete(SESSION_PATH, summary="Sign out", status_code=204)
async def sign_out(response: Response) -> None:
    """Remove the cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


def limits_of(settings: Settings) -> dict[str, int]:
    """Return the limits that a page must know before it sends anything."""
    return {
        "file_bytes": settings.max_file_bytes,
        "files_per_request": settings.max_files,
        "body_bytes": settings.max_body_bytes,
        "archive_bytes": settings.max_archive_bytes,
        "archive_files": settings.max_archive_files,
        "paths_per_plan": MAX_PATHS,
        "files_per_check": MAX_CHECKED,
        "decisions_per_act": MAX_DECISIONS,
        "name_chars": MAX_LABEL_CHARS,
        "reason_chars": MAX_REASON_CHARS,
        "note_chars": MAX_NOTE_CHARS,
    }


def cookie_of(key: Key, secret: bytes, *, now: float | None = None) -> str:
    """Return the value of a new session's cookie."""
    expires = int((time.time() if now is None else now) + _SESSION_S)
    return f"{key.hash[:16]}.{expires}.{_signature(key, expires, secret)}"


def find_actor(headers: Mapping[str, str], keys: Sequence[Key], secret: bytes) -> Actor | None:
    """Return the actor of a request by its headers; None without a key.

    Raises:
        KeyRefused: The key of the request is unknown.
    """
    if not keys:
        return Actor(_given_name(headers) or system_user(), Role.PROMOTE)
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    given = headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
    if given:
        key = find_key(keys, given)
        if key is None:
            raise KeyRefused
        return key.actor
    return _actor_of_cookie(headers.get("cookie", ""), keys, secret)


def require(actor: Actor | None) -> Actor:
    """Return an actor.

    Raises:
        KeyRequired: There is none.
    """
    if actor is None:
        raise KeyRequired
    return actor


def system_user() -> str:
    """Return the name of the system user that runs this process."""
    try:
        return clean(getpass.getuser())[:MAX_NAME_CHARS]
    except (OSError, KeyError):  # a container's user without a name
        return "local"


def _given_name(headers: Mapping[str, str]) -> str:
    """Return the name that a person without a key has given."""
    return normalize_name(clean(unquote(headers.get("x-studio-name", ""))))[:MAX_NAME_CHARS]


def _actor_of_cookie(header: str, keys: Sequence[Key], secret: bytes) -> Actor | None:
    try:
        value = SimpleCookie(header)[COOKIE].value
    except (CookieError, KeyError):
        return None
    start, _, rest = value.partition(".")
    expires, _, signature = rest.partition(".")
    if not expires.isdecimal() or len(expires) > 12 or int(expires) < time.time():
        return None
    for key in keys:
        if key.hash.startswith(start) and len(start) == 16:
            expected = _signature(key, int(expires), secret)
            if hmac.compare_digest(expected.encode(), signature.encode()):
                return key.actor
    return None


def _signature(key: Key, expires: int, secret: bytes) -> str:
    return hmac.new(secret, f"{key.hash}.{expires}".encode(), "sha256").hexdigest()
