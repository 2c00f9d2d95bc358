"""Subcommands of `python -m training`: one file each, and the options that they share."""
