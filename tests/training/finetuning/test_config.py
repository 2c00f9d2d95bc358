"""Hyper-parameters: range and documentation."""

import dataclasses

import pytest

from training.features.augment import Augmentation
from training.finetuning.config import BadFinetuneConfig, FinetuneConfig


def test_config_refuses_a_run_without_epochs() -> None:
    with pytest.raises(BadFinetuneConfig, match="epochs must be 1 or more"):
        FinetuneConfig(epochs=0)


def test_docstrings_name_every_hyper_parameter() -> None:
    for item in (FinetuneConfig(), Augmentation()):
        names = [field.name for field in dataclasses.fields(item)]
        assert all(f"        {name}: " in (type(item).__doc__ or "") for name in names)
