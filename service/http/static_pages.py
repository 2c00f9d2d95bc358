"""The web page at `/` and the API reference at `/redoc`, independent of other hosts."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import fastapi_offline
from fastapi.openapi.docs import get_redoc_html
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from web.pages import WebPage

_WEB_FOLDER: Final = Path(__file__).parent.parent / "web"
_REDOC: Final = Path(fastapi_offline.__file__).parent / "static" / "redoc.standalone.js"
# ReDoc fetches its maker's logo from this address; without one it shows none.
_REDOC_LOGO_URL: Final = b"https://cdn.redoc.ly/redoc/logo-mini.svg"

_HEADERS: Final = {"Permissions-Policy": "camera=(self), microphone=(), geolocation=()"}


def page_routes(title: str, *, studio_url: str) -> Iterator[BaseRoute]:
    """Yield the routes of the page and its files, and of the API reference.

    Args:
        title: Title of the reference.
        studio_url: Address of the studio that the page leads to; empty for none.
    """
    extra = {
        "redoc.js": _REDOC.read_bytes().replace(_REDOC_LOGO_URL, b""),
        "settings.json": json.dumps({"studio": studio_url or None}).encode(),
    }
    yield from WebPage(_WEB_FOLDER, extra=extra, headers=_HEADERS).routes()

    async def reference(request: Request) -> Response:
        root = request.scope.get("root_path", "")
        return get_redoc_html(
            openapi_url=f"{root}/openapi.json",
            title=f"{title}: reference",
            redoc_js_url=f"{root}/page/redoc.js",
            redoc_favicon_url=f"{root}/page/shared/icon.svg",
            with_google_fonts=False,
        )

    yield Route("/redoc", reference, include_in_schema=False)
