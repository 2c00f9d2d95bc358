"""Errors of the training job, and the exit status of each.

FacemaskError
└── TrainingError            exit 1
    ├── DataError            exit 3: the pictures must change
    │   ├── NoSuchData       the folder or zip does not exist, or is neither
    │   ├── BadLayout        the folders are not classes, or their names cannot be labels
    │   ├── TooFewClasses    fewer than two classes with pictures
    │   ├── TooFewPictures   a class has fewer pictures than training needs
    │   ├── UnreadableData   --strict, and a picture is unreadable
    │   ├── ChangedData      a picture changed while the run used it
    │   └── BadTable         a table beside the data is not as documented
    ├── BackboneError        exit 4: another backbone or weights file is needed
    │   ├── UnknownBackbone  no entry of that name
    │   ├── NoWeights        the weights cannot be obtained here
    │   └── BadWeights       the weights file does not fit
    ├── SampleError          exit 5: the sample data set could not be written
    └── OutputError          exit 6: disk full, or no right to write

Status 7 is not an error: `audit --fail-on LEVEL` ran to its end and found something of that level
or a worse one. Status 2 is a wrong command line, 130 an interrupted run.
"""

from models.errors import FacemaskError


class TrainingError(FacemaskError):
    """The run cannot go on."""

    exit_status: int = 1


class DataError(TrainingError):
    """The pictures must change before a run can succeed."""

    exit_status = 3


class NoSuchData(DataError):
    """The folder or zip does not exist, or is neither."""


class BadLayout(DataError):
    """The folders are not classes, or their names cannot be labels."""


class TooFewClasses(DataError):
    """Fewer than two classes with pictures."""


class TooFewPictures(DataError):
    """A class has fewer pictures than training needs."""


class UnreadableData(DataError):
    """Strict mode, and a picture is unreadable."""


class ChangedData(DataError):
    """A picture changed, or went away, while the run used it."""


class BadTable(DataError):
    """A table beside the data is not as documented."""


class BackboneError(TrainingError):
    """Another backbone or weights file is needed."""

    exit_status = 4


class UnknownBackbone(BackboneError):
    """No backbone of that name."""


class NoWeights(BackboneError):
    """The pretrained weights cannot be obtained on this machine."""


class BadWeights(BackboneError):
    """The weights file does not fit the backbone."""


class SampleError(TrainingError):
    """The sample data set could not be written."""

    exit_status = 5


class OutputError(TrainingError):
    """The disk is full, or the target may not be written."""

    exit_status = 6
