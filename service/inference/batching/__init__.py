"""Queue of an engine: batches from the pictures of all callers, and the delivery of the answers."""
