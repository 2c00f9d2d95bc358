"""Hyper-parameters of fine-tuning, each with its reason."""

from dataclasses import dataclass, field
from typing import Literal

from training.errors import TrainingError
from training.features.augment import Augmentation

Unfreeze = Literal["last", "all"] | int


class BadFinetuneConfig(TrainingError):
    """A setting of fine-tuning is out of its range."""

    code = "bad_finetune_config"


@dataclass(frozen=True)
class FinetuneConfig:
    """Hyper-parameters of fine-tuning; recorded in the manifest.

    Attributes:
        unfreeze: "last" stage, "all", or the number of last stages. Each further stage multiplies
            the parameters that a few hundred pictures have to determine.
        epochs: Max passes over the pictures; the cosine schedule ends there.
        batch: Pictures per optimiser step.
        backbone_rate: Peak learning rate of the backbone, per step of AdamW. Cross-validated on
            360 photographs of faces, none of 1e-5, 3e-5 and 1e-4 beat the head alone, and the
            lowest did no harm.
        head_rate: Peak learning rate of the head, for features around zero of unit variance; ten
            times the backbone's, because no pretrained knowledge is lost in the head.
        warmup_share: Share of the steps over which the rates rise from zero: AdamW's first steps
            rest on few gradients and vary most.
        weight_decay: Weight decay of AdamW, per unit of learning rate; none on biases and
            normalisation.
        label_smoothing: Share of a label that is spread over all classes (Szegedy et al. 2016).
            Without it, logits kept growing and single pictures disturbed the run (losses of 0.2
            to 0.4 on held-out parts where the head alone had 0.08).
        gradient_norm: Longer gradients are clipped to this norm, so that one odd batch does no
            harm.
        patience: Epochs without a lower validation loss (calibrated) before the run stops.
        validation_share: Share of pictures held out, in whole groups, to validate each epoch.
        folds: Folds of the comparison with the head alone; each costs one run.
        draws: Bootstrap draws of its interval.
        seed: Seed of the validation part, the order of pictures, and their augmentation.
        augmentation: Random changes to training pictures.
    """

    unfreeze: Unfreeze = "last"
    epochs: int = 12
    batch: int = 16
    backbone_rate: float = 1e-5
    head_rate: float = 1e-4
    warmup_share: float = 0.1
    weight_decay: float = 0.05
    label_smoothing: float = 0.05
    gradient_norm: float = 1.0
    patience: int = 4
    validation_share: float = 0.15
    folds: int = 3
    draws: int = 4000
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Check the value that a user gives, so that the start fails and not the run.

        Raises:
            BadFinetuneConfig: There are no epochs.
        """
        if self.epochs < 1:
            raise BadFinetuneConfig(f"epochs must be 1 or more, and is {self.epochs}.")
