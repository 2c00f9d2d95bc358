"""The model of a run: bytes of pictures in, rows out, answered by the engine of POST /predict."""

import asyncio
import contextlib
import hashlib
import queue
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa

from models.allocator import retain_memory
from models.bundle.load import open_bundle
from models.bundle.signing import load_public_keys
from models.errors import PictureError
from models.imaging.decode import upright_size
from models.imaging.open import open_image
from models.text import clean
from scoring.inputs.entry import Entry, Unreadable
from scoring.job import BATCH
from scoring.plan import Options
from scoring.rows import UNREADABLE_CODE, columns_of, outcome_columns
from service.inference.decision import AnswerOptions, PictureFaces, Prediction
from service.inference.engine import Engine

_MAX_FACES = 50  # per picture


class ModelScorer:
    """One bundle, with an engine with one lane per thread of the run.

    Attributes:
        columns: Columns of the rows.
    """

    def __init__(
        self, path: Path, model_sha256: str, options: Options, *, threads: int, trusted_keys: str
    ) -> None:
        """Verify and load a bundle, and warm it up.

        Args:
            path: The bundle's folder.
            model_sha256: Checksum of its manifest, for the rows.
            options: Options of the answers.
            threads: Number of threads that call `rows`.
            trusted_keys: Public keys of which one must have signed it; empty for any.

        Raises:
            BundleError, KeyUnusable: The bundle or the keys cannot be used.
        """
        retain_memory()
        bundle = open_bundle(path, trusted=load_public_keys(trusted_keys))
        self.columns: pa.Schema = columns_of(bundle.manifest.labels)
        self._faces = options.faces
        self._answers = AnswerOptions(threshold=options.threshold, whole=options.framing == "whole")
        self._model = {
            "model_version": bundle.manifest.version,
            "model_sha256": model_sha256,
        }
        # The last bits of a score in fp32 depend on the pictures of its batch and on the number of
        # threads, and a shard that is scored again must get the same bytes. An engine of one lane
        # that is asked by one thread cuts the same pictures into the same batches.
        self._lanes = [_Lane(Engine(bundle, threads=1, max_batch=BATCH)) for _ in range(threads)]
        self._free: queue.SimpleQueue[_Lane] = queue.SimpleQueue()
        for lane in self._lanes:
            self._free.put(lane)

    def __enter__(self) -> "ModelScorer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for lane in self._lanes:
            lane.close()

    def rows(
        self, entries: Sequence[Entry], contents: Sequence[bytes | Unreadable]
    ) -> list[dict[str, Any]]:
        """Return one row per entry, in order."""
        pictures = [content for content in contents if isinstance(content, bytes)]
        outcomes = iter(self._answer(pictures))
        return [
            {"key": clean(entry.key)}
            | self._model
            | (
                {"error_code": UNREADABLE_CODE, "error": clean(f"It cannot be read ({content}).")}
                if isinstance(content, Unreadable)
                else _columns(content, next(outcomes))
            )
            for entry, content in zip(entries, contents, strict=True)
        ]

    def _answer(
        self, pictures: Sequence[bytes]
    ) -> Sequence[Prediction | PictureFaces | PictureError]:
        lane = self._free.get()
        try:
            return lane.answer(pictures, self._answers, faces=self._faces)
        finally:
            self._free.put(lane)


class _Lane:
    """An engine of one thread, and the event loop on which one caller at a time waits for it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()

    def answer(
        self, pictures: Sequence[bytes], options: AnswerOptions, *, faces: bool
    ) -> Sequence[Prediction | PictureFaces | PictureError]:
        """Return the answer or error of each picture, in order."""
        if faces:
            found = self._engine.predict_faces(pictures, options, max_faces=_MAX_FACES)
            return self._loop.run_until_complete(found)
        return self._loop.run_until_complete(self._engine.predict(pictures, options))

    def close(self) -> None:
        """End the engine's thread."""
        self._engine.close()
        self._loop.close()


def _columns(content: bytes, outcome: Prediction | PictureFaces | PictureError) -> dict[str, Any]:
    """Return the columns on a file, with the picture's size where it has one, and its answer."""
    columns: dict[str, Any] = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    if isinstance(outcome, Prediction) and outcome.size:
        columns["width"], columns["height"] = outcome.size
    elif isinstance(outcome, PictureFaces):
        columns["width"], columns["height"] = outcome.width, outcome.height
    else:
        with contextlib.suppress(PictureError):
            columns["width"], columns["height"] = upright_size(open_image(content))
    return columns | outcome_columns(outcome)
