"""Names of class folders and of splits."""

import re
from typing import Final

from models.text import normalize_name

_TRAINING: Final = frozenset(("train", "training", "trainval", "trn"))
_EVALUATION: Final = frozenset(
    (
        *("val", "valid", "validation", "validate", "test", "testing", "tst", "eval"),
        *("evaluation", "dev", "devel", "holdout"),
    )
)
_FILLERS: Final = frozenset(
    (
        *("set", "sets", "data", "dataset", "split", "folder"),
        *("images", "image", "imgs", "img", "pictures", "photos", "samples"),
    )
)

RESERVED_LABELS: Final = {
    "uncertain": "the service answers it below the threshold",
    "unfamiliar": "the service answers it for pictures unlike the training pictures",
    "-": "it excludes pictures in labels.csv",
}
MAX_LABEL_CHARS: Final = 200


def label_key(name: str) -> str:
    """Return a key that is equal for two spellings of one class name."""
    return normalize_name(name).casefold()


def split_kind(name: str) -> str | None:
    """Return "train" or "test" for the name of a split, such as `Train`, `test_set`, `val2017`."""
    words = [word for word in re.split(r"[\W\d_]+", name.casefold()) if word]
    words = [re.sub(r"(?<=[a-z])(set|data|images)$", "", word) or word for word in words]
    rest = [word for word in words if word not in _FILLERS]
    if rest and set(rest) <= _TRAINING:
        return "train"
    if rest and set(rest) <= _EVALUATION:
        return "test"
    return None
