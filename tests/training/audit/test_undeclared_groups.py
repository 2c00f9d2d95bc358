"""Groups that were not declared: by names, and by features."""

import dataclasses

import numpy as np

from tests.training.audit.data_sets import make_feature_set, sound
from training.audit.undeclared_groups import undeclared_group_findings
from training.features.feature_set import FeatureSet


def feature_set(num_pictures: int = 120) -> FeatureSet:
    stats, classes = sound(num_pictures)
    features = np.random.default_rng(0).normal(size=(num_pictures, 16)) + 1
    return dataclasses.replace(
        make_feature_set(stats, classes), features=features.astype(np.float32)
    )


def test_names_with_a_number_at_the_end_suggest_a_pattern() -> None:
    data = feature_set()
    named = dataclasses.replace(data, names=[f"cat/photo{i // 3}x_{i % 3}.jpg" for i in range(120)])
    (found,) = undeclared_group_findings(named)
    assert (found.level, found.kind) == ("info", "numbered_names")
    assert "--group-pattern" in found.message
    numbered = dataclasses.replace(data, names=[f"cat/img_{i}.jpg" for i in range(120)])
    assert undeclared_group_findings(numbered) == []
    listing = dataclasses.replace(named.listing, groups={"cat/photo0x_0.jpg": "a"})
    assert undeclared_group_findings(dataclasses.replace(named, listing=listing)) == []


def test_pictures_far_closer_than_usual_are_reported() -> None:
    data = feature_set()
    assert undeclared_group_findings(data) == []
    features, random = data.features.copy(), np.random.default_rng(1)
    burst = np.flatnonzero(data.classes == 0)
    features[burst] = features[burst[0]] + random.normal(0, 0.01, (len(burst), 16))
    alike = dataclasses.replace(data, features=features)
    (found,) = undeclared_group_findings(alike)
    assert (found.level, found.kind, found.details["class"]) == ("warning", "close_pictures", "cat")
    assert len(found.names) == len(burst)
    declared = np.where(data.classes == 0, 0, np.arange(120))
    assert undeclared_group_findings(dataclasses.replace(alike, groups=declared)) == []


def test_without_features_only_names_are_looked_at() -> None:
    data = dataclasses.replace(feature_set(), features=np.zeros((120, 0), np.float32))
    assert undeclared_group_findings(data) == []
