"""Figure of throughput and latency over connections."""

from pathlib import Path
from typing import Any

from benchmarks.serving.figures import Spread
from benchmarks.serving.report import best, chosen, limit_of
from benchmarks.serving.rows import SERVICE, Row


def draw(results: dict[str, Any], path: Path) -> None:
    """Write the figure in the format of the path's ending."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    rows = [Row(**row) for row in results["rows"]]
    sizes = list(dict.fromkeys(row.size for row in rows))
    figure, axes = pyplot.subplots(1, len(sizes) + 1, figsize=(5 * (len(sizes) + 1), 4))
    for size, axis in zip(sizes, axes, strict=False):
        single = chosen(rows, size=size, pictures=1, load="closed")
        limit = Spread.of(limit_of(rows, size, 1))
        axis.axhline(limit.median, color="black", linestyle=":", label="in-process limit")
        axis.axhspan(limit.low, limit.high, color="black", alpha=0.1)
        for server in (SERVICE, *results["peers"]):
            _line(axis, chosen(single, server=server), server)
        axis.set(title=f"{size}, one picture a request", ylabel="pictures a second")
    axis = axes[-1]
    served = chosen(rows, server=SERVICE, size=sizes[0], pictures=1, load="closed")
    counts = sorted({row.connections for row in served})
    for name in ("p50_ms", "p95_ms", "p99_ms"):
        middle = [
            Spread.of([getattr(row, name) for row in chosen(served, connections=count)]).median
            for count in counts
        ]
        axis.plot(counts, middle, marker="o", label=name.removesuffix("_ms"))
    axis.set(title=f"service, {sizes[0]}", ylabel="milliseconds", yscale="log")
    for axis in axes:
        axis.set(xlabel="connections", xscale="log")
        axis.set_xticks(counts, [str(count) for count in counts], minor=False)
        axis.minorticks_off()
        axis.legend()
    for axis in axes[:-1]:
        axis.set_ylim(bottom=0)
    about = results["about"]
    figure.suptitle(f"{about['arch']}, {about['precision']}; {about['cores']} cores")
    figure.tight_layout()
    figure.savefig(path)
    pyplot.close(figure)


def _line(axis: Any, rows: list[Row], name: str) -> None:
    counts = sorted({row.connections for row in rows})
    spreads = [Spread.of(best(chosen(rows, connections=count))) for count in counts]
    middle = [spread.median for spread in spreads]
    below = [spread.median - spread.low for spread in spreads]
    above = [spread.high - spread.median for spread in spreads]
    axis.errorbar(counts, middle, yerr=[below, above], marker="o", capsize=3, label=name)
