"""Extraction of features on many machines, shard by shard, as `python -m scoring` does."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.cpu import usable_cores
from scoring.inputs.entry import Input
from scoring.inputs.open import open_input
from scoring.job import score_shards
from scoring.output import Output
from scoring.plan import Options, Shard, cut
from training.backbones.registry import load_backbone
from training.data.progress import SILENT, Progress
from training.errors import BadFeatures
from training.features.extract import Extractor
from training.features.shards import FeatureRows, digest_of, extractor_facts


@dataclass(frozen=True)
class ExtractOptions:
    """Options of an extraction.

    Attributes:
        input: Path or URL of the pictures.
        output: Path or URL of the folder for shards.
        backbone: Name of the backbone.
        weights: Local weights for it.
        shard_size: Max pictures per shard.
        key: Key that the extractor must have, on the machines of a cluster; empty for any.
    """

    input: str
    output: str
    backbone: str
    weights: Path | None = None
    shard_size: int = Options.shard_size
    key: str = ""


@dataclass(frozen=True)
class Extraction:
    """An opened extraction."""

    options: ExtractOptions
    source: Input
    output: Output
    extractor: Extractor
    threads: int

    def plan(self) -> list[Shard]:
        """Return all shards of the input.

        Raises:
            BadInput: The input cannot be listed or holds no pictures.
        """
        options = Options(shard_size=self.options.shard_size)
        return list(cut(self.source, options, digest_of(self.extractor)))

    def open_model(self) -> FeatureRows:
        """Return the worker that turns pictures into rows."""
        return FeatureRows(self.extractor)

    def score_with(
        self,
        worker: FeatureRows,
        shards: Iterable[Shard],
        *,
        progress: Callable[[int], object] = lambda done: None,
    ) -> None:
        """Extract shards on this process's threads."""
        score_shards(
            self.source, shards, worker, self.output, threads=self.threads, progress=progress
        )


def open_extraction(options: ExtractOptions, *, threads: int = 0) -> Extraction:
    """Open the input and the output, and load the backbone.

    Args:
        options: The extraction.
        threads: Batches at a time; 0 for the usable cores.

    Raises:
        BadInput, OutputUnusable, BackboneError: One of them cannot be opened.
        BadFeatures: This machine computes other last digits than the first one of the run.
    """
    source, output = open_input(options.input), Output(options.output, create=True)
    extractor = Extractor(load_backbone(options.backbone, weights=options.weights))
    if options.key not in ("", extractor.key):
        raise BadFeatures(
            f"This machine has {' with '.join(extractor.versions)}, and another planned the "
            "run: install the same PyTorch, and set ATEN_CPU_CAPABILITY=avx2 on all of them."
        )
    return Extraction(options, source, output, extractor, threads or usable_cores())


def extract_shards(
    options: ExtractOptions,
    *,
    threads: int = 0,
    task: tuple[int, int] | None = None,
    ray: str | None = None,
    replace_others: bool = False,
    progress: Progress = SILENT,
) -> str:
    """Extract the shards that are missing, and return a sentence on the outcome.

    Args:
        options: The extraction.
        threads: Batches at a time; 0 for the usable cores.
        task: (I, N) for every N-th shard from the I-th on; None for all.
        ray: Address of a Ray cluster, or `local`; None for this process.
        replace_others: Remove shards of other extractions at the end.
        progress: Advanced per batch.

    Raises:
        ScoringError, BackboneError: As `open_extraction`; or the output holds another extraction.
    """
    run = open_extraction(options, threads=threads)
    shards = run.plan()
    names = [shard.name for shard in shards]
    run.output.require_own(names, replace=replace_others)
    total = sum(shard.inputs for shard in shards)
    there = run.output.shards()
    missing = [shard for shard in shards if shard.name not in there]
    progress.advance(total - sum(shard.inputs for shard in missing), total)
    if task is not None:
        missing = [shard for shard in missing if shard.index % task[1] == task[0]]
    if missing:
        _extract(run, missing, ray, lambda done: progress.advance(done, total))
    left = len(shards) - len(run.output.shards().intersection(names))
    if left:
        return f"{left} of {len(shards)} shards are left to other tasks."
    facts: dict[str, Any] = {
        "input": options.input,
        "inputs": total,
        "files_skipped": run.source.skipped,
        "extractor": extractor_facts(run.extractor),
    }
    run.output.complete(names, facts)
    return _outcome(run, names, total)


def _extract(
    run: Extraction, shards: Sequence[Shard], ray: str | None, progress: Callable[[int], object]
) -> None:
    if ray is None:
        run.score_with(run.open_model(), shards, progress=progress)
        return
    from scoring.ray_runner import score_on_ray

    options = replace(run.options, key=run.extractor.key)
    score_on_ray(ray, options, shards, opener=open_extraction, progress=progress)


def _outcome(run: Extraction, names: Sequence[str], total: int) -> str:
    """Return a sentence on a complete extraction."""
    tables = [run.output.read_shard(name, ["error"]) for name in names]
    errors = sum(len(table) - table["error"].null_count for table in tables)
    return (
        f"{total - errors:,} of {total:,} pictures have {run.extractor.width} features each, in "
        f"{len(names):,} shards" + (f"; {errors:,} cannot be read." if errors else ".")
    )
