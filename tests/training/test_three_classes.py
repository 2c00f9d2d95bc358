"""A third class, masks worn wrongly, from the drawn sample through the job to a prediction."""

import dataclasses
import json
from pathlib import Path

import pytest

from models.bundle.files import CARD, REPORT
from models.bundle.load import Bundle
from tests.service.fixtures import make_engine, serving, settings_of, wait
from training.config import FitConfig
from training.job import FitOptions, fit
from training.publish.bundle import SUMMARY
from training.sample import ALL_CLASSES, make_sample

LABELS = sorted(ALL_CLASSES)
CONFIG = dataclasses.replace(
    FitConfig(),
    penalties=(0.1,),
    folds=2,
    inner_folds=2,
    draws=500,
    precision="fp32",
    robustness_pictures=2,
)


@pytest.fixture(name="data", scope="module")
def _data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("three") / "data"
    make_sample(data, classes=ALL_CLASSES, per_class=12, seed=2)
    pictures = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.jpg"))
    light = [f"{name},{'dusk' if place % 2 else 'noon'}" for place, name in enumerate(pictures)]
    (data / "slices.csv").write_text("\n".join(["file,slice", *light]) + "\n")
    return data


@pytest.fixture(name="bundle", scope="module")
def _bundle(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("fitted")
    apart = folder / "apart"
    make_sample(apart, classes=ALL_CLASSES, per_class=4, seed=9)
    options = FitOptions(
        data,
        folder / "store",
        folder / "cache",
        robustness=True,
        tests=[f"incorrect={apart / 'incorrect'}"],
    )
    return fit(options, CONFIG).bundle


def test_summary_covers_three_classes(bundle: Bundle, data: Path) -> None:
    summary = json.loads(bundle.documents[SUMMARY])
    assert bundle.manifest.labels == summary["labels"] == LABELS
    assert set(summary["cross_validation"]["recall"]) == set(LABELS)
    assert summary["confidence"]["brier"] > 0
    # A test set of one class is evaluated; the cards stay out of fold.
    (test,) = summary["tests"].values()
    assert set(test["recall"]) == {"incorrect"}
    found = summary["robustness"]
    assert found["pictures"] == dict.fromkeys(LABELS, 2)
    assert found["judged"] == "training pictures, each predicted by a head that had not seen it"
    assert "--robustness" in summary["command"]
    (light,) = summary["slices"]
    assert light["attribute"] == "slice"
    assert {row["name"]: row["pictures"] for row in light["slices"]} == {"dusk": 18, "noon": 18}
    rights = sum(row["right"] for row in light["slices"])
    assert rights == sum(summary["cross_validation"]["confusion"][k][k] for k in range(3))


def test_report_and_card_name_three_classes(bundle: Bundle) -> None:
    report, card = (bundle.documents[name].decode() for name in (REPORT, CARD))
    for label in LABELS:
        assert f">{label}<" in report
        assert label in card
    for text in ("copes with damaged pictures", "Is it as good for every kind of picture?"):
        assert text in report
    assert "Robustness (damage after ImageNet-C" in card


def test_service_answers_with_three_scores(bundle: Bundle, data: Path) -> None:
    pictures = [next((data / label).glob("*.jpg")).read_bytes() for label in LABELS]

    engine = make_engine(bundle, bundle.model)

    async def ask() -> None:
        async with serving(settings_of(bundle.path.parent), engine) as (client, _):
            files = [("files", (f"{k}.jpg", data, "image/jpeg")) for k, data in enumerate(pictures)]
            answer = (await client.post("/predict", files=files)).json()
            assert answer["model"]["labels"] == LABELS
            for item in answer["predictions"]:
                assert set(item["scores"]) == set(LABELS)
                assert sum(item["scores"].values()) == pytest.approx(1, abs=1e-5)
                assert item["decision"] in {*LABELS, "uncertain"}

    wait(ask())
