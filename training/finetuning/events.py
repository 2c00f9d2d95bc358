"""Curves as TensorBoard event files: `tensorboard --logdir FOLDER` draws them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from training.errors import OutputError

EVENTS: Final = "events"
_TAGS: Final = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "val_loss_calibrated": "loss/validation_calibrated",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "lr": "learning_rate",
}


class Events:
    """Writes one point an epoch and curve.

    What an earlier run left in the folder is replaced, history included, so that a resumed
    run's curves have each epoch once.
    """

    def __init__(self, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        """Start the file, with the epochs that a resumed run has behind it.

        Raises:
            OutputError: The folder cannot be written.
        """
        from tensorboardX import SummaryWriter  # over a second to load, and only needed here

        self._folder = folder / EVENTS
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for old in self._folder.glob("events.out.tfevents.*"):
                old.unlink()
            self._writer: Any = SummaryWriter(str(self._folder))
        except OSError as error:
            raise OutputError(f"{self._folder} cannot be written ({error.strerror}).") from error
        for row in history:
            self.add(row)

    def add(self, row: Mapping[str, Any]) -> None:
        """Write one epoch."""
        for name, tag in _TAGS.items():
            self._writer.add_scalar(tag, row[name], row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()
