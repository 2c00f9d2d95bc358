"""Shows that killed scoring runs lose no row and double none.

    python -m checks.scoring [--pictures 100000] [--kills 50] [--workers 2] [--seed 0] [--out DIR]

Draws pictures that are altered copies of a few, one in a hundred of them broken, and scores them
once undisturbed. Then scores them again with several workers (`--task`), which are killed at random
moments and started again; every second kill waits for a file that is not renamed yet. Exits
with 1 unless every input is exactly one row and every shard has the bytes of the undisturbed run.
Prints how long the finished run takes if it is started again, too. The model and the pictures are
tiny: the files are what is checked.
"""

import argparse
import hashlib
import random
import signal
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
_LONGEST_PAUSE_S: Final = 1.0
_POLL_S: Final = 0.02
_SHARD_SIZE: Final = 250
_WRITE_WAIT_S: Final = 5.0


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m checks.scoring")
    parser.add_argument("--pictures", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
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
    kills = _run_and_kill([*command, str(killed), *options], killed, arguments, chance)
    subprocess.run([*command, str(killed), *options], check=True, capture_output=True)
    began = time.perf_counter()
    subprocess.run([*command, str(killed), *options], check=True, capture_output=True)
    again_s = time.perf_counter() - began

    faults = compare(whole, killed, arguments.pictures)
    print(f"| pictures | {arguments.pictures:,} |")
    print(f"| workers killed | {kills['all']} |")
    print(f"| of these before the last shard was there | {kills['unfinished']} |")
    print(f"| of these between write and rename | {kills['in write']} |")
    print(f"| seconds of the finished run again | {again_s:.1f} |")
    for name, count in faults.items():
        print(f"| {name} | {count:,} |")
    return 1 if any(faults.values()) or kills["all"] < arguments.kills else 0


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
    command: Sequence[str], output: Path, arguments: argparse.Namespace, chance: random.Random
) -> Counter[str]:
    """Run all tasks at once and kill one after the other.

    Returns:
        Number of kills; of those before the last shard was there; and of those that left a file
        without its final name.
    """
    workers: dict[int, subprocess.Popen[bytes]] = {}
    shards = -(-arguments.pictures // _SHARD_SIZE)

    def start() -> None:
        for index in range(arguments.workers):
            if index not in workers or workers[index].poll() is not None:
                workers[index] = subprocess.Popen(
                    [*command, "--task", f"{index}/{arguments.workers}"],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )

    kills = Counter[str]()
    while kills["all"] < arguments.kills:
        start()
        # The kills are spread over the shards.
        while _complete(output) < shards * kills["all"] // (arguments.kills + 1):
            time.sleep(_POLL_S)
            start()
        time.sleep(chance.uniform(0, _LONGEST_PAUSE_S))
        victim = workers.pop(chance.randrange(arguments.workers))
        if kills["all"] % 2:
            _stop_in_write(victim, output)
        victim.kill()
        victim.wait()
        kills["all"] += 1
        kills["unfinished"] += _complete(output) < shards
        kills["in write"] += _writes(victim, output)
    for worker in workers.values():
        worker.kill()
        worker.wait()
    return kills


def _complete(output: Path) -> int:
    return sum(1 for _ in output.glob("*.parquet"))


def _stop_in_write(worker: "subprocess.Popen[bytes]", output: Path) -> None:
    """Stop a process between a write and its rename, unless it does not write for a while."""
    until = time.monotonic() + _WRITE_WAIT_S
    while time.monotonic() < until and worker.poll() is None:
        if _writes(worker, output):
            worker.send_signal(signal.SIGSTOP)
            if _writes(worker, output):
                return
            worker.send_signal(signal.SIGCONT)


def _writes(worker: "subprocess.Popen[bytes]", output: Path) -> bool:
    """Return True if a process has a file in the output that it has not renamed."""
    end = f"-{worker.pid}.partial"
    return output.is_dir() and any(path.name.endswith(end) for path in output.iterdir())


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
