"""Answers to whole photographs: faces of the training frame, pasted into larger pictures.

    python -m benchmarks.framing STORE PICTURES --background DIR [--test [LABEL=]DIR]
                                 [--other DIR] [--k 1,1.5,2,3,4] [--longest PX] [--rounds N]

PICTURES has a folder per class, with pictures framed as the training pictures. Each is pasted, at a
random place, into a picture of the background folder, so that it takes 1/k of either side; pictures
in which the detector finds a face of its own are left out of the backgrounds. `--longest` scales
the result to so many pixels on the longer side; without, the pasted picture keeps its pixels. Every
picture is answered by the engine as `POST /predict` does, by default and with `framing=whole`.

Printed are the shares of pictures whose label is right; that get a wrong class as their decision
(firmly wrong); whose decision is a class and right; that are unfamiliar; in which a face was looked
for; and that were answered by a framed face. Pictures of `--other` are of no class: any class is
wrong, and the files with one are listed, since some may show a person. `--rounds` also times
PICTURES as they are, by default and whole, in turns.
"""

import argparse
import asyncio
import io
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from models.bundle.load import open_bundle
from models.bundle.store import current_version
from models.cpu import usable_cores
from models.errors import PictureError
from models.imaging.face_detector import load_detector
from models.imaging.faces import find_faces, open_oriented
from models.imaging.framing import MAX_ENLARGEMENT
from service.inference.decision import UNCERTAIN, UNFAMILIAR, AnswerOptions, Prediction
from service.inference.engine import Engine
from training.data.holdout import find_holdout_set
from training.data.source import open_source

_HEAD = ("pictures", "right", "firmly wrong", "firmly right", "unfamiliar", "looked", "framed")
_JPEG_QUALITY = 90


@dataclass(frozen=True)
class LabelledFile:
    """One encoded picture, its class (None for pictures of no class), and its name."""

    data: bytes
    label: str | None
    name: str = ""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.framing")
    parser.add_argument("store", type=Path)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--background", type=Path, required=True, metavar="DIR")
    parser.add_argument("--test", action="append", default=[], metavar="[LABEL=]DIR")
    parser.add_argument("--other", action="append", default=[], type=Path, metavar="DIR")
    parser.add_argument("--k", default="1,1.5,2,3,4")
    parser.add_argument("--longest", type=int, default=0, metavar="PX")
    parser.add_argument("--rounds", type=int, default=0)
    arguments = parser.parse_args()
    bundle = open_bundle(arguments.store / current_version(arguments.store))
    engine = Engine(bundle, threads=usable_cores())
    try:
        labels = engine.labels
        pictures = list(_labelled(str(arguments.pictures), labels))
        backgrounds = list(_faceless(arguments.background))
        print(f"{len(backgrounds)} backgrounds. {bundle.manifest.framing}\n")
        print("| set | framing | " + " | ".join(_HEAD) + " |\n|" + "---|" * (len(_HEAD) + 2))
        for factor in map(float, arguments.k.split(",")):
            pasted = [
                LabelledFile(
                    _paste(one.data, backgrounds, factor, arguments.longest, seed), one.label
                )
                if factor > 1
                else one
                for seed, one in enumerate(pictures)
            ]
            _print_rows(f"k = {factor:g}", pasted, engine)
        for given in arguments.test:
            _print_rows(given, list(_labelled(given, labels)), engine)
        for folder in arguments.other:
            source = open_source(folder)
            others = [LabelledFile(source.read(name), None, name) for name in source.names()]
            _print_rows(str(folder), others, engine)
            firm = [
                one.name for one, found in _answers(others, engine, whole=False) if _is_firm(found)
            ]
            print(f"with a class: {', '.join(firm) or 'none'}")
        if arguments.rounds:
            _print_cost(pictures, engine, arguments.rounds)
    finally:
        engine.close()
    return 0


def _labelled(given: str, labels: Sequence[str]) -> Iterator[LabelledFile]:
    prefix, equals, path = given.partition("=")
    label = prefix if equals and prefix in labels else None
    listed = find_holdout_set(Path(path if label else given), list(labels), label=label)
    for name, k in zip(listed.names, listed.classes.tolist(), strict=True):
        yield LabelledFile(listed.source.read(name), labels[k])


def _faceless(folder: Path) -> Iterator[Image.Image]:
    source, detector = open_source(folder), load_detector()
    for name in source.names():
        data = source.read(name)
        try:
            faces = find_faces(open_oriented(data), detector, enlarge=MAX_ENLARGEMENT)
        except PictureError:  # a table or a note beside them
            continue
        if not faces:
            yield Image.open(io.BytesIO(data)).convert("RGB")


def _paste(
    data: bytes, backgrounds: Sequence[Image.Image], factor: float, longest: int, seed: int
) -> bytes:
    """Return a background with a picture that takes 1 / factor of either side."""
    chance = random.Random(seed)
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = longest / (factor * max(picture.size)) if longest else 1.0
    width, height = (max(1, round(scale * edge)) for edge in picture.size)
    canvas_size = round(factor * width), round(factor * height)
    canvas = chance.choice(backgrounds).resize(canvas_size, Image.Resampling.BICUBIC)
    place = (
        chance.randrange(canvas_size[0] - width + 1),
        chance.randrange(canvas_size[1] - height + 1),
    )
    canvas.paste(picture.resize((width, height), Image.Resampling.BICUBIC), place)
    file = io.BytesIO()
    canvas.save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def _answers(
    files: Sequence[LabelledFile], engine: Engine, *, whole: bool
) -> list[tuple[LabelledFile, Prediction]]:
    options = AnswerOptions(whole=whole)
    outcomes = asyncio.run(engine.predict([one.data for one in files], options))
    return [
        (one, outcome)
        for one, outcome in zip(files, outcomes, strict=True)
        if isinstance(outcome, Prediction)
    ]


def _print_rows(name: str, files: Sequence[LabelledFile], engine: Engine) -> None:
    wholes = _answers(files, engine, whole=True)
    framing = engine.framing
    looked = sum(
        framing is not None
        and found.distance is not None
        and framing.is_doubtful(found.score, found.distance)
        for _, found in wholes
    )
    for kind, answers, searched in (
        ("auto", _answers(files, engine, whole=False), looked),
        ("whole", wholes, 0),
    ):
        counts = (
            sum(found.label == one.label for one, found in answers),
            sum(_is_firm(found) and found.decision != one.label for one, found in answers),
            sum(_is_firm(found) and found.decision == one.label for one, found in answers),
            sum(found.decision == UNFAMILIAR for _, found in answers),
            searched,
            sum(found.framed is not None for _, found in answers),
        )
        cells = [f"{len(answers)}", *(f"{count / len(answers):.1%}" for count in counts)]
        print(f"| {name} | {kind} | " + " | ".join(cells) + " |", flush=True)


def _is_firm(found: Prediction) -> bool:
    return found.decision not in (UNCERTAIN, UNFAMILIAR)


def _print_cost(files: Sequence[LabelledFile], engine: Engine, rounds: int) -> None:
    """Print the time by default over the time of whole pictures, in turns."""
    ratios = []
    for _ in range(rounds):
        seconds = []
        for whole in (True, False):
            began = time.perf_counter()
            _answers(files, engine, whole=whole)
            seconds.append(time.perf_counter() - began)
        ratios.append(seconds[1] / seconds[0])
    print(
        f"\nTime by default / whole: {statistics.median(ratios):.3f} "
        f"({min(ratios):.3f}-{max(ratios):.3f}, {rounds} rounds of {len(files)} pictures)"
    )


if __name__ == "__main__":
    raise SystemExit(main())
