"""The commands of docs/http-api.md, run as printed."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.app import create_app
from tests import ROOT, WAIT_S
from tests.process.running import running
from tests.service.fixtures import code_picture, make_engine, publish_bundle, settings_of

PAGE = (ROOT / "docs/http-api.md").read_text()
(BLOCK,) = re.findall(r"^```sh\n(.+?)^```$", PAGE, re.M | re.S)


@pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_v2_by_curl_answers_a_picture(shell: str, tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(code_picture(3000))
    engine = make_engine(publish_bundle(tmp_path / "store"))
    with running(create_app(settings_of(tmp_path / "store"), engine)) as address:
        done = subprocess.run(
            [shell, "-euc", BLOCK.replace("http://127.0.0.1:8000", address)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        )
    answer = json.loads(done.stdout)
    outputs = {output["name"]: output["data"] for output in answer["outputs"]}
    assert outputs["label"] == ["mask"]
