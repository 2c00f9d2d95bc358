"""Results as Markdown tables."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks.serving.figures import Spread, ratio
from benchmarks.serving.rows import LIMIT, SERVICE, Row

Rows = Sequence[Row]


def markdown(results: dict[str, Any]) -> str:
    """Return all tables of one run's results."""
    rows = [Row(**row) for row in results["rows"]]
    lines = [*_about(results), *_limit(rows), *_service(rows), *_targets(rows)]
    lines += [*_peers(rows, results["peers"]), *_soak(results["soak"])]
    return "\n".join(lines) + "\n"


def rounds(rows: Rows) -> list[int]:
    return sorted({row.round for row in rows})


def best(rows: Rows) -> list[float]:
    """Return the highest rate of each round."""
    return [max(row.rate for row in rows if row.round == number) for number in rounds(rows)]


def chosen(rows: Rows, **wanted: Any) -> list[Row]:
    """Return the rows whose fields have these values."""
    return [
        row for row in rows if all(getattr(row, name) == value for name, value in wanted.items())
    ]


def limit_of(rows: Rows, size: str, pictures: int) -> list[float]:
    """Return the rate of the better arrangement of each round."""
    found = chosen(rows, server=LIMIT, size=size, pictures=pictures)
    return best([row for row in found if row.setting != "alone"])


def _spread(rows: Rows, value: Callable[[Row], float], digits: int = 1) -> str:
    return Spread.of([value(row) for row in rows]).text(digits)


def _groups(rows: Rows, server: str) -> Iterator[list[Row]]:
    """Yield the rows of the same window over the rounds, in the order measured."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        if row.server == server:
            key = (row.setting, row.size, row.pictures, row.connections, row.load)
            groups.setdefault(key, []).append(row)
    yield from groups.values()


def _about(results: dict[str, Any]) -> list[str]:
    about = results["about"]
    lines = [
        f"{about['arch']}, {about['precision']}; {about['cores']} cores ({about['cpu']}), "
        f"PyTorch {about['torch']}; {about['repeats']} rounds, windows of {about['seconds']:g} s. "
        "Median of the rounds, lowest and highest in brackets.",
        "",
        "| pictures | files | kB a file |",
        "|---|---|---|",
    ]
    for size, bytes_each in results["pictures"].items():
        low, high = min(bytes_each) / 1000, max(bytes_each) / 1000
        lines.append(f"| {size} | {len(bytes_each)} | {low:.0f} to {high:.0f} |")
    lines += [
        "",
        "| the load generator against a server that does nothing | requests/s | CPU ms a request |",
        "|---|---|---|",
    ]
    for check in results["generator"]:
        lines.append(f"| {check['size']} | {check['rate']:.0f} | {check['cpu_ms']:.3f} |")
    return lines


def _limit(rows: Rows) -> list[str]:
    lines = ["", "| in process, no HTTP | pictures | img/s | p50 ms a batch |", "|---|---|---|---|"]
    for group in _groups([row for row in rows if row.pictures == 1], LIMIT):
        first = group[0]
        lines.append(
            f"| {first.setting} | {first.size} | {_spread(group, lambda row: row.rate)} "
            f"| {_spread(group, lambda row: row.p50_ms)} |"
        )
    return lines


def _service(rows: Rows) -> list[str]:
    lines = [
        "",
        "| pictures | a request | connections | load | img/s | of the limit | p50 ms | p95 ms "
        "| p99 ms | CPU ms a picture, service | generator | resident MB | refused | bad |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for group in _groups(rows, SERVICE):
        first = group[0]
        share = ratio([row.rate for row in group], limit_of(rows, first.size, first.pictures))
        lines.append(
            f"| {first.size} | {first.pictures} | {first.connections or '-'} | {first.load} "
            f"| {_spread(group, lambda row: row.rate)} | {share.text(3)} "
            f"| {_spread(group, lambda row: row.p50_ms)} "
            f"| {_spread(group, lambda row: row.p95_ms)} "
            f"| {_spread(group, lambda row: row.p99_ms)} "
            f"| {_spread(group, lambda row: row.server_ms)} "
            f"| {_spread(group, lambda row: row.generator_ms, 2)} "
            f"| {_spread(group, lambda row: row.resident_mb, 0)} "
            f"| {sum(row.refused for row in group)} | {sum(row.bad for row in group)} |"
        )
    return lines


def _targets(rows: Rows) -> list[str]:
    """Return figures that are computed from the tables."""
    small = chosen(rows, size="640x480", pictures=1)
    served = chosen(small, server=SERVICE)
    alone = chosen(small, server=LIMIT, setting="alone")
    one = chosen(served, connections=1, load="closed")
    closed = chosen(served, load="closed")
    lines = ["", "| figure | value |", "|---|---|"]

    def add(name: str, values: Sequence[float], digits: int) -> None:
        lines.append(f"| {name} | {Spread.of(values).text(digits)} |")

    add("start of the process to first correct answer, s", [row.first_answer_s for row in one], 2)
    above = [row.p50_ms - limit.p50_ms for row, limit in zip(one, alone, strict=True)]
    add("p50 at one connection above decode + forward, ms", above, 2)
    busy = chosen(served, load="open 90%")
    add(
        "p99 at 90 % of capacity, open loop, over p50 at one connection",
        [row.p99_ms / single.p50_ms for row, single in zip(busy, one, strict=True)],
        2,
    )
    for load in ("overload", "overload, no pause"):
        full = chosen(served, load=load)
        add(
            f"{load}: goodput over capacity",
            [row.rate / top for row, top in zip(full, best(closed), strict=True)],
            3,
        )
        add(f"{load}: p50 to a refusal, ms", [row.refusal_p50_ms for row in full], 1)
        add(f"{load}: p99 to a refusal, ms", [row.refusal_p99_ms for row in full], 1)
    last = [chosen(chosen(rows, server=SERVICE, load="closed"), round=n)[-1] for n in rounds(rows)]
    add("resident after all windows, MB", [row.resident_mb for row in last], 0)
    return lines


def _peers(rows: Rows, versions: dict[str, dict[str, str]]) -> list[str]:
    lines: list[str] = []
    for name, packages in versions.items():
        shown = ", ".join(f"{package} {version}" for package, version in packages.items())
        lines += ["", f"{name}: {shown}", ""]
        lines += [
            "| pictures | processes x threads | connections | img/s | p50 ms | p99 ms "
            "| CPU ms a picture | resident MB | first answer s | bad |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        for group in _groups(rows, name):
            first = group[0]
            lines.append(
                f"| {first.size} | {first.setting} | {first.connections} "
                f"| {_spread(group, lambda row: row.rate)} "
                f"| {_spread(group, lambda row: row.p50_ms)} "
                f"| {_spread(group, lambda row: row.p99_ms)} "
                f"| {_spread(group, lambda row: row.server_ms)} "
                f"| {_spread(group, lambda row: row.resident_mb, 0)} "
                f"| {_spread(group, lambda row: row.first_answer_s)} "
                f"| {sum(row.bad + row.refused for row in group)} |"
            )
    if versions:
        lines += [
            "",
            "| pictures | service, best img/s, over | best img/s | ratio |",
            "|---|---|---|---|",
        ]
        for size in dict.fromkeys(row.size for row in rows):
            ours = best(chosen(rows, server=SERVICE, size=size, pictures=1, load="closed"))
            for name in versions:
                theirs = best(chosen(rows, server=name, size=size))
                lines.append(
                    f"| {size} | {name} | {Spread.of(theirs).text()} "
                    f"| {ratio(ours, theirs).text(2)} |"
                )
    return lines


def _soak(steps: Sequence[dict[str, Any]]) -> list[str]:
    if not steps:
        return []
    lines = [
        "",
        "| requests of varied sizes | answered | resident MB | growth |",
        "|---|---|---|---|",
    ]
    first = steps[0]["resident_mb"]
    for step in steps:
        lines.append(
            f"| {step['requests']} | {step['answered']} | {step['resident_mb']:.0f} "
            f"| {step['resident_mb'] / first - 1:+.1%} |"
        )
    return lines
