"""Pictures and their thumbnails, by content: they never change."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from starlette.responses import FileResponse, Response

from studio.database.tables import blobs
from studio.http.files import RangedFileResponse
from studio.pictures.blobs import THUMBNAIL_EDGES_PX
from studio.problems import BadRequest, NotFound

router = APIRouter(tags=["pictures"])

_CACHED: Final = {"Cache-Control": "private, max-age=31536000, immutable"}
_PLAIN_TYPE: Final = "application/octet-stream"
_TYPES: Final = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "HEIC": "image/heic",
    "HEIF": "image/heif",
    "AVIF": "image/avif",
}


@router.get("/api/blobs/{sha256}", summary="A picture's file", response_class=FileResponse)
def blob(request: Request, sha256: str) -> Response:
    """Return the file as it was uploaded."""
    path = request.app.state.blobs.path(sha256)
    with request.app.state.database.read() as connection:
        format = connection.execute(
            select(blobs.c.format).where(blobs.c.sha256 == sha256)
        ).scalar_one_or_none()
    if format is None or not path.is_file():
        raise NotFound(f"There is no picture {sha256}.")
    media_type = _TYPES.get(format, _PLAIN_TYPE)
    return RangedFileResponse(path, media_type, tag=sha256, headers=_CACHED)


@router.get("/api/thumbnails/{sha256}", summary="A thumbnail", response_class=Response)
def thumbnail(
    request: Request,
    sha256: str,
    px: Annotated[int, Query(description="Longer side: 160 or 640.")] = THUMBNAIL_EDGES_PX[0],
) -> Response:
    """Return a thumbnail as JPEG."""
    if px not in THUMBNAIL_EDGES_PX:
        raise BadRequest(f"px is one of {', '.join(map(str, THUMBNAIL_EDGES_PX))}.")
    data = request.app.state.blobs.thumbnail(sha256, px)
    return Response(data, media_type="image/jpeg", headers=_CACHED)
