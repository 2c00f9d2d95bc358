"""Predictions without HTTP, for a notebook or a program: `service.load().predict(["a.jpg"])`."""

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final

from models.bundle.load import Bundle, open_bundle
from models.bundle.signing import load_public_keys
from models.bundle.store import current_version, default_store
from models.cpu import usable_cores
from models.environment import read_variable
from models.errors import NoBundle, PictureError
from service.inference.decision import AnswerOptions, Prediction
from service.inference.engine import Engine

Picture = str | os.PathLike[str] | bytes

_PICTURES_AT_A_TIME: Final = 64


class LocalModel:
    """A published model in this process; its answers are those of POST /predict.

    Attributes:
        version: Version of the model.
        labels: Its classes.
        threshold: Score below which the decision is `uncertain`.
    """

    def __init__(self, bundle: Bundle) -> None:
        """Start an engine for a bundle, on all cores."""
        self.version = bundle.manifest.version
        self.labels = tuple(bundle.manifest.labels)
        self.threshold = bundle.manifest.decision.threshold
        self._engine = Engine(bundle, threads=usable_cores())
        # A thread of its own: a notebook has an event loop running already.
        self._caller = ThreadPoolExecutor(1, thread_name_prefix="local-model")

    def predict(
        self, pictures: Picture | Sequence[Picture], *, threshold: float | None = None
    ) -> list[Prediction | PictureError]:
        """Classify pictures, in order; the result of an unreadable one is its error.

        Args:
            pictures: Paths of files, or encoded pictures as bytes; or one of these.
            threshold: Score below which the decision is `uncertain`; the model's by default.

        Raises:
            OSError: A file cannot be read.
        """
        given = [pictures] if isinstance(pictures, str | bytes | os.PathLike) else list(pictures)
        options = AnswerOptions(threshold=threshold)
        answers: list[Prediction | PictureError] = []
        for begin in range(0, len(given), _PICTURES_AT_A_TIME):
            contents = [
                picture if isinstance(picture, bytes) else Path(picture).read_bytes()
                for picture in given[begin : begin + _PICTURES_AT_A_TIME]
            ]
            answers += self._caller.submit(self._answer, contents, options).result()
        return answers

    def close(self) -> None:
        """Stop the engine's threads."""
        self._caller.shutdown()
        self._engine.close()

    def __enter__(self) -> "LocalModel":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<LocalModel {self.version}: {', '.join(self.labels)}>"

    def _answer(
        self, contents: Sequence[bytes], options: AnswerOptions
    ) -> list[Prediction | PictureError]:
        return list(asyncio.run(self._engine.predict(contents, options)))


def load(store: str | os.PathLike[str] | None = None, version: str | None = None) -> LocalModel:
    """Verify and load a model of a store.

    Args:
        store: The store; FACEMASK_STORE or models/artifacts by default.
        version: The version; the current one by default.

    Raises:
        BundleError: There is no such model, or it does not verify. With FACEMASK_TRUSTED_KEYS,
            one of these keys must have signed it.
    """
    folder = Path(store) if store is not None else default_store()
    name = version if version is not None else current_version(folder)
    if not (folder / name).is_dir():
        raise NoBundle(f"{folder} has no version {name}.")
    trusted = load_public_keys(read_variable("FACEMASK_TRUSTED_KEYS") or "")
    return LocalModel(open_bundle(folder / name, trusted=trusted))
