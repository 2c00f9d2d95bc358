"""Training and audit as jobs: one queue, one subprocess at a time."""
