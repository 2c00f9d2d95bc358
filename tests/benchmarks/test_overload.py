"""`benchmarks.overload`: a run of seconds measures what it says."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests import ROOT
from tests.service.fixtures import publish_bundle


def test_overload_reports_answers_refusals_and_closed_connections(tmp_path: Path) -> None:
    publish_bundle(tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FACEMASK_")}
    limits = {"MAX_WAITING": "2", "HEADER_S": "0.5", "BODY_S": "0.5", "THREADS": "1"}
    options = ["--seconds", "1", "--connections", "16", "--slow", "10", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.overload", str(tmp_path), *options],
        cwd=ROOT,
        env=kept | {f"FACEMASK_{name}": value for name, value in limits.items()},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    (refused,) = re.findall(r"^refused: (\d+), ", said, re.M)
    assert int(refused) > 0
    assert "\nbroken: 0, failed: {}\n" in said
    assert re.search(r"^recovery: \d+\.\d\d s$", said, re.M)
    # Each of both kinds is ended by a 408, and opened again.
    assert re.search(r"^10 slow .+'HTTP/1\.1 408 Request Timeout': \d+", said, re.M), said
    assert len(re.findall(r"^an ordinary caller .+: [1-9]\d* answers", said, re.M)) == 2
