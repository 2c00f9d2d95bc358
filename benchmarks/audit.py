"""Recall and precision of the audit on faults that are planted in a copy of a data set.

    python -m benchmarks.audit DIR [--seed N] [--json FILE]

Each kind of fault is planted in a fresh copy of the folder, on its own, so that faults neither
hide nor reveal each other: image faults in 30 images, swapped labels in 5 %. A fault counts as
found if a finding of the right kind names that image (for copies: in one group with its original).
"Others" are images without a planted fault that are named by a warning or an error of the kinds in
the first column, or by other kinds that the untouched folder did not have. Prints Markdown.
"""

import argparse
import io
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from models.errors import FacemaskError
from training.audit.findings import Finding
from training.audit.standalone import audit_folder
from training.config import FitConfig, default_cache
from training.data.dataset import Listing, scan
from training.data.source import open_source

Random = np.random.Generator
_PLANTED = 30
_SWAPPED = 0.05


@dataclass(frozen=True)
class Plant:
    """A planted fault: the kinds of findings that report it, and the files that each must name."""

    fault: str
    kinds: tuple[str, ...]
    cases: list[tuple[str, ...]]


@dataclass(frozen=True)
class Row:
    fault: str
    planted: int
    found: int
    others: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit")
    parser.add_argument("data", type=Path, metavar="DIR")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=default_cache())
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    config = FitConfig(seed=arguments.seed)
    try:
        audit_folder(arguments.data, config, cache=arguments.cache)  # fills the cache
        began = time.perf_counter()
        clean = audit_folder(arguments.data, config, cache=arguments.cache).findings
        took = time.perf_counter() - began
        listing = scan(open_source(arguments.data))
        _print_clean(clean, len(listing.names), took)
        rows = [
            _run(arguments.data, plant, clean, config, arguments.cache)
            for plant in _plants(listing)
        ]
    except FacemaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("\n| fault | planted | found | share | others |\n|---|---|---|---|---|")
    for row in rows:
        share = row.found / row.planted
        print(f"| {row.fault} | {row.planted} | {row.found} | {share:.0%} | {row.others} |")
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    return 0


def _print_clean(findings: list[Finding], count: int, took: float) -> None:
    print(f"Untouched: {count} pictures, {took:.1f} s with features from the cache.\n")
    print("| level | kind | pictures | share |\n|---|---|---|---|")
    for finding in findings:
        named = len(set(finding.names))
        print(f"| {finding.level} | {finding.kind} | {named or 'set'} | {named / count:.1%} |")
    alarmed = _alarmed(findings)
    print(f"| error or warning | any | {len(alarmed)} | {len(alarmed) / count:.1%} |")


def _alarmed(findings: list[Finding]) -> set[str]:
    """Return the pictures that an error or a warning names."""
    return {name for finding in findings if finding.level != "info" for name in finding.names}


Planter = Callable[[Path, Random], Plant]


def _run(data: Path, planter: Planter, clean: list[Finding], config: FitConfig, cache: Path) -> Row:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "data"
        shutil.copytree(data, copy)
        plant = planter(copy, np.random.default_rng(config.seed))
        findings = audit_folder(copy, config, cache=cache).findings
    matching = [finding for finding in findings if finding.kind in plant.kinds]
    named = {name for finding in matching for name in finding.names}
    groups = [set(group) for finding in matching for group in finding.groups]

    def found(case: tuple[str, ...]) -> bool:
        if not case:  # of the whole set
            return bool(matching)
        if len(case) == 1:
            return case[0] in named
        return any(set(case) <= group for group in groups)

    faulty = {name for case in plant.cases for name in case}
    others = _alarmed(findings) - faulty - _alarmed(clean)
    return Row(plant.fault, len(plant.cases), sum(map(found, plant.cases)), len(others))


# --- planting -------------------------------------------------------------------------------


def _encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    data = io.BytesIO()
    picture.save(data, kind, **options)
    return data.getvalue()


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        return picture.convert("RGB")


def _shrunk(picture: Image.Image, factor: float) -> Image.Image:
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _recoded(data: bytes, random: Random) -> bytes:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return _encoded(picture, quality=int(random.integers(30, 91)))


def _resized(data: bytes, random: Random) -> bytes:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return _encoded(_shrunk(picture, random.uniform(0.3, 0.9)), quality=90)


def _mirrored(data: bytes, random: Random) -> bytes:
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    return _encoded(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), quality=90)


def _all_of_it(data: bytes, random: Random) -> bytes:
    return _recoded(_resized(_mirrored(data, random), random), random)


_COPIES: dict[str, Callable[[bytes, Random], bytes]] = {
    "exact copies": lambda data, random: data,
    "copies at JPEG quality 30-90": _recoded,
    "copies resized to 0.3-0.9": _resized,
    "mirrored copies": _mirrored,
    "copies mirrored, resized and at quality 30-90": _all_of_it,
}


def _plants(listing: Listing) -> list[Planter]:
    labels = listing.labels
    planters: list[Planter] = []
    for fault in _COPIES:
        planters += [_copier(listing, fault, across=False), _copier(listing, fault, across=True)]
    planters += [
        _swapper(listing),
        _breaker(listing, "cut short"),
        _breaker(listing, "overwritten"),
    ]
    for fault, kind, change in _ODD:
        planters.append(_changer(listing, fault, kind, change))
    for k, label in enumerate(labels):
        for fault, kind, change in _SHORTCUTS:
            planters.append(_shortcutter(listing, k, f"class {label} {fault}", kind, change))
    return planters


def _pick(listing: Listing, random: Random, count: int = _PLANTED) -> list[int]:
    return [int(i) for i in random.choice(len(listing.names), count, replace=False)]


def _copier(listing: Listing, fault: str, *, across: bool) -> Planter:
    def plant(folder: Path, random: Random) -> Plant:
        cases: list[tuple[str, ...]] = []
        for number, i in enumerate(_pick(listing, random)):
            name = listing.names[i]
            label = listing.labels[(listing.classes[i] + across) % len(listing.labels)]
            copy = f"{label}/planted-{number}.jpg"
            (folder / copy).write_bytes(_COPIES[fault]((folder / name).read_bytes(), random))
            cases.append((name, copy))
        kind = "exact_duplicates" if fault == "exact copies" else "near_duplicates"
        where = "across classes" if across else "in the class"
        return Plant(f"{fault}, {where}", (kind + "_across_classes" * across,), cases)

    return plant


def _swapper(listing: Listing) -> Planter:
    def plant(folder: Path, random: Random) -> Plant:
        cases: list[tuple[str, ...]] = []
        for number, i in enumerate(_pick(listing, random, round(_SWAPPED * len(listing.names)))):
            label = listing.labels[(listing.classes[i] + 1) % len(listing.labels)]
            name = f"{label}/planted-{number}.jpg"
            (folder / listing.names[i]).rename(folder / name)
            cases.append((name,))
        return Plant(f"labels swapped ({_SWAPPED:.0%})", ("suspect_labels",), cases)

    return plant


def _breaker(listing: Listing, fault: str) -> Planter:
    def plant(folder: Path, random: Random) -> Plant:
        cases: list[tuple[str, ...]] = []
        for i in _pick(listing, random):
            path = folder / listing.names[i]
            data = path.read_bytes()
            if fault == "cut short":
                data = data[: int(len(data) * random.uniform(0.05, 0.9))]
            else:
                data = random.bytes(len(data))
            path.write_bytes(data)
            cases.append((listing.names[i],))
        return Plant(f"corrupt files, {fault}", ("unreadable",), cases)

    return plant


Change = Callable[[Image.Image], bytes]


def _times(factor: float) -> Change:
    return lambda picture: _encoded(picture.point(lambda v: int(v * factor)), quality=90)


def _at_edge(edge: int) -> Change:
    return lambda picture: _encoded(_shrunk(picture, edge / min(picture.size)), quality=90)


def _softened(picture: Image.Image) -> bytes:
    """Blur an image that is large enough for blur to differ from a small size."""
    from PIL import ImageFilter

    large = _shrunk(picture, 256 / min(picture.size))
    return _encoded(large.filter(ImageFilter.GaussianBlur(6)), quality=90)


_ODD: list[tuple[str, str, Change]] = [
    ("shrunk to an edge of 40", "tiny", _at_edge(40)),
    ("darkened to a tenth (dark or blank)", "dark blank", _times(0.1)),
    (
        "washed out (bright or blank)",
        "bright blank",
        lambda picture: _encoded(picture.point(lambda v: 230 + v // 10), quality=90),
    ),
    ("out of focus (Gauss, 6 of 256 pixels)", "blurred", _softened),
    (
        "one colour",
        "blank",
        lambda picture: _encoded(Image.new("RGB", picture.size, "black"), quality=90),
    ),
    (
        "stretched to 4:1",
        "odd_aspect",
        lambda picture: _encoded(picture.resize((400, 100)), quality=90),
    ),
    ("grey", "not_rgb", lambda picture: _encoded(picture.convert("L"), quality=90)),
]


def _changer(listing: Listing, fault: str, kind: str, change: Change) -> Planter:
    def plant(folder: Path, random: Random) -> Plant:
        cases: list[tuple[str, ...]] = []
        for i in _pick(listing, random):
            path = folder / listing.names[i]
            path.write_bytes(change(_opened(path)))
            cases.append((listing.names[i],))
        return Plant(fault, tuple(kind.split()), cases)

    return plant


_SHORTCUTS: list[tuple[str, str, Change]] = [
    ("darkened by 25 %", "shortcut_light", _times(0.75)),
    ("as PNG", "shortcut_file", lambda picture: _encoded(picture, "PNG")),
    (
        "at half the resolution",
        "shortcut_size",
        lambda picture: _encoded(_shrunk(picture, 0.5), quality=90),
    ),
    (
        "at half the resolution, blown up again",
        "shortcut_sharpness",
        lambda picture: _encoded(_shrunk(picture, 0.5).resize(picture.size), quality=90),
    ),
]


def _shortcutter(listing: Listing, k: int, fault: str, kind: str, change: Change) -> Planter:
    def plant(folder: Path, random: Random) -> Plant:
        for name, which in zip(listing.names, listing.classes, strict=True):
            if which == k:
                path = folder / name
                path.write_bytes(change(_opened(path)))
        return Plant(fault, (kind,), [()])

    return plant


if __name__ == "__main__":
    sys.exit(main())
