"""Progress of a run on a terminal, as lines, or as JSON events for a program."""
