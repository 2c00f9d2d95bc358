"""Files of a web page, served from memory with a strict policy and names that can be cached."""

import gzip
import hashlib
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

SHARED: Final = "shared"
"""Folder of a page's addresses that holds the files of `web/static`."""

PREFIX: Final = "page"
"""First part of the addresses of a page's files."""

_STATIC_FOLDER: Final = Path(__file__).parent / "static"
_HOME: Final = "index.html"
_VERSION_DIGITS: Final = 12

_MEDIA_TYPES: Final = {
    ".html": "text/html",
    ".css": "text/css",
    ".js": "text/javascript",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
}
_COMPRESSED: Final = frozenset({".html", ".css", ".js", ".svg"})

# Only the page's own files, and pictures from the browser's memory.
_POLICY: Final = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' blob: data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}

_REVALIDATED: Final = "no-cache"
_IMMUTABLE: Final = "public, max-age=31536000, immutable"


def content_security_policy(changes: Mapping[str, str] | None = None) -> str:
    """Return the Content-Security-Policy of a page: nothing inline, nothing of other hosts.

    Args:
        changes: Directives to add or to replace, such as `{"frame-src": "'self'"}`.
    """
    directives = _POLICY | dict(changes or {})
    return "; ".join(f"{name} {value}" for name, value in directives.items())


class WebPage:
    """A page and its files, read once.

    The folder's `index.html` and the page's scripts name files as `page/NAME`, those of
    `web/static` as `page/shared/NAME`. The HTML is sent with `page/VERSION/NAME` instead, where
    VERSION is a digest of all files: browsers cache such files without limit, and relative imports
    between them need no rewriting. HTML, and files under any other name, are revalidated each time.

    Attributes:
        version: Digest of all files.
    """

    def __init__(
        self,
        folder: Path,
        *,
        extra: Mapping[str, bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        policy: Mapping[str, str] | None = None,
    ) -> None:
        """Read the files.

        Args:
            folder: Folder of the page; names of files in sub-folders have a slash.
            extra: Further files by name.
            headers: Headers of all answers, beside the policy.
            policy: Changes of the policy, as `content_security_policy` takes them.
        """
        shared = _read_files(_STATIC_FOLDER)
        self._files = _read_files(folder) | {f"{SHARED}/{name}": shared[name] for name in shared}
        self._files |= extra or {}
        self._gzip: dict[str, bytes] = {}
        digest = hashlib.sha256()
        for name, data in sorted(self._files.items()):
            digest.update(f"{name}\0{len(data)}\0".encode())
            digest.update(data)
        self.version: Final = digest.hexdigest()[:_VERSION_DIGITS]
        self._headers = {
            "Content-Security-Policy": content_security_policy(policy),
            "Referrer-Policy": "no-referrer",
            **(headers or {}),
        }

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the page at `/` and of its files."""
        return [
            Route("/", self.home, include_in_schema=False),
            Route(f"/{PREFIX}/{{path:path}}", self._file, include_in_schema=False),
        ]

    async def home(self, request: Request) -> Response:
        """Answer with the page's HTML; a route at a further address may use it, too."""
        return self._html(request, _HOME)

    def _html(self, request: Request, name: str) -> Response:
        html = self._files[name].decode()
        named = re.sub(rf"""(["'])(/?){PREFIX}/""", rf"\g<1>\g<2>{PREFIX}/{self.version}/", html)
        return self._answer(request, name, named.encode(), _REVALIDATED)

    async def _file(self, request: Request) -> Response:
        path: str = request.path_params["path"]
        version, _, rest = path.partition("/")
        # A page that was opened before an upgrade names an old version: it gets the new files.
        is_versioned = len(version) == _VERSION_DIGITS and rest in self._files
        name = rest if is_versioned else path
        if name not in self._files:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        if Path(name).suffix == ".html":
            return self._html(request, name)
        is_current = is_versioned and version == self.version
        data = self._files[name]
        return self._answer(request, name, data, _IMMUTABLE if is_current else _REVALIDATED)

    def _answer(self, request: Request, name: str, data: bytes, caching: str) -> Response:
        suffix = Path(name).suffix
        headers = self._headers | {"Cache-Control": caching}
        etag = hashlib.sha256(data).hexdigest()[:32]
        if suffix in _COMPRESSED:
            headers["Vary"] = "Accept-Encoding"
            if "gzip" in request.headers.get("accept-encoding", ""):
                data = self._compressed(name, data)
                headers["Content-Encoding"] = "gzip"
                etag += "-gzip"
        headers["ETag"] = f'"{etag}"'
        if _is_cached(request.headers, headers["ETag"]):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(data, media_type=_MEDIA_TYPES[suffix], headers=headers)

    def _compressed(self, name: str, data: bytes) -> bytes:
        """Return a file as gzip; each is compressed once."""
        if name not in self._gzip:
            self._gzip[name] = gzip.compress(data, mtime=0)
        return self._gzip[name]


def _read_files(folder: Path) -> dict[str, bytes]:
    """Return a folder's web files by their relative names."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in _MEDIA_TYPES
    }


def _is_cached(headers: Headers, etag: str) -> bool:
    """Return True if the client already has this version (RFC 9110, If-None-Match)."""
    cached = [tag.strip() for tag in headers.get("if-none-match", "").split(",")]
    return etag in cached or f"W/{etag}" in cached
