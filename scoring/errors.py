"""Errors that end a scoring run; a picture that cannot be read is a row instead."""

from models.errors import FacemaskError


class ScoringError(FacemaskError):
    """The run cannot go on.

    Attributes:
        exit_status: Exit status of the command.
    """

    exit_status = 1


class BadInput(ScoringError):
    """The input cannot be listed, holds no pictures, or names one twice."""

    exit_status = 3


class OutputTaken(ScoringError):
    """The output folder holds shards of another model, of other inputs or of other options."""

    exit_status = 4


class OutputUnusable(ScoringError):
    """The output folder cannot be written to or read."""

    exit_status = 6


class ShardsMissing(ScoringError):
    """The output has no manifest yet: some shards are still to be scored."""

    exit_status = 5
