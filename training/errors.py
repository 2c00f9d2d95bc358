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
    │   ├── BadWeights       the weights file does not fit
    │   └── BadFeatures      extracted features are of another backbone, or not complete
    ├── SampleError          exit 5: the sample data set could not be written
    └── OutputError          exit 6: disk full, or no right to write

Status 7 is not an error: `audit --fail-on LEVEL` ran to its end and found something of that level
or a worse one. Nor is status 8: `fit` has published a model, and a check has kept it from being
made current. Status 2 is a wrong command line, 130 an interrupted run.
"""

from models.errors import FacemaskError


class TrainingError(FacemaskError):
    """The run cannot go on."""

    code = "training_error"
    exit_status: int = 1


class DataError(TrainingError):
    """The pictures must change before a run can succeed."""

    code = "data_error"
    exit_status = 3


class NoSuchData(DataError):
    """The folder or zip does not exist, or is neither."""

    code = "no_such_data"


class BadLayout(DataError):
    """The folders are not classes, or their names cannot be labels."""

    code = "bad_layout"


class TooFewClasses(DataError):
    """Fewer than two classes with pictures."""

    code = "too_few_classes"


class TooFewPictures(DataError):
    """A class has fewer pictures than training needs."""

    code = "too_few_pictures"


class UnreadableData(DataError):
    """Strict mode, and a picture is unreadable."""

    code = "unreadable_data"


class ChangedData(DataError):
    """A picture changed, or went away, while the run used it."""

    code = "changed_data"


class BadTable(DataError):
    """A table beside the data is not as documented."""

    code = "bad_table"


class BackboneError(TrainingError):
    """Another backbone or weights file is needed."""

    code = "backbone_error"
    exit_status = 4


class UnknownBackbone(BackboneError):
    """No backbone of that name."""

    code = "unknown_backbone"


class NoWeights(BackboneError):
    """The pretrained weights cannot be obtained on this machine."""

    code = "no_weights"


class BadWeights(BackboneError):
    """The weights file does not fit the backbone."""

    code = "bad_weights"


class BadFeatures(BackboneError):
    """The features are of another backbone, or not complete."""

    code = "bad_features"


class SampleError(TrainingError):
    """The sample data set could not be written."""

    code = "sample_error"
    exit_status = 5


class OutputError(TrainingError):
    """The disk is full, or the target may not be written."""

    code = "output_error"
    exit_status = 6
