"""Rendering of the report and the model card from their templates."""

import functools
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader
from sklearn.metrics import roc_auc_score

from models.bundle.report_policy import REPORT_POLICY
from models.text import percent, span
from training.audit.label_issues import MIN_POSTERIOR
from training.report import formats, narrative, plots, readings, sections, slices
from training.report.data import ReportData
from training.report.next_steps import next_steps
from training.summary import FinetuningSummary

_TEMPLATES: Final = Path(__file__).parent / "templates"


def render_report(data: ReportData) -> str:
    """Return the report as one HTML file that loads nothing, and runs one known script."""
    summary = data.summary
    images = sections.training_images(data)
    tests, albums = sections.tests(data)
    context = _shared(data) | {
        "audit": sections.audit(summary["audit"], images),
        "gallery": sections.gallery(images),
        "confusion": sections.confusion_matrix(images),
        "errors": sections.error_cases(data, images),
        "num_errors": len(data.errors),
        "label_issues": sections.label_issues(data, images),
        "decided": formats.json_rows(sections.decided_rows(data)),
        "num_decided": len(data.decided),
        "min_posterior": MIN_POSTERIOR,
        "policy": REPORT_POLICY,
        "tests": tests,
        "slices": slices.slice_tables(summary["slices"]),
        "max_interval_points": slices.MAX_INTERVAL_POINTS,
        "robustness": slices.robustness_card(summary["robustness"]),
        "plots": _plots(data),
        "read_as": _readings(data),
        "finetuning": _finetuning(summary["finetuning"]),
    }
    # Last: making the sections fills the albums.
    context["thumbnails"] = [
        thumbnail for album in (images.album, *albums) for thumbnail in album.thumbnails
    ]
    return _environment(html=True).get_template("report.html.j2").render(context)


def render_card(data: ReportData) -> str:
    """Return the model card in Markdown, with the headings of Mitchell et al. (2019)."""
    context = _shared(data) | {
        "num_errors": int((data.probabilities.argmax(axis=1) != data.classes).sum()),
        "tests": [
            (name, metrics, sections.class_metrics(metrics, data.labels))
            for name, metrics in data.summary["tests"].items()
        ],
        "robustness_sentence": (
            slices.robustness_sentence(robustness)
            if (robustness := data.summary["robustness"])
            else None
        ),
        "gaps": [
            (found["attribute"], slices.gap_sentence(found)) for found in data.summary["slices"]
        ],
    }
    return _environment(html=False).get_template("card.md.j2").render(context)


def _shared(data: ReportData) -> dict[str, Any]:
    summary = data.summary
    return {
        "labels": data.labels,
        "num_pictures": len(data.names),
        "num_label_issues": len(data.label_issues),
        "summary": summary,
        "metrics": summary["cross_validation"],
        "headline": narrative.headline(summary),
        "caveats": narrative.caveats(summary),
        "steps": next_steps(summary, len(data.label_issues)),
        "classes": sections.class_metrics(summary["cross_validation"], data.labels),
        "config": list(formats.flatten(summary["config"])),
        "backbone": list(formats.flatten(summary["backbone"])),
        "install": " ".join(
            f"{name}=={version}"
            for name, version in summary["packages"].items()
            if name != "python"
        ),
    }


def _plots(data: ReportData) -> dict[str, Any]:
    """Draw the plots; those that the pictures are too few for are missing."""
    probabilities, classes = data.probabilities, data.classes
    metrics = data.summary["cross_validation"]
    drawn: dict[str, Any] = {
        "histogram": plots.histogram(
            probabilities,
            classes,
            threshold=data.summary["decision"]["threshold"],
            name="histogram",
        ),
    }
    if readings.can_show_roc(metrics):
        hardest = plots.hardest_classes(probabilities, classes)
        drawn["roc"] = plots.roc(probabilities, classes, hardest, name="roc")
        drawn["roc_areas"] = [
            (data.labels[k], float(roc_auc_score(classes == k, probabilities[:, k])))
            for k in hardest
        ]
    weight = metrics["groups"] / metrics["pictures"]
    if bins := plots.merged_reliability(probabilities, classes, weight=weight):
        drawn["calibration"] = plots.calibration(
            bins, num_classes=len(data.labels), name="calibration"
        )
    curve = data.summary["learning_curve"]
    if readings.can_show_learning_curve(curve):
        drawn["learning"] = plots.learning_curve(curve, len(classes), name="learning")
    return drawn


def _readings(data: ReportData) -> dict[str, str]:
    """Return the sentence "Read this as" of each figure."""
    metrics, found = data.summary["cross_validation"], data.summary["decision"]
    return {
        "classes": readings.classes(metrics),
        "confusion": readings.confusion(metrics),
        "roc": readings.roc(metrics, data.labels),
        "scores": readings.scores(data.probabilities, data.classes, found["threshold"]),
        "calibration": readings.calibration(metrics),
        "decision": readings.decision(found, metrics),
        "learning": readings.learning(data.summary["learning_curve"]),
    }


def _finetuning(finetuning: FinetuningSummary | None) -> dict[str, Any] | None:
    if finetuning is None:
        return None
    rows = finetuning["epochs"]
    curves = {
        metric: plots.epochs(rows, metric, name=f"epochs-{metric}")
        for metric in ("loss", "accuracy")
        if any(row.get(f"{part}_{metric}") is not None for row in rows for part in ("train", "val"))
    }
    return {
        "verdict": finetuning["verdict"],
        "published": finetuning["published"],
        "curves": curves,
        "compared": [
            ("Head only", finetuning["head_only"]),
            ("Fine-tuned", finetuning["finetuned"]),
        ],
    }


@functools.cache
def _environment(*, html: bool) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=html,  # noqa: S701  `markdown_text` escapes the card
        finalize=formats.html_text if html else formats.markdown_text,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "percent": percent,
        "span": span,
        "score": formats.score,
        "number": formats.number,
        "plural": formats.plural,
        "listed": formats.listed,
        "breakable": formats.breakable,
        "details": formats.details,
        "fenced": formats.fenced,
    }
    return environment
