"""Shows that broken and hostile images do no harm: `python -m checks.fuzz`."""
