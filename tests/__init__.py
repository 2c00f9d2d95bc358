"""Tests: the folders mirror the product's."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
