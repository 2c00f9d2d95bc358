"""Runs: figures of finished trainings, and their comparison picture by picture."""
