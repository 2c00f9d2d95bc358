"""From material to the page and the card: contexts, templates, and what may be printed."""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup
from sklearn.metrics import roc_auc_score

from training.report import narrative, plots, sections, slices
from training.report.data import Material

_TEMPLATES: Final = Path(__file__).parent / "templates"
_LONGEST_DETAIL: Final = 400  # characters of one detail of a finding


def render_report(material: Material) -> str:
    """The report as one HTML file that loads nothing and runs no script.

    Args:
        material: What to show. Any key of its summary may be missing or None; what would have
            shown it is then left out:
            `labels`, `headline` (instead of the composed one), `dataset` {fingerprint, pictures
            {label: n}, groups, skipped, corrected, left_out}, `audit` [{level, kind, message,
            names, details}], `cross_validation` and `naive_split` (`summarise`),
            `calibration`, `decision`, `learning_curve` (their `as_dict()`), `slices`
            (`by_slice`), `tests` {name: `figures`}, `robustness`
            (`measure_robustness`), `backbone`, `config`, `packages`, `command`,
            `seconds` {step: s}, `precision` {verdict}, `finetuning` {epochs, verdict, head_only,
            finetuned}.
    """
    summary = material.summary
    judged = sections.judgement_of(material)
    tests, albums = sections.tests(material)
    context = _shared(material) | {
        "steps": narrative.next_steps(summary, len(material.suspects)),
        "audit": sections.audit(summary.get("audit") or [], judged),
        "gallery": sections.gallery(judged),
        "confusion": sections.confusion(judged, prefix="cell-") if len(judged.names) else None,
        "errors": sections.misjudged(material, judged),
        "errors_in_all": len(material.errors),
        "suspects": sections.suspects(material, judged),
        "suspects_in_all": len(material.suspects),
        "tests": tests,
        "slices": slices.slices(summary.get("slices")),
        "too_wide": slices.WIDE_POINTS,
        "robustness": slices.robustness(summary.get("robustness")),
        "plots": _plots(material),
        "finetuning": _finetuning(summary.get("finetuning"), material),
    }
    # Last, for the albums fill up as the sections are made.
    context["thumbnails"] = [
        thumbnail for album in (judged.album, *albums) for thumbnail in album.thumbnails
    ]
    return _environment(html=True).get_template("report.html.j2").render(context)


def render_card(material: Material) -> str:
    """The model card in Markdown, with the headings of Mitchell et al. (2019).

    Args:
        material: As for `render_report`; no picture is read.
    """
    wrong = material.probabilities.argmax(axis=1) != material.classes if material.names else []
    context = _shared(material) | {
        "steps": narrative.next_steps(material.summary, len(material.suspects)),
        "wrong": int(np.sum(wrong)),
        "suspects_in_all": len(material.suspects),
        "tests": [
            (name, figures, sections.per_class(figures, material.labels))
            for name, figures in (material.summary.get("tests") or {}).items()
            if figures
        ],
    }
    return _environment(html=False).get_template("card.md.j2").render(context)


def _shared(material: Material) -> dict[str, Any]:
    summary = material.summary | {"labels": list(material.labels)}
    figures = summary.get("cross_validation") or {}
    return {
        "labels": material.labels,
        "pictures": len(material.names),
        "summary": {key: value for key, value in summary.items() if value is not None},
        "figures": figures,
        "headline": summary.get("headline") or narrative.headline(summary),
        "caveats": narrative.caveats(summary),
        "robust": slices.robustness_sentence(robust)
        if (robust := summary.get("robustness"))
        else "",
        "gaps": [
            (found["attribute"], slices.gap_sentence(found))
            for found in summary.get("slices") or []
        ],
        "classes": sections.per_class(figures, material.labels),
        "config": list(_flat(summary.get("config") or {})),
        "backbone": list(_flat(summary.get("backbone") or {})),
        "install": " ".join(
            f"{name}=={version}"
            for name, version in (summary.get("packages") or {}).items()
            if name != "python"
        ),
    }


def _plots(material: Material) -> dict[str, Any]:
    """Each plot as SVG with what its legend needs; those that cannot be drawn are missing."""
    probabilities, classes, labels = material.probabilities, material.classes, material.labels
    drawn: dict[str, Any] = {}
    if len(np.unique(classes)) > 1:
        chosen = plots.hardest(probabilities, classes)
        drawn["roc"] = {
            "svg": plots.roc(probabilities, classes, chosen, name="roc"),
            "series": [
                (labels[k], float(roc_auc_score(classes == k, probabilities[:, k]))) for k in chosen
            ],
        }
    if len(classes):
        threshold = (material.summary.get("decision") or {}).get("threshold")
        drawn["calibration"] = plots.calibration(probabilities, classes, name="calibration")
        drawn["histogram"] = plots.histogram(
            probabilities, classes, threshold=threshold, name="histogram"
        )
    curve = material.summary.get("learning_curve") or {}
    if curve.get("points"):
        drawn["learning"] = plots.learning(curve, len(classes), name="learning")
    return drawn


def _finetuning(found: Mapping[str, Any] | None, material: Material) -> dict[str, Any] | None:
    if not found:
        return None
    rows = found.get("epochs") or []
    curves = {
        what: plots.epochs(rows, what, name=f"epochs-{what}")
        for what in ("loss", "accuracy")
        if any(row.get(f"{part}_{what}") is not None for row in rows for part in ("train", "val"))
    }
    compared = [
        (title, found[key])
        for key, title in (("head_only", "Head only"), ("finetuned", "Fine-tuned"))
        if found.get(key)
    ]
    return {"verdict": found.get("verdict"), "curves": curves, "compared": compared}


def _flat(mapping: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Nested settings as (dotted name, value) rows."""
    for key, value in mapping.items():
        name = f"{before}{key}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.")
        elif isinstance(value, list | tuple):
            yield name, ", ".join(_plain(item) for item in value)
        else:
            yield name, _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _details(mapping: Any) -> list[tuple[str, str]]:
    """A finding's details as rows that stay readable."""
    rows = _flat(mapping) if isinstance(mapping, Mapping) else [("", _plain(mapping))]
    return [
        (key, text if len(text) <= _LONGEST_DETAIL else f"{text[:_LONGEST_DETAIL]}…")
        for key, text in rows
    ]


def _breakable(name: str) -> Markup:
    """A file name that a line may break behind its folders."""
    return Markup("/<wbr>").join(narrative.clean(name).split("/"))  # the parts are escaped


def _printable(value: Any) -> Any:
    """What an expression prints: text that can be encoded, and markup as it is."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return narrative.clean(value)
    return value


def _markdown(value: Any) -> Any:
    """Text that Markdown shows as it is, on one line; markup as it is."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    text = re.sub(r"[\n\t\u2028\u2029]+", " ", narrative.clean(value))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([\\`*\[\]|~$])", r"\\\1", text)
    # An underscore inside a word is no emphasis: no_mask stays readable.
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", r"\_", text)


def _fenced(value: str) -> Markup:
    """A block of code, whatever backticks are in it."""
    text = narrative.clean(value).strip("\n")
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return Markup(f"{fence}\n{text}\n{fence}")  # noqa: S704  Markdown, which knows no autoescape


@functools.cache
def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=html,  # noqa: S701  `_markdown` escapes the card
        finalize=_printable if html else _markdown,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": narrative.percent,
        "span": narrative.span,
        "number": narrative.number,
        "plural": narrative.plural,
        "listed": narrative.listed,
        "breakable": _breakable,
        "details": _details,
        "fenced": _fenced,
        "json": lambda value: json.dumps(value, ensure_ascii=False, default=str),
    }
    return environment
