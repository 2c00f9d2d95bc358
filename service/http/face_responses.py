"""What POST /predict?faces=true says: the faces of each picture, and what each of them is."""

from collections.abc import Sequence
from typing import Any

from models.errors import DetectorUnavailable
from service.http.responses import entries, face_prediction
from service.http.uploads import Upload
from service.inference.engine import Engine
from service.problems import FacesUnavailable


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
    return entries(
        uploads,
        outcomes,
        lambda found: {
            "width": found.width,
            "height": found.height,
            "faces": [face_prediction(engine, answer) for answer in found.answers],
            "faces_left_out": found.left_out,
        },
    )
