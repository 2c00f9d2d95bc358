"""One run of Schemathesis by its command line, and its results."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TIMEOUT_S = 3600.0


@dataclass(frozen=True)
class ContractResult:
    """Result of a run.

    Attributes:
        status: Exit status of Schemathesis: 0 if every response is as documented.
        operations: Number of operations tested.
        requests: Number of requests sent.
        accepted: Number of 2xx responses to requests that the document allows, per operation.
        failures: Responses that are not as documented, with their operations.
        text: Output of Schemathesis, with a curl line for each failure.
    """

    status: int
    operations: int
    requests: int
    accepted: Mapping[str, int]
    failures: tuple[str, ...]
    text: str


def check(
    document: Mapping[str, Any],
    address: str,
    *,
    version: str,
    examples: int,
    seed: int,
    out: Path,
    key: str | None = None,
) -> ContractResult:
    """Send a service what its OpenAPI document allows and forbids.

    Args:
        document: The OpenAPI document.
        address: Base URL of the service.
        version: Version of the served model, which the document cannot name.
        examples: Random requests per operation.
        seed: Seed of the random requests.
        out: Folder for the report.
        key: API key to send.
    """
    out.mkdir(parents=True, exist_ok=True)
    (out / "openapi.json").write_text(json.dumps(document))
    settings = f'[parameters]\n"path.version" = "{version}"\n'
    if key is not None:
        settings += f'[auth.openapi]\nkey.api_key = "{key}"\nbearer.bearer = "{key}"\n'
    (out / "schemathesis.toml").write_text(settings)
    report = out / "report.json"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", "schemathesis.toml"]
    command += ["run", "openapi.json", "--url", address, "--checks", "all", "--seed", str(seed)]
    command += ["--max-examples", str(examples), "--generation-database", "none", "--no-color"]
    command += ["--continue-on-failure", "--report-json-path", report.name]
    hooks = {"SCHEMATHESIS_HOOKS": "checks.contract.hooks", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        command,
        cwd=out,
        env=os.environ | hooks,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    text = done.stdout + done.stderr
    (out / "schemathesis.txt").write_text(text)
    if not report.exists():
        raise RuntimeError(f"Schemathesis wrote no report: {text}")
    found = json.loads(report.read_text())
    return ContractResult(
        status=done.returncode,
        operations=found["operations"]["tested"],
        requests=found["test_cases"]["generated"],
        accepted={
            operation: sum(rates["accepted"] for rates in phases.values())
            for operation, phases in found["valid_rates"].items()
        },
        failures=tuple(
            f"{group['title']}: {', '.join(group['operations'])}" for group in found["failures"]
        )
        + tuple(error["title"] for error in found["errors"]),
        text=text,
    )
