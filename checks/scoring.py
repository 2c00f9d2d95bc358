"""Shows that killed scoring runs lose no row and double none.

    python -m checks.scoring [--pictures 100000] [--kills 50] [--workers 2] [--seed 0] [--out DIR]

Draws pictures that are altered copies of a few, one in a hundred of them broken, and scores them
once undisturbed. Then scores them again with several workers (`--task`), each of which is killed at
random moments and started again, also between a write and its rename. Exits with 1 unless every
input is exactly one row and every shard has the bytes of the undisturbed run.
"""

import argparse
import hashlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from models.bundle.publish import publish
from tests.images import encode, photograph
from tests.models.tiny_bundle import TinyGraph, bundle_facts, torchscript

_ORIGINALS: Final = 50
_BROKEN_SHARE: Final = 0.01
_PER_FOLDER: Final = 1000
_LONGEST_LIFE_S: Final = 20.0
_SHARD_SIZE: Final = 250


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m checks.scoring")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--life", type=float, default=_LONGEST_LIFE_S, help="max s until a kill")
    parser.add_argument("--out", type=Path, help="folder to keep (a temporary one)")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        return _check(arguments, arguments.out or Path(temporary))


def _check(arguments: argparse.Namespace, folder: Path) -> int:
    chance = random.Random(arguments.seed)
    store, archive = folder / "store", folder / "archive"
    model = torchscript(TinyGraph())
    publish(store, {"model.pt": model}, bundle_facts(model))
    draw_archive(archive, arguments.pictures, chance)
    command = [sys.executable, "-m", "scoring", str(archive)]
    options = ["--model", str(store), "--shard-size", str(_SHARD_SIZE), "--threads", "1"]

    whole, killed = folder / "whole", folder / "killed"
    subprocess.run([*command, str(whole), *options], check=True, capture_output=True)
    kills = _run_and_kill([*command, str(killed), *options], arguments, chance)
    subprocess.run([*command, str(killed), *options], check=True, capture_output=True)

    faults = compare(whole, killed, arguments.pictures)
    print(f"| pictures | {arguments.pictures:,} |")
    print(f"| workers killed | {kills} |")
    for name, count in faults.items():
        print(f"| {name} | {count:,} |")
    return 1 if any(faults.values()) or kills < arguments.kills else 0


def draw_archive(folder: Path, pictures: int, chance: random.Random) -> None:
    """Write pictures of which no two files are equal."""
    originals = [encode(photograph(24, 24, seed)) for seed in range(_ORIGINALS)]
    for number in range(pictures):
        path = folder / f"{number // _PER_FOLDER:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        data = originals[number % _ORIGINALS]
        if chance.random() < _BROKEN_SHARE:
            data = data[: len(data) // 2]
        path.write_bytes(data + f"\0{number}".encode())  # behind the end, which decoders ignore


def _run_and_kill(
    command: Sequence[str], arguments: argparse.Namespace, chance: random.Random
) -> int:
    """Run all tasks at once and kill one after the other; return the number of kills."""
    workers: dict[int, subprocess.Popen[bytes]] = {}
    kills = 0
    while kills < arguments.kills:
        for index in range(arguments.workers):
            if index not in workers or workers[index].poll() is not None:
                workers[index] = subprocess.Popen(
                    [*command, "--task", f"{index}/{arguments.workers}"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
        time.sleep(chance.uniform(0, arguments.life))
        victim = workers.pop(chance.randrange(arguments.workers))
        victim.kill()
        victim.wait()
        kills += 1
    for worker in workers.values():
        worker.kill()
        worker.wait()
    return kills


def compare(whole: Path, killed: Path, pictures: int) -> dict[str, int]:
    """Return the number of faults of each kind."""
    keys = Counter[str]()
    for path in killed.glob("*.parquet"):
        keys.update(pq.read_table(path, columns=["key"])["key"].to_pylist())
    expected, found = ({p.name: _digest(p) for p in f.glob("*.parquet")} for f in (whole, killed))
    return {
        "inputs without a row": pictures - len(keys),
        "inputs with several rows": sum(count > 1 for count in keys.values()),
        "shards with other bytes": sum(
            found.get(name) != digest for name, digest in expected.items()
        ),
        "other files": sum(path.suffix not in (".parquet", ".json") for path in killed.iterdir()),
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
