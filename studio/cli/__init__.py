"""Command line of the studio."""
