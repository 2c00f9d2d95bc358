"""A bundle published by version 0.1.0 opens and answers as it did then."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from models.bundle.load import Bundle, open_bundle
from models.imaging.decode import decode_image

RECORDED = json.loads((Path(__file__).parent / "version_0_1" / "answers.json").read_text())


@pytest.fixture(name="bundle", scope="module")
def _bundle(path_0_1: Path) -> Bundle:
    assert path_0_1.name == RECORDED["version"]
    return open_bundle(path_0_1)


@pytest.mark.parametrize("row", RECORDED["answers"])
def test_open_bundle_answers_as_version_0_1_did(bundle: Bundle, row: dict[str, Any]) -> None:
    picture = base64.b64decode(row["picture"])
    outputs = bundle.answer(decode_image(picture, size=bundle.manifest.input_px)[None])

    # Equal to the bit on the machine that recorded them; the last bit of a float32 sum may
    # depend on the CPU's vector width.
    def recorded(name: str) -> Any:
        return pytest.approx(float.fromhex(row[name]), rel=1e-6)

    assert outputs.distance is not None
    assert outputs.probabilities[0].tolist() == pytest.approx(
        [float.fromhex(number) for number in row["probabilities"]], rel=1e-6
    )
    assert float(outputs.distance[0]) == recorded("distance")
    assert float(outputs.activation[0].double().mean()) == recorded("activation_mean")
