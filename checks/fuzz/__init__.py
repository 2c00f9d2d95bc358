"""Broken, hostile and absurd pictures for a real service: `python -m checks.fuzz`."""
