"""Errors of batching, raised by `Batcher.submit` and passed on by the engine."""


class BatcherClosed(Exception):
    """Items were submitted to a batcher that is closed, or waited when it was closed."""


class BatchFailed(Exception):
    """A lane failed while it prepared an item, or ran the batch of an item."""


class DeadlineExceeded(Exception):
    """The deadline passed before the item was run."""
