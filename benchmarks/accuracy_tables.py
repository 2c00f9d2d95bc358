"""Tables and plot of `benchmarks.accuracy`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

Results = Mapping[str, Mapping[str, Any]]

# Key of a figure, heading, format; a column that no row has a figure for is left out.
_COLUMNS: Final = (
    ("pictures", "pictures", "{}"),
    ("balanced_accuracy", "balanced accuracy", "{:.1%}"),
    ("balanced_accuracy_interval_95", "95 % interval", "{0[0]:.1%} to {0[1]:.1%}"),
    ("calibration_error", "expected calibration error", "{:.3f}"),
    ("log_loss", "log loss", "{:.3f}"),
    ("brier", "Brier score", "{:.3f}"),
    ("answered", "coverage", "{:.1%}"),
    ("answered_accuracy", "accuracy of those", "{:.1%}"),
    ("risk_coverage_area", "area under risk-coverage curve", "{:.4f}"),
    ("unfamiliar", "out-of-distribution", "{:.1%}"),
)


def tables(results: Results) -> str:
    """Return all in Markdown: a row per setting and folder, then slices, then other pictures."""
    rows = [
        (setting, name, row)
        for setting, result in results.items()
        for name, row in result["sets"].items()
    ]
    columns = [column for column in _COLUMNS if any(column[0] in row for _, _, row in rows)]
    lines = list(
        _table(
            ["setting", "tested on", *(heading for _, heading, _ in columns)],
            [
                [setting, _short(name), *(_cell(row.get(key), form) for key, _, form in columns)]
                for setting, name, row in rows
            ],
        )
    )
    lines += ["", *_slices(results), *_others(results)]
    for setting, result in results.items():
        lines.append(
            f"{setting}: {result['precision']}, trained in {result['training_s']:.1f} s, "
            f"C = {result['penalty']:g}."
        )
    return "\n".join(lines)


def _slices(results: Results) -> Iterator[str]:
    """Yield the table of errors by slice, settings side by side; their sets are the same."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for setting, result in results.items():
        for name, row in result["sets"].items():
            for found in row["slices"]:
                for part in found["slices"]:
                    wrong = part["pictures"] - part["right"]
                    low, high = part["accuracy_interval_95"]
                    shown = f"{wrong} of {part['pictures']} ({1 - high:.0%} to {1 - low:.0%})"
                    cells.setdefault((name, part["name"]), {})[setting] = shown
    if cells:
        yield from _table(
            ["tested on", "slice", *(f"wrong: {setting}" for setting in results)],
            [
                [_short(key[0]), key[1], *(of.get(setting, "") for setting in results)]
                for key, of in cells.items()
            ],
        )
        yield ""


def _others(results: Results) -> Iterator[str]:
    """Yield the table of the shares of each decision on pictures of no class."""
    rows = [
        [
            setting,
            _short(name),
            str(found["pictures"]),
            ", ".join(f"{word} {share:.1%}" for word, share in found["decisions"].items()),
            _cell(found["unfamiliar"], "{:.1%}"),
        ]
        for setting, result in results.items()
        for name, found in result["others"].items()
    ]
    if rows:
        yield from _table(["setting", "other pictures", "pictures", "decision", "unfamiliar"], rows)
        yield ""


def _table(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _cell(value: Any, form: str) -> str:
    return "" if value is None else form.format(value)


def plot(results: Results, path: Path) -> None:
    """Plot the balanced accuracy of every setting on every folder, with its interval."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    names = list(next(iter(results.values()))["sets"])
    figure, axis = pyplot.subplots(figsize=(8, 1.5 + 0.28 * len(names) * len(results)))
    height = 0.8 / len(results)
    for number, (setting, result) in enumerate(results.items()):
        shares = [100 * result["sets"][name]["balanced_accuracy"] for name in names]
        ends = [result["sets"][name]["balanced_accuracy_interval_95"] for name in names]
        low = [share - 100 * end[0] for share, end in zip(shares, ends, strict=True)]
        high = [100 * end[1] - share for share, end in zip(shares, ends, strict=True)]
        levels = [index + (number + 0.5) * height - 0.4 for index in range(len(names))]
        # A share of 1 has an interval that ends below it.
        bars = [[max(0.0, value) for value in side] for side in (low, high)]
        axis.errorbar(shares, levels, xerr=bars, fmt="o", capsize=3, label=setting)
    axis.set_yticks(range(len(names)), [_short(name) for name in names])
    axis.invert_yaxis()
    axis.set(xlabel="balanced accuracy, %, with 95 % interval")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25 / len(names) - 0.12))
    figure.savefig(path, bbox_inches="tight")
    pyplot.close(figure)


def _short(test: str) -> str:
    """Return a folder's name without the folders above it."""
    label, equals, path = test.partition("=")
    return f"{Path(path).name} ({label})" if equals else Path(test).name
