"""Throughput and latency of the service, its in-process limit and other servers, in one run.

    python -m benchmarks.serving [--arch resnet18] [--precision fp32] [--peer litserve ...]

`--quick` takes 3 minutes. docs/benchmarks.md describes what is measured and how. Prints Markdown;
writes results.json, serving.svg and the servers' logs to `--out`. Linux only: CPU time and memory
are read in /proc.
"""

import argparse
import json
import platform
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Final

import torch

from benchmarks.serving import peers
from benchmarks.serving.bench import Bench, LimitProcess
from benchmarks.serving.bundles import (
    PRECISIONS,
    make_backbone,
    make_head,
    plain_model,
    publish_bundle,
)
from benchmarks.serving.pictures import SIZES, mixed_sizes, photographs
from benchmarks.serving.plot import draw
from benchmarks.serving.processes import ServerFailed
from benchmarks.serving.report import markdown
from benchmarks.serving.rounds import check_generator, measure_peer, measure_service, soak
from benchmarks.serving.rows import FULL, QUICK, Row
from models.cpu import usable_cores
from models.errors import FacemaskError
from training.backbones.registry import BACKBONES
from training.config import DEFAULT_BACKBONE, default_cache

_PICTURES: Final = {"640x480": 8, "12 MP": 4}
_SOAK_PICTURES: Final = 40
_SECONDS: Final = 5.0
_REPEATS: Final = 5


def main() -> int:
    arguments = _arguments()
    if arguments.markdown:
        print(markdown(json.loads(arguments.markdown.read_text())), end="")
        return 0
    signal.signal(signal.SIGTERM, _stopped)  # or the servers would outlive this process
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        results = _measure(arguments)
    except (
        FacemaskError,
        ServerFailed,
        OSError,
        subprocess.SubprocessError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped: nothing was written", file=sys.stderr)
        return 130
    (arguments.out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    draw(results, arguments.out / "serving.svg")
    print(markdown(results), end="")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--arch", choices=BACKBONES, default=DEFAULT_BACKBONE)
    parser.add_argument("--precision", choices=PRECISIONS, default="fp32")
    parser.add_argument(
        "--peer", action="append", choices=peers.PEERS, default=[], help="may be repeated"
    )
    parser.add_argument(
        "--peer-channels-last",
        action="store_true",
        help="give the peers the faster memory layout, which their documentations do not mention",
    )
    parser.add_argument("--seconds", type=float, help=f"of a window (default {_SECONDS:g})")
    parser.add_argument("--repeats", type=int, help=f"rounds (default {_REPEATS})")
    parser.add_argument("--quick", action="store_true", help="fewer loads, one round, 1 s each")
    parser.add_argument("--soak", type=int, default=0, metavar="N", help="N requests at the end")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/serving"))
    parser.add_argument(
        "--markdown", type=Path, metavar="RESULTS", help="only print the tables of an earlier run"
    )
    arguments = parser.parse_args()
    if arguments.seconds is None:
        arguments.seconds = 1.0 if arguments.quick else _SECONDS
    if arguments.repeats is None:
        arguments.repeats = 1 if arguments.quick else _REPEATS
    if arguments.seconds <= 0 or arguments.repeats < 1 or arguments.soak < 0:
        parser.error("--seconds, --repeats and --soak take positive numbers")
    return arguments


def _measure(arguments: argparse.Namespace) -> dict[str, Any]:
    seed = arguments.seed
    installed = {name: peers.install(name, default_cache() / "peers") for name in arguments.peer}
    pictures = {
        name: photographs(size, count=_PICTURES[name], seed=seed) for name, size in SIZES.items()
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        backbone = make_backbone(arguments.arch, pictures["640x480"], seed=seed)
        head = make_head(backbone, seed=seed)
        model = folder / "plain.pt"
        model.write_bytes(plain_model(backbone, head, channels_last=arguments.peer_channels_last))
        bundle = publish_bundle(
            folder / "store", backbone, head, pictures["640x480"], precision=arguments.precision
        )
        bench = Bench(
            folder,
            arguments.out,
            store=folder / "store",
            pictures=pictures,
            seconds=arguments.seconds,
            seed=seed,
        )
        generator = check_generator(bench)
        rows: list[Row] = []
        settings = peers.settings(usable_cores())
        with LimitProcess(bundle.path, arguments.out / "limit.log") as limit:
            for number in range(arguments.repeats):
                for row in measure_service(
                    bench, limit, number, QUICK if arguments.quick else FULL
                ):
                    rows.append(_log_row(row))
                for name, (python, _) in installed.items():
                    for row in measure_peer(bench, number, name, python, model, settings):
                        rows.append(_log_row(row))
        steps = _soak(arguments, folder, bundle_store=folder / "store") if arguments.soak else []
    return {
        "about": _about(arguments),
        "pictures": {size: [len(data) for data in files] for size, files in pictures.items()},
        "generator": generator,
        "peers": {name: versions for name, (_, versions) in installed.items()},
        "rows": [asdict(row) for row in rows],
        "soak": steps,
    }


def _soak(
    arguments: argparse.Namespace, folder: Path, *, bundle_store: Path
) -> list[dict[str, Any]]:
    pictures = {
        "640x480": photographs(SIZES["640x480"], count=1, seed=arguments.seed),
        "mixed": mixed_sizes(count=_SOAK_PICTURES, seed=arguments.seed),
    }
    bench = Bench(
        folder,
        arguments.out,
        store=bundle_store,
        pictures=pictures,
        seconds=arguments.seconds,
        seed=arguments.seed,
    )
    with bench.service() as server:
        return soak(bench, server, bench.requests("mixed", 1), arguments.soak)


def _log_row(row: Row) -> Row:
    """Print the progress of the run to standard error; return the row."""
    print(
        f"round {row.round + 1}: {row.server} {row.setting} {row.size} x {row.pictures}, "
        f"{row.connections} connections, {row.load}: {row.rate:.1f} img/s, "
        f"p50 {row.p50_ms:.1f} ms, {row.bad} bad",
        file=sys.stderr,
        flush=True,
    )
    return row


def _about(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "arch": arguments.arch,
        "precision": arguments.precision,
        "seconds": arguments.seconds,
        "repeats": arguments.repeats,
        "seed": arguments.seed,
        "peer_channels_last": arguments.peer_channels_last,
        "cores": usable_cores(),
        "cpu": _cpu(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _stopped(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
