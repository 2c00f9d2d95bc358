"""One run, opened from its options: input, model, plan and output."""

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models.bundle.files import MANIFEST as BUNDLE_MANIFEST
from models.bundle.files import parse_manifest, read_small
from models.bundle.store import current_version
from models.cpu import usable_cores
from scoring.inputs.entry import Input
from scoring.inputs.open import open_input
from scoring.job import score_shards
from scoring.output import Output
from scoring.plan import Options, Shard, cut

if TYPE_CHECKING:
    from scoring.scorer import ModelScorer


@dataclass(frozen=True)
class RunOptions:
    """Options of a run: input, output, model.

    Attributes:
        input: Path or URL of the pictures.
        output: Path or URL of the folder for shards.
        model: A bundle, or a store, whose current version is used.
        answers: Options of the answers.
        trusted_keys: Public keys of which one must have signed the bundle; empty for any.
    """

    input: str
    output: str
    model: Path
    answers: Options = field(default_factory=Options)
    trusted_keys: str = ""


@dataclass(frozen=True)
class Run:
    """An opened run. The model is loaded when the first shard is scored."""

    options: RunOptions
    source: Input
    output: Output
    bundle: Path
    model_sha256: str
    threads: int

    def plan(self) -> list[Shard]:
        """Return all shards of the input.

        Raises:
            BadInput: The input cannot be listed or holds no pictures.
        """
        return list(cut(self.source, self.options.answers, self.model_sha256))

    def score(
        self, shards: Iterable[Shard], *, progress: Callable[[int], object] = lambda done: None
    ) -> None:
        """Load the model and score shards on this process's threads.

        Args:
            shards: Shards to score.
            progress: Called with the number of inputs of each batch that is done.
        """
        with self.open_model() as scorer:
            self.score_with(scorer, shards, progress=progress)

    def open_model(self) -> "ModelScorer":
        """Load the model; the caller closes it."""
        from scoring.scorer import ModelScorer  # PyTorch takes a second to import

        return ModelScorer(
            self.bundle,
            self.model_sha256,
            self.options.answers,
            threads=self.threads,
            trusted_keys=self.options.trusted_keys,
        )

    def score_with(
        self,
        scorer: "ModelScorer",
        shards: Iterable[Shard],
        *,
        progress: Callable[[int], object] = lambda done: None,
    ) -> None:
        """Score shards with a model that is loaded already."""
        score_shards(
            self.source, shards, scorer, self.output, threads=self.threads, progress=progress
        )

    def facts(self, shards: Iterable[Shard]) -> dict[str, Any]:
        """Return the run's facts for the output's manifest."""
        manifest = parse_manifest(self.bundle, read_small(self.bundle / BUNDLE_MANIFEST))
        detector = manifest.familiarity
        return {
            "input": self.options.input,
            "inputs": sum(shard.inputs for shard in shards),
            "files_skipped": self.source.skipped,
            "model": {
                "version": manifest.version,
                "sha256": self.model_sha256,
                "labels": manifest.labels,
                "mean_score": manifest.scores.mean_score,
                "mean_distance": detector and detector.mean_distance,
                "unfamiliar_expected": detector and detector.false_alarms,
            },
        }


def open_run(options: RunOptions, *, threads: int = 0) -> Run:
    """Open the input, the output and the bundle's manifest, but not yet the model.

    Args:
        options: The run.
        threads: Batches at a time; 0 for the usable cores.

    Raises:
        BadInput, OutputUnusable, BundleError: One of them cannot be opened.
    """
    source = open_input(options.input)
    bundle = options.model
    if not (bundle / BUNDLE_MANIFEST).is_file():
        bundle = bundle / current_version(bundle)
    digest = hashlib.sha256(read_small(bundle / BUNDLE_MANIFEST)).hexdigest()
    output = Output(options.output, create=True)
    return Run(options, source, output, bundle, digest, threads or usable_cores())
