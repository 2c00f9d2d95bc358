"""The web page at `/` and the API reference at `/redoc`, independent of other hosts."""

import hashlib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi.openapi.docs import get_redoc_html
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_WEB_FOLDER: Final = Path(__file__).parent.parent / "web"
_HOME: Final = "index.html"
_REDOC: Final = Path(fastapi_offline.__file__).parent / "static" / "redoc.standalone.js"
# ReDoc fetches its maker's logo from this address; without one it shows none.
_REDOC_LOGO_URL: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"

_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}

_HEADERS: Final = {
    # Only the page's own files, and pictures from the browser's memory.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    # Browsers revalidate each time and get 304, so that no old script survives an upgrade.
    "Cache-Control": "no-cache",
}


def page_routes(title: str) -> Iterator[Route]:
    """Yield a route for each file of the page, and for the API reference.

    Args:
        title: Title of the reference.
    """
    for path in sorted(_WEB_FOLDER.iterdir()):
        address = "/" if path.name == _HOME else f"/page/{path.name}"
        yield _route(address, path.name, path.read_bytes())
    yield _route("/page/redoc.js", "redoc.js", _REDOC.read_bytes().replace(_REDOC_LOGO_URL, b""))

    async def reference(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        return get_redoc_html(
            openapi_url=f"{root}/openapi.json",
            title=f"{title}: reference",
            redoc_js_url=f"{root}/page/redoc.js",
            redoc_favicon_url=f"{root}/page/icon.svg",
            with_google_fonts=False,
        )

    yield Route("/redoc", reference, include_in_schema=False)


def _route(address: str, name: str, data: bytes) -> Route:
    """Return a route that serves one file from memory."""
    media_type = _MEDIA_TYPES[Path(name).suffix]
    etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
    headers = _HEADERS | {"ETag": etag}

    async def answer(request: Request) -> Response:
        if _is_cached(request.headers, etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(data, media_type=media_type, headers=headers)

    return Route(address, answer, include_in_schema=False)


def _is_cached(headers: Headers, etag: str) -> bool:
    """Return True if the client already has this version (RFC 9110, If-None-Match)."""
    cached = [tag.strip() for tag in headers.get("if-none-match", "").split(",")]
    return etag in cached or f"W/{etag}" in cached
