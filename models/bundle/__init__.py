"""A published model: its files, its proof, its store."""
