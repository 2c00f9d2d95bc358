"""Check of callers' API keys, of which the service has only SHA-256 hashes."""

import hmac
from collections.abc import Sequence
from typing import Annotated, Final

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from service.keys import hash_of
from service.problems import KeyRefused, KeyRequired

_BEARER: Final = HTTPBearer(scheme_name="bearer", auto_error=False)
_HEADER: Final = APIKeyHeader(name="X-API-Key", scheme_name="key", auto_error=False)


class ApiKeyCheck:
    """Dependency that raises unless a request has a known API key."""

    def __init__(self, hashes: Sequence[str]) -> None:
        """Create the check.

        Args:
            hashes: SHA-256 hashes of the known keys, in lower-case hex.
        """
        self._hashes = hashes

    async def __call__(
        self,
        request: Request,
        # For FastAPI's documentation; the headers are read below, also without the framework.
        _bearer: Annotated[object, Security(_BEARER)] = None,
        _header: Annotated[object, Security(_HEADER)] = None,
    ) -> None:
        """Check the key of a request.

        Raises:
            KeyRequired: The request carries no key.
            KeyRefused: Its key is unknown.
        """
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        given = request.headers.get("x-api-key") or (bearer if scheme.lower() == "bearer" else "")
        if not given:
            raise KeyRequired
        found = hash_of(given.strip())
        # Compare with all hashes, each in constant time: the duration reveals nothing.
        if not sum(hmac.compare_digest(found, known) for known in self._hashes):
            raise KeyRefused
