"""TensorBoard event files of a fine-tuning run; `tensorboard --logdir FOLDER` shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from training.errors import OutputError

EVENTS_FOLDER: Final = "events"
_TAGS: Final = {
    "train_loss": "loss/train",
    "val_loss": "loss/validation",
    "val_loss_calibrated": "loss/validation_calibrated",
    "train_accuracy": "accuracy/train",
    "val_accuracy": "accuracy/validation",
    "lr": "learning_rate",
}


class EventWriter:
    """Writer of one point per epoch and metric.

    Files of an earlier run in the folder are replaced, history included, so that the curves of a
    resumed run have each epoch once.
    """

    def __init__(self, folder: Path, history: Sequence[Mapping[str, Any]]) -> None:
        """Create the file, and write the epochs before a resume.

        Raises:
            OutputError: The folder cannot be written.
        """
        from tensorboardX import SummaryWriter  # takes over a second to load

        self._folder = folder / EVENTS_FOLDER
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
        """Write the metrics of one epoch."""
        for name, tag in _TAGS.items():
            self._writer.add_scalar(tag, row[name], row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Close the file."""
        self._writer.close()
