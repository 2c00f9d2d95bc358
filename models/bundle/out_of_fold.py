"""Out-of-fold answers of a bundle's model to its training pictures, and their comparison.

`out_of_fold.csv` has one row per training picture: `file,sha256,label,group,predicted,score`, one
column `probability:<label>` per class, and one column `slice:<attribute>` per attribute of
`slices.csv`, if the data has any. Each answer is from a model of the cross-validation that
was trained without the picture and without its group; `label` is the label that was trained on.
Two bundles are compared on the pictures that both have, joined by `sha256`.

`test_answers.csv` has the same columns: the exported model's answers to the pictures of its test
sets, if it was tested; the column `slice:test` names the set.
"""

import csv
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from models.bundle.files import read_listed_file, read_manifest
from models.errors import BundleIncomplete
from models.paired import DEFAULT_MARGIN, PairedTest, paired_test
from models.text import percent

OUT_OF_FOLD: Final = "out_of_fold.csv"
TEST_ANSWERS: Final = "test_answers.csv"

MAX_ANSWERED_LOSS: Final = 0.1
"""Share of the pictures that a new model may give no class although the old one does."""

_COLUMNS: Final = ("file", "sha256", "label", "group", "predicted", "score")
_PROBABILITY: Final = "probability:"
_SLICE: Final = "slice:"
_SMALLEST_PROBABILITY: Final = 1e-12
_ROUNDING: Final = 1e-8  # a threshold is the score of some picture, which the file has in 9 digits


class Answer(NamedTuple):  # 20,000 are read to compare two models: a tuple is made fast
    """Out-of-fold answer to one picture.

    Attributes:
        file: Name in the training folder.
        sha256: Digest of the file as it lies there.
        label: Label that was trained on.
        group: Group of the cross-validation; copies, and pictures of one named group, share it.
        predicted: Label that was answered.
        probabilities: By label.
        slices: Slice by attribute, of those that it has.
    """

    file: str
    sha256: str
    label: str
    group: str
    predicted: str
    probabilities: Mapping[str, float]
    slices: Mapping[str, str] = MappingProxyType({})

    @property
    def score(self) -> float:
        """Probability of the answer."""
        return self.probabilities[self.predicted]

    @property
    def correct(self) -> bool:
        """True if the answer is the label trained on."""
        return self.predicted == self.label

    def preference(self, label: str) -> float:
        """Return the margin of a label over the best other, as a difference of logits."""
        best = max(value for name, value in self.probabilities.items() if name != label)
        return _log(self.probabilities[label]) - _log(best)


@dataclass(frozen=True)
class Answered:
    """Shares of the same pictures that get a class, not "uncertain", at each model's threshold.

    Attributes:
        old: Share of the old model.
        new: Share of the new model.
        interval_90: Of `new` - `old`.
    """

    old: float
    new: float
    interval_90: tuple[float, float]

    @property
    def fewer(self) -> bool:
        """True if a loss of more than `MAX_ANSWERED_LOSS` is shown."""
        return self.interval_90[1] < -MAX_ANSWERED_LOSS

    @property
    def sentence(self) -> str:
        """One sentence with both shares."""
        before = f"{percent(self.old)} before"
        if self.fewer:
            before += f": more than {100 * MAX_ANSWERED_LOSS:g} points fewer"
        return f'It gives {percent(self.new)} of them a class, not "uncertain" ({before}).'


@dataclass(frozen=True)
class Comparison:
    """Two models on the pictures that both were trained on, each answered out of fold.

    Attributes:
        test: The paired test.
        answered: How many of the pictures get a class.
        fixed: Digests of the pictures that only the new model has correct.
        broken: Digests of those that only the old model has correct.
        relabelled: Digests of those whose label differs; the new one counts for both models.
        only_old: Number of pictures that only the old model was trained on.
        only_new: Number of pictures that only the new model was trained on.
    """

    test: PairedTest
    answered: Answered
    fixed: tuple[str, ...]
    broken: tuple[str, ...]
    relabelled: tuple[str, ...]
    only_old: int
    only_new: int

    @property
    def sentence(self) -> str:
        """The paired test and the shares answered, in two sentences or three."""
        return f"{self.test.sentence} {self.answered.sentence}"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures of the test and the numbers of pictures, fit for JSON."""
        return self.test.as_dict() | {
            "sentence": self.sentence,
            "answered": asdict(self.answered) | {"fewer": self.answered.fewer},
            "fixed": len(self.fixed),
            "broken": len(self.broken),
            "relabelled": len(self.relabelled),
            "only_old": self.only_old,
            "only_new": self.only_new,
        }


def format_answers(answers: Sequence[Answer], labels: Sequence[str]) -> bytes:
    """Return the file of answers."""
    attributes = list(dict.fromkeys(name for answer in answers for name in answer.slices))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            *_COLUMNS,
            *(f"{_PROBABILITY}{label}" for label in labels),
            *(f"{_SLICE}{name}" for name in attributes),
        ]
    )
    for answer in answers:
        facts = (answer.file, answer.sha256, answer.label, answer.group, answer.predicted)
        numbers = (answer.score, *(answer.probabilities[label] for label in labels))
        slices = (answer.slices.get(name, "") for name in attributes)
        writer.writerow([*facts, *(f"{number:.9g}" for number in numbers), *slices])
    return text.getvalue().encode()


def parse_answers(data: bytes, name: str = OUT_OF_FOLD) -> list[Answer]:
    """Return the answers of a file.

    Raises:
        BundleIncomplete: It is not such a file.
    """
    try:
        rows = csv.reader(io.StringIO(data.decode(), newline=""), strict=True)
        header = next(rows, [])
        # The score is one of the probabilities.
        facts = itemgetter(*(header.index(name) for name in _COLUMNS[:-1]))
        labels = _columns(header, _PROBABILITY)
        attributes = _columns(header, _SLICE)
        return [_parse_row(row, header, facts, labels, attributes) for row in rows if row]
    except (ValueError, csv.Error) as error:
        raise BundleIncomplete(f"{name} cannot be read ({error}).") from error


def read_answers(bundle: Path, name: str = OUT_OF_FOLD) -> list[Answer] | None:
    """Return the answers in a bundle's folder; None if the bundle has none.

    Args:
        bundle: The folder.
        name: `OUT_OF_FOLD` or `TEST_ANSWERS`.

    Raises:
        BundleError: The manifest or the file cannot be read, or is not as published.
    """
    manifest = read_manifest(bundle)
    if name not in manifest.files:
        return None
    return parse_answers(read_listed_file(bundle, manifest, name), name)


def compare_answers(
    old: Sequence[Answer],
    new: Sequence[Answer],
    *,
    thresholds: tuple[float, float],
    margin: float = DEFAULT_MARGIN,
) -> Comparison | None:
    """Compare two models on common pictures; None without any, or if the classes differ.

    Labels, groups and slices are those of the new model: corrected labels count for both.

    Args:
        old: Answers of the old model.
        new: Answers of the new model.
        thresholds: Score below which an answer is "uncertain": of the old and of the new model.
        margin: Loss of balanced accuracy that is not acceptable.
    """
    if not old or not new or old[0].probabilities.keys() != new[0].probabilities.keys():
        return None
    before = {answer.sha256: answer for answer in old}
    after = {answer.sha256: answer for answer in new}
    pairs = [(before[sha256], answer) for sha256, answer in after.items() if sha256 in before]
    if not pairs:
        return None
    was = [one.predicted == other.label for one, other in pairs]
    now = [other.correct for _, other in pairs]
    return Comparison(
        test=paired_test(
            was,
            now,
            [other.label for _, other in pairs],
            [other.group for _, other in pairs],
            [one.preference(other.label) for one, other in pairs],
            slices=_slices([other for _, other in pairs]),
            margin=margin,
        ),
        answered=_compare_answered(pairs, *thresholds),
        fixed=_chosen(pairs, [b and not a for a, b in zip(was, now, strict=True)]),
        broken=_chosen(pairs, [a and not b for a, b in zip(was, now, strict=True)]),
        relabelled=_chosen(pairs, [one.label != other.label for one, other in pairs]),
        only_old=len(before) - len(pairs),
        only_new=len(after) - len(pairs),
    )


def _compare_answered(
    pairs: Sequence[tuple[Answer, Answer]], old_threshold: float, new_threshold: float
) -> Answered:
    """Compare how many pictures get a class; all pictures count equally, whatever their class."""
    test = paired_test(
        [one.score > old_threshold - _ROUNDING for one, _ in pairs],
        [other.score > new_threshold - _ROUNDING for _, other in pairs],
        [0] * len(pairs),
        [other.group for _, other in pairs],
        [one.score - old_threshold for one, _ in pairs],
        margin=MAX_ANSWERED_LOSS,
    )
    return Answered(test.old, test.new, test.interval_90)


def _slices(answers: Sequence[Answer]) -> dict[str, list[str]]:
    """Return the slice of each picture by attribute, "" where it has none."""
    attributes = dict.fromkeys(name for answer in answers for name in answer.slices)
    return {name: [answer.slices.get(name, "") for answer in answers] for name in attributes}


def _chosen(pairs: Sequence[tuple[Answer, Answer]], chosen: Sequence[bool]) -> tuple[str, ...]:
    return tuple(new.sha256 for (_, new), take in zip(pairs, chosen, strict=True) if take)


def _log(probability: float) -> float:
    return math.log(max(probability, _SMALLEST_PROBABILITY))


def _columns(header: Sequence[str], prefix: str) -> list[tuple[str, int]]:
    """Return name and index of each column with a prefix."""
    return [
        (name.removeprefix(prefix), index)
        for index, name in enumerate(header)
        if name.startswith(prefix)
    ]


def _parse_row(
    row: Sequence[str],
    header: Sequence[str],
    facts: Callable[[Sequence[str]], tuple[str, str, str, str, str]],
    labels: Sequence[tuple[str, int]],
    attributes: Sequence[tuple[str, int]],
) -> Answer:
    if len(row) != len(header):
        raise ValueError(f"a row has {len(row)} values instead of {len(header)}")
    file, sha256, label, group, predicted = facts(row)
    probabilities = {name: float(row[index]) for name, index in labels}
    slices = {name: row[index] for name, index in attributes if row[index]} if attributes else {}
    if predicted not in probabilities or label not in probabilities:
        raise ValueError(f"{file}: {predicted!r} or {label!r} is no class")
    return Answer(file, sha256, label, group, predicted, probabilities, slices)
