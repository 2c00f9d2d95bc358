"""Cost of face detection, and the share of faces that it finds.

    python -m benchmarks.faces [FOLDER ...] [--rounds 20]

Each FOLDER is searched for images. Reported are the share of them with a face, and the share of
those faces that are found again after they were pasted small, twelve at a time, on an image of
1280 x 960. Costs are of one thread: bytes to the model's input, from the whole image
(`decode_image`) and from the main face, in turns. Without folders, drawn images are timed and
nothing else.
"""

import argparse
import io
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from PIL import Image

from models.errors import PictureError
from models.imaging.decode import decode_image
from models.imaging.face_detector import Detector, load_detector
from models.imaging.faces import cut_main_face, find_faces, open_oriented
from scripts.example_picture import draw
from training.data.source import open_source

_SIZE_PX = 224
_TIMED = {"224 x 224": (224, 224), "640 x 480": (640, 480), "12 MP": (4000, 3000)}
_CANVAS, _GRID, _CELL_PX = (1280, 960), (4, 3), 320
_EDGES_PX = (200, 120, 80, 50)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faces")
    parser.add_argument("folders", type=Path, nargs="*", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    detector = load_detector()
    _print_costs(detector, arguments.rounds)
    if arguments.folders:
        print("\n| pictures | with a face | " + " | ".join(f"{e} px" for e in _EDGES_PX) + " |")
        print("|---|---|" + "---|" * len(_EDGES_PX))
    for folder in arguments.folders:
        pictures = list(_readable(folder))
        found = sum(bool(find_faces(open_oriented(data), detector)) for data in pictures)
        small = [_found_small(pictures, edge, detector) for edge in _EDGES_PX]
        row = " | ".join(f"{share:.0%}" for share in small)
        print(f"| {folder} ({len(pictures)}) | {found / len(pictures):.0%} | {row} |", flush=True)
    return 0


def _print_costs(detector: Detector, rounds: int) -> None:
    print("| picture | whole, ms | main face, ms | ratio (lowest-highest) |\n|---|---|---|---|")
    for name, size in _TIMED.items():
        file = io.BytesIO()
        draw().resize(size).save(file, "JPEG", quality=90)
        data = file.getvalue()
        whole, face = [], []
        for _ in range(rounds):
            began = time.perf_counter()
            decode_image(data, size=_SIZE_PX)
            between = time.perf_counter()
            cut_main_face(open_oriented(data), detector, _SIZE_PX)
            whole.append(1000 * (between - began))
            face.append(1000 * (time.perf_counter() - between))
        ratios = [b / a for a, b in zip(whole, face, strict=True)]
        print(
            f"| {name} | {statistics.median(whole):.1f} | {statistics.median(face):.1f} | "
            f"{statistics.median(ratios):.0f} ({min(ratios):.0f}-{max(ratios):.0f}) |",
            flush=True,
        )


def _readable(folder: Path) -> Iterator[bytes]:
    source = open_source(folder)
    for name in source.names():
        data = source.read(name)
        try:
            open_oriented(data)
        except PictureError:  # a table or a note beside them
            continue
        yield data


def _found_small(pictures: list[bytes], edge: int, detector: Detector) -> float:
    """Return the share of pictures with a box in their middle, resized to `edge` pixels."""
    chance = random.Random(edge)
    columns, rows = _GRID
    found = 0
    for at in range(0, len(pictures), columns * rows):
        canvas = Image.new("RGB", _CANVAS, tuple(chance.randrange(60, 200) for _ in range(3)))
        middles = []
        for index, data in enumerate(pictures[at : at + columns * rows]):
            row, column = divmod(index, columns)
            free = _CELL_PX - edge
            x = column * _CELL_PX + chance.randrange(free)
            y = row * _CELL_PX + chance.randrange(free)
            one = Image.open(io.BytesIO(data)).convert("RGB")
            canvas.paste(one.resize((edge, edge), Image.Resampling.BICUBIC), (x, y))
            middles.append((x + edge / 2, y + edge / 2))
        file = io.BytesIO()
        canvas.save(file, "JPEG", quality=90)
        boxes = [face.box for face in find_faces(open_oriented(file.getvalue()), detector)]
        found += sum(
            any(
                abs((left + right) / 2 - x) < edge / 3 and abs((top + bottom) / 2 - y) < edge / 3
                for left, top, right, bottom in boxes
            )
            for x, y in middles
        )
    return found / len(pictures)


if __name__ == "__main__":
    raise SystemExit(main())
