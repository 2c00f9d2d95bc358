"""Projects, their classes and their counts."""
