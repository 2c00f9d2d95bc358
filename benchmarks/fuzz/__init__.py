"""Broken, hostile and absurd pictures for a real service: `python -m benchmarks.fuzz`."""
