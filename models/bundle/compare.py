"""Two models on the same folder of labelled pictures, compared picture by picture."""

import hashlib
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

import torch
from torch import Tensor

from models.bundle.load import Bundle
from models.bundle.second_pass import answer_framed
from models.errors import FacemaskError, PictureError, reason_of
from models.imaging.decode import decode_image
from models.imaging.face_detector import load_detector
from models.imaging.faces import cut_main_face, open_oriented
from models.layout.files import is_picture, is_system
from models.layout.labels import label_key
from models.paired import DEFAULT_MARGIN, PairedTest, paired_test

_BATCH: Final = 8
_SMALLEST_PROBABILITY: Final = 1e-12

_Outputs = tuple[Tensor, Tensor | None]
"""Probabilities, float32 (N, K), and distances, float32 (N,), if the model measures them."""


class NothingToCompare(FacemaskError):
    """The folder has no labelled picture that both models can classify."""


@dataclass(frozen=True)
class Answers:
    """Answers of one model.

    Attributes:
        predicted: Label of each picture.
        correct: True for each whose folder has that label.
        preference: Margin of the true label over the best other, in logits.
        answered: Share of pictures whose decision is a class, not uncertain or unfamiliar.
    """

    predicted: list[str]
    correct: list[bool]
    preference: list[float]
    answered: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same pictures.

    Attributes:
        files: Path of each picture below the folder.
        labels: Label of each, by its folder.
        old: Answers of the first model.
        new: Answers of the second model.
        test: The paired test of the second against the first.
        skipped: Files that are not compared, each with the reason.
    """

    files: list[str]
    labels: list[str]
    old: Answers
    new: Answers
    test: PairedTest
    skipped: list[tuple[str, str]]

    def changed(self, *, fixed: bool) -> list[tuple[str, str, str, str]]:
        """Return file, label and both answers of the pictures that only one model has correct.

        Args:
            fixed: Those of the second model, else those of the first.
        """
        rows = zip(
            self.files, self.labels, self.old.predicted, self.new.predicted,
            self.old.correct, self.new.correct, strict=True,
        )  # fmt: skip
        return [
            (file, label, before, after)
            for file, label, before, after, was, now in rows
            if was != now and now == fixed
        ]


def compare_bundles(
    old: Bundle,
    new: Bundle,
    folder: Path,
    *,
    margin: float = DEFAULT_MARGIN,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Comparison:
    """Classify a folder's pictures with two models, and compare the answers.

    Copies of one picture count as one group. Each picture is classified as by the service:
    whole, by its main face if the model was trained with `--crop faces`, or framed.

    Args:
        old: Model to compare with.
        new: Model that may replace it.
        folder: One folder of pictures per class.
        margin: Loss of balanced accuracy that is not acceptable.
        progress: Called with the numbers of classified and of all pictures.

    Raises:
        NothingToCompare: A folder is not a class of both models, or no picture can be read.
    """
    listed, skipped = _listed(folder, old.manifest.labels, new.manifest.labels)
    files, labels, groups = [], [], []
    found: list[tuple[_Outputs, _Outputs]] = []
    decoders = _decoder(old), _decoder(new)
    for start in range(0, len(listed), _BATCH):
        inputs, batch = [], []
        for path, label in listed[start : start + _BATCH]:
            name = path.relative_to(folder).as_posix()
            try:
                data = path.read_bytes()
                inputs.append([decode(data) for decode in decoders])
            except (PictureError, OSError) as error:
                reason = reason_of(error) if isinstance(error, OSError) else str(error)
                skipped.append((name, reason))
                continue
            batch.append(data)
            files.append(name)
            labels.append(label)
            groups.append(hashlib.sha256(data).hexdigest())
        if inputs:
            one, other = zip(*inputs, strict=True)
            found.append((_outputs(old, one, batch), _outputs(new, other, batch)))
        progress(min(start + _BATCH, len(listed)), len(listed))
    if not found:
        raise NothingToCompare(f"No picture in {folder} can be read: {skipped[0][1]}")
    answers = [
        _answers(bundle, parts, labels)
        for bundle, parts in zip((old, new), zip(*found, strict=True), strict=True)
    ]
    test = paired_test(
        answers[0].correct, answers[1].correct, labels, groups, answers[0].preference,
        margin=margin,
    )  # fmt: skip
    return Comparison(files, labels, answers[0], answers[1], test, skipped)


def _listed(
    folder: Path, *labels: Sequence[str]
) -> tuple[list[tuple[Path, str]], list[tuple[str, str]]]:
    """Return the pictures of a folder with their labels, and the files left out with the reason."""
    if not folder.is_dir():
        raise NothingToCompare(f"{folder} is no folder.")
    shared = {label_key(name): name for name in labels[0] if name in labels[1]}
    listed, skipped = [], []
    for entry in sorted(folder.iterdir()):
        if is_system(entry.name):
            continue
        if not entry.is_dir():
            skipped.append((entry.name, "in no class's folder"))
            continue
        label = shared.get(label_key(entry.name))
        if label is None:
            raise NothingToCompare(
                f"{entry.name} is no class of both models: they share "
                f"{', '.join(shared.values()) or 'none'}."
            )
        for path in _files(entry):
            if is_picture(PurePosixPath(path.name)):
                listed.append((path, label))
            else:
                skipped.append((path.relative_to(folder).as_posix(), "no picture by its name"))
    if not listed:
        raise NothingToCompare(
            f"{folder} holds no pictures: one folder per class is needed, named "
            f"{', '.join(shared.values())}."
        )
    return listed, skipped


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(map(is_system, path.relative_to(folder).parts)):
            yield path


def _decoder(bundle: Bundle) -> Callable[[bytes], Tensor]:
    """Return the function from a file to the model's input."""
    size = bundle.manifest.input_px
    if bundle.manifest.crop.name != "faces":
        return lambda data: decode_image(data, size=size)
    detector = load_detector()
    return lambda data: cut_main_face(open_oriented(data), detector, size)[0]


def _outputs(bundle: Bundle, pixels: Sequence[Tensor], files: Sequence[bytes]) -> _Outputs:
    """Return probabilities and distances of a batch and its encoded files."""
    return answer_framed(
        bundle.answer, torch.stack(list(pixels)), files.__getitem__, bundle.framing
    )


def _answers(bundle: Bundle, batches: Sequence[_Outputs], labels: Sequence[str]) -> Answers:
    names, detector = bundle.manifest.labels, bundle.manifest.familiarity
    rows: list[list[float]] = torch.cat([probabilities for probabilities, _ in batches]).tolist()
    best = [row.index(max(row)) for row in rows]
    predicted = [names[index] for index in best]
    threshold = bundle.manifest.decision.threshold
    is_decided = [max(row) >= threshold for row in rows]
    distances = [distance for _, distance in batches if distance is not None]
    if detector is not None and distances:
        familiar = torch.cat(distances) <= detector.threshold
        is_decided = [*map(operator.and_, is_decided, familiar.tolist())]
    return Answers(
        predicted,
        [one == other for one, other in zip(predicted, labels, strict=True)],
        [_preference(row, names.index(label)) for row, label in zip(rows, labels, strict=True)],
        sum(is_decided) / len(rows),
    )


def _preference(row: Sequence[float], true: int) -> float:
    logs = [math.log(max(value, _SMALLEST_PROBABILITY)) for value in row]
    return logs[true] - max(value for index, value in enumerate(logs) if index != true)
