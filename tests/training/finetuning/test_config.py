"""Hyper-parameters: ranges and record."""

import dataclasses
from typing import Any

import pytest

from training.features.augment import Augmentation
from training.finetuning.config import BadFinetuneConfig, FinetuneConfig


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0}, {"batch": 0}, {"patience": 0}, {"folds": 1}, {"validation_share": 0.0},
        {"validation_share": 0.6}, {"backbone_rate": 0.0}, {"head_rate": float("nan")},
    ],
)  # fmt: skip
def test_config_refuses_values_out_of_range(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadFinetuneConfig, match=f"{next(iter(wrong))} must be"):
        FinetuneConfig(**wrong)


def test_as_dict_records_every_hyper_parameter() -> None:
    for item in (FinetuneConfig(), Augmentation()):
        names = [field.name for field in dataclasses.fields(item)]
        assert list(item.as_dict()) == names
        assert all(f"        {name}: " in (type(item).__doc__ or "") for name in names)
