"""The page a person reads after a run, and the model card.

    Material -> render_report -> report.html     one file: no network, no script
             -> render_card   -> model_card.md

Both are pure: the same material gives the same bytes, and nothing is read but its pictures.
"""

from training.report.data import ErrorCase, Material, SuspectCase, TestCase
from training.report.render import render_card, render_report

__all__ = ["ErrorCase", "Material", "SuspectCase", "TestCase", "render_card", "render_report"]
