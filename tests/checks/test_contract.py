"""Short form of `checks.contract`, and proof that it finds a false document."""

import re
from pathlib import Path
from typing import Any

import pytest

from checks.contract.__main__ import main
from checks.contract.run import check
from service.app import create_app
from tests.process.running import running
from tests.service.fixtures import make_engine, publish_bundle, settings_of


def test_contract_finds_no_fault_in_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(["--examples", "2", "--out", str(tmp_path)])
    output = "".join(path.read_text() for path in tmp_path.glob("*/schemathesis.txt"))
    assert status == 0, output
    rows = re.findall(
        r"\| ([a-z ]+) \| ([\d,]+) \| 17 \| (\d+) \| none \|", capsys.readouterr().out
    )
    assert [name for name, *_ in rows] == ["open", "with a key"]
    for _, requests, uploads in rows:
        assert int(requests.replace(",", "")) > 300
        assert int(uploads) > 5


def test_check_finds_undocumented_statuses_and_bodies(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path / "store")
    app = create_app(settings_of(tmp_path / "store"), make_engine(bundle))
    document: dict[str, Any] = app.openapi()
    operation = document["paths"]["/predict"]["post"]
    del operation["responses"]["415"]
    operation["responses"]["200"]["content"]["application/json"]["schema"] = {"type": "array"}
    document["paths"] = {"/predict": {"post": operation}}
    with running(app) as address:
        found = check(
            document,
            address,
            version=bundle.manifest.version,
            examples=20,
            seed=0,
            out=tmp_path / "out",
        )
    assert found.status == 1
    assert "Undocumented status code: POST /predict" in found.failures
    assert "Response violates schema: POST /predict" in found.failures
