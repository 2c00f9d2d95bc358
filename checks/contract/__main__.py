"""Shows that every response matches the service's OpenAPI document, with Schemathesis.

    python -m checks.contract [--examples 200] [--seed 0] [--out build/contract]

Takes some minutes. A real service is tested twice: without and with API keys. All phases and checks
of Schemathesis take part: the document's examples, systematic coverage of each constraint, random
requests (`--examples` per operation), and sequences; with requests that the document allows, real
images among them, and with requests that it forbids. Exits with 1 if a response is not as
documented.
"""

import argparse
import json
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.process import service
from benchmarks.serving.processes import Server
from checks.contract.run import ContractResult, check
from service.keys import hash_of
from tests.service.fixtures import code_picture, publish_bundle

_KEY = "a key of this run"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m checks.contract")
    parser.add_argument("--examples", type=int, default=200, help="random requests per operation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("build/contract"))
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    failed = False
    print("| service | requests | operations | uploads answered | not as documented |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder)
        version = publish_bundle(store, documents={"report.html": b"<p>None.</p>"}).manifest.version
        for name, key in {"open": None, "with a key": _KEY}.items():
            log = arguments.out / f"{name.replace(' ', '-')}.log"
            keys = {} if key is None else {"FACEMASK_API_KEYS": hash_of(key)}
            with service(store, code_picture(1), log=log, key=key, **keys) as server:
                found = check(
                    _document(server),
                    f"http://127.0.0.1:{server.port}",
                    version=version,
                    examples=arguments.examples,
                    seed=arguments.seed,
                    out=arguments.out / name.replace(" ", "-"),
                    key=key,
                )
            print(_row(name, found), flush=True)
            failed |= found.status != 0
    if failed:
        print(f"\nFailures, with a curl line for each: {arguments.out}/*/schemathesis.txt")
    return int(failed)


def _document(server: Server) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/openapi.json") as response:
        document: dict[str, Any] = json.load(response)
    return document


def _row(name: str, found: ContractResult) -> str:
    answered = found.accepted["POST /predict"]
    failures = "; ".join(found.failures) or "none"
    return f"| {name} | {found.requests:,} | {found.operations} | {answered:,} | {failures} |"


if __name__ == "__main__":
    sys.exit(main())
