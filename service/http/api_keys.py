"""Who may call: API keys, of which the service knows the SHA-256 hashes only.

python -m service.http.api_keys      prints a new key, for the caller, and its hash, for the service
"""

import hashlib
import hmac
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.routing import APIRoute

from service.http.openapi import with_examples
from service.http.schemas import problem_response
from service.http.state import State
from service.problems import KeyRefused, KeyRequired
from service.settings import split_hashes

_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


def hash_of(key: str) -> str:
    """What the service keeps of a key. Keys are random and long, so that a plain hash will do."""
    return hashlib.sha256(key.encode()).hexdigest()


def check_key(request: Request) -> None:
    """Let a request pass that brings a key, where keys are asked for.

    Raises:
        KeyRequired: It brings none.
        KeyRefused: It brings another.
    """
    state: State = request.app.state.facemask
    known = split_hashes(state.settings.api_keys)
    if not known:
        return
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    given = request.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
    if not given:
        raise KeyRequired("Send your key as 'Authorization: Bearer KEY' or as 'X-API-Key: KEY'.")
    found = hash_of(given.strip())
    # All of them, each in constant time: how long it takes tells nothing of any.
    if not sum(hmac.compare_digest(found, one) for one in known):
        raise KeyRefused("That key is not known here.")


KEYED: Final = Depends(check_key)


def document_keys(app: FastAPI, *routers: APIRouter) -> None:
    """Say in the OpenAPI document which operations of which routers ask for a key."""
    plain = app.openapi
    shown = with_examples({401: problem_response("No key, or another.")})[401]
    keyed = {
        (route.path, method)
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and KEYED in route.dependencies
        for method in route.methods or ()
    }

    def with_keys() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document.setdefault("components", {})["securitySchemes"] = _SCHEMES
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    if (path, method.upper()) in keyed:
                        operation["security"] = [{name: []} for name in _SCHEMES]
                        operation["responses"]["401"] = shown
        return plain()

    app.openapi = with_keys  # type: ignore[method-assign]
