"""Tests: the folders mirror the product's."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WAIT_S = 120.0
"""Max seconds that a test waits for a state. It only bounds a hang: a loaded machine is slow."""
