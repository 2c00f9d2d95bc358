"""Sums of a complete output: decisions, errors, and drift against the model's own figures."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from models.text import percent
from scoring.output import Output

_COLUMNS = ("decision", "error_code", "score", "familiar", "distance")


@dataclass(frozen=True)
class Totals:
    """Sums over all rows.

    Attributes:
        inputs: Number of rows.
        decisions: Number of rows per decision.
        errors: Number of rows without an answer, per error code.
        mean_score: Mean score of the answers; None without any.
        mean_distance: Mean distance to the training pictures; None without any.
    """

    inputs: int
    decisions: Counter[str]
    errors: Counter[str]
    mean_score: float | None
    mean_distance: float | None


def total(output: Output, shards: list[str]) -> Totals:
    """Add up the rows of some shards.

    Raises:
        OutputUnusable: A shard cannot be read.
    """
    inputs = 0
    decisions: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    sums = {"score": 0.0, "distance": 0.0}
    counts = {"score": 0, "distance": 0}
    for name in shards:
        table = output.read_shard(name, _COLUMNS)
        inputs += len(table)
        decisions.update(value for value in table["decision"].to_pylist() if value is not None)
        errors.update(value for value in table["error_code"].to_pylist() if value is not None)
        for column in sums:
            sums[column] += pc.sum(table[column]).as_py() or 0.0
            counts[column] += len(table) - table[column].null_count
    means = {name: sums[name] / counts[name] if counts[name] else None for name in sums}
    return Totals(inputs, decisions, errors, means["score"], means["distance"])


def describe(totals: Totals, facts: dict[str, Any]) -> list[str]:
    """Return lines with the totals, beside the figures of the model's training.

    Args:
        totals: Sums over the scored rows.
        facts: The output's manifest, whose `model` has the figures of its training.
    """
    model = facts["model"]
    lines = [f"{totals.inputs:,} inputs, scored with {model['version']}"]
    for decision, count in sorted(totals.decisions.items()):
        lines.append(f"  {decision:<20}{count:>12,}  {count / totals.inputs:7.1%}")
    for code, count in sorted(totals.errors.items()):
        lines.append(f"  error {code:<14}{count:>12,}  {count / totals.inputs:7.1%}")
    for name, found, trained in (
        ("mean score", totals.mean_score, model["mean_score"]),
        ("mean distance", totals.mean_distance, model["mean_distance"]),
    ):
        if found is not None:
            beside = "" if trained is None else f", {trained:.4f} in cross-validation"
            lines.append(f"{name} {found:.4f}{beside}")
    if model["unfamiliar_expected"] is not None and totals.decisions:
        expected = model["unfamiliar_expected"]
        found_share = totals.decisions["unfamiliar"] / totals.decisions.total()
        lines.append(
            f"unfamiliar {percent(found_share)}, {percent(expected)} of pictures as in training"
        )
    return lines
