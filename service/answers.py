"""What POST /predict says of pictures, from what the engine says of them."""

from collections.abc import Sequence
from typing import Any, Final

from torch import Tensor

from models.errors import FacemaskError, PictureError
from service.decide import decide
from service.engine import Answer, Engine
from service.problems import all_failed
from service.uploads import Upload

# Of the activation map's values: finer than any colour that shows them.
_DIGITS: Final = 4


def predictions(
    engine: Engine, uploads: Sequence[Upload], outcomes: Sequence[Answer | PictureError]
) -> list[dict[str, Any]]:
    """One entry a picture, in upload order.

    Raises:
        PictureError, NothingReadable: No picture could be read.
    """
    if not any(isinstance(outcome, Answer) for outcome in outcomes):
        failures: list[tuple[int, str | None, FacemaskError]] = [
            (index, upload.filename, outcome)
            for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True))
            if isinstance(outcome, PictureError)
        ]
        raise all_failed(failures)
    entries = []
    for index, (upload, outcome) in enumerate(zip(uploads, outcomes, strict=True)):
        entry: dict[str, Any] = {"index": index, "filename": upload.filename}
        if isinstance(outcome, PictureError):
            entry["error"] = {"code": outcome.code, "detail": str(outcome)}
        else:
            entry |= _prediction(engine, outcome)
        entries.append(entry)
    return entries


def _prediction(engine: Engine, answer: Answer) -> dict[str, Any]:
    labels, probabilities = engine.labels, answer.probabilities
    decided = decide(labels, engine.manifest.decision.threshold, probabilities)
    found = {
        "decision": decided.decision,
        "label": decided.label,
        "score": decided.score,
        "scores": dict(zip(labels, probabilities, strict=True)),
    }
    if answer.activation is not None:
        found["activation"] = _activation(answer.activation[labels.index(decided.label)])
    return found


def _activation(cells: Tensor) -> dict[str, Any]:
    """A label's class-activation map (h, w): what speaks for it, from 0 to 1 at the most."""
    cells = cells.clamp(min=0)
    highest = float(cells.max())
    rows, columns = cells.shape
    scaled: list[list[float]] = (cells / highest if highest > 0 else cells).tolist()
    return {
        "rows": rows,
        "columns": columns,
        "values": [[round(value, _DIGITS) for value in row] for row in scaled],
    }
