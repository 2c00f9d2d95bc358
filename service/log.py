"""The service's log."""

import logging


def configure_logging() -> None:
    """Log to standard error, one line an event."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
