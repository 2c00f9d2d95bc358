"""Report page and model card of a run.

    ReportData -> render_report -> report.html     one file: no network, one known script
               -> render_card   -> model_card.md

Both are pure: equal data gives equal bytes, and nothing but the pictures is read.
"""

from training.report.data import ReportData
from training.report.render import render_card, render_report

__all__ = ["ReportData", "render_card", "render_report"]
