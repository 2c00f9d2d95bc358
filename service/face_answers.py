"""What POST /predict?faces=true says: the faces of each picture, and what each of them is."""

from collections.abc import Sequence
from typing import Any

from models.errors import DetectorUnavailable, PictureError
from service.answers import face_prediction, require_readable
from service.engine import Engine
from service.problems import FacesUnavailable
from service.uploads import Upload


async def face_predictions(
    engine: Engine, uploads: Sequence[Upload], *, most: int, explain: bool, deadline: float
) -> list[dict[str, Any]]:
    """One entry a picture, in upload order, with its faces, the likeliest first.

    Raises:
        FacesUnavailable: There is no detector here.
        PictureError, NothingReadable: No picture could be read.
        BatchFailed, TooLate, BatcherClosed: As `Engine.predict`.
    """
    try:
        outcomes = await engine.predict_faces(
            [upload.data for upload in uploads], most=most, explain=explain, deadline=deadline
        )
    except DetectorUnavailable as error:
        raise FacesUnavailable(str(error)) from error
    require_readable(uploads, outcomes)
    entries = []
    for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True)):
        entry: dict[str, Any] = {"index": index, "filename": upload.filename}
        if isinstance(outcome, PictureError):
            entry["error"] = {"code": outcome.code, "detail": str(outcome)}
        else:
            entry |= {
                "width": outcome.width,
                "height": outcome.height,
                "faces": [face_prediction(engine, answer) for answer in outcome.answers],
                "faces_left_out": outcome.left_out,
            }
        entries.append(entry)
    return entries
