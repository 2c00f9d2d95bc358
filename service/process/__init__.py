"""Operating system processes: supervision, shutdown, background threads."""
