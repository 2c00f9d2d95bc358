"""Imports run one way, between the sides and between the rooms; nothing happens at import."""

import ast
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import facemask_client
import models
from tests import ROOT, WAIT_S

# Rooms of each side by layer, lowest first. A room imports from itself and from lower layers only;
# rooms of one layer do not import each other.
ROOMS = {
    "models": [
        ["errors", "text", "cpu", "allocator", "correlation", "score_test"],
        ["problems", "paired"],
        ["environment", "terminal", "interrupts", "layout"],
        ["imaging"],
        ["bundle"],
        ["__main__", "command_line"],
    ],
    "service": [
        ["settings", "problems", "keys"],
        ["process", "telemetry"],
        ["limits"],
        ["inference"],
        ["http"],
        ["app"],
        ["__main__"],
    ],
    "scoring": [
        ["errors", "machines"],
        ["inputs"],
        ["plan"],
        ["output", "rows"],
        ["job", "summary"],
        ["scorer"],
        ["run", "spark"],
        ["ray_runner"],
        ["__main__"],
    ],
    "studio": [
        ["problems", "keys"],
        ["settings"],
        ["database"],
        ["projects"],
        ["labels"],
        ["pictures"],
        ["versions"],
        ["formats", "jobs"],
        ["runs"],
        ["live"],
        ["http"],
        ["app"],
        ["cli"],
        ["__main__"],
    ],
    "training": [
        ["errors"],
        ["config", "summary", "sample"],
        ["data"],
        ["backbones"],
        ["features"],
        ["evaluation"],
        ["audit"],
        ["publish"],
        ["quantization", "finetuning"],
        ["report"],
        ["job"],
        ["cli"],
        ["__main__", "notebook"],
    ],
}
# Sides that a side may import.
SIDES = {
    "models": set(),
    "web": {"models"},
    "service": {"models", "web"},
    "training": {"models", "scoring"},  # its shards only
    "studio": {"models", "web"},
    "scoring": {"models", "service"},
    "facemask_client": set(),
}
# The module `python -m service.client` runs the command of the client's package.
FORWARDING = "service.client.__main__"
# Libraries that a side never imports: its image does not carry them.
FORBIDDEN_LIBRARIES = {
    "models": {
        "torchvision", "fastapi", "starlette", "uvicorn", "sklearn", "numpy", "scipy", "onnx",
        "imagehash", "tqdm",
    },
    "web": {"torch", "fastapi", "numpy", "PIL", "sklearn", "pydantic"},
    "service": {"torchvision", "sklearn", "numpy", "scipy", "onnx", "imagehash", "tqdm"},
    "training": {"fastapi", "starlette", "uvicorn", "sqlalchemy", "alembic"},
    "studio": {
        "torch", "torchvision", "sklearn", "numpy", "scipy", "onnx", "imagehash", "tqdm", "PIL",
        "jinja2",
    },
    "scoring": {"torchvision", "sklearn", "numpy", "scipy", "fastapi", "starlette", "uvicorn"},
    "facemask_client": {"torch", "PIL", "pydantic", "fastapi", "starlette", "numpy"},
}  # fmt: skip
FOLDERS = {
    "models": ROOT / "models",
    "web": ROOT / "web",
    "service": ROOT / "service",
    "training": ROOT / "training",
    "studio": ROOT / "studio",
    "scoring": ROOT / "scoring",
    "facemask_client": ROOT / "client" / "src" / "facemask_client",
}
MAX_FILES_PER_FOLDER = 14
MAX_FILES_AT_THE_TOP = 6
MAX_LINES_PER_FUNCTION = 79


def files_of(side: str) -> list[Path]:
    return sorted(FOLDERS[side].rglob("*.py"))


PRODUCT = [path for side in FOLDERS for path in files_of(side)]


def module_of(path: Path) -> str:
    """Return the dotted name of a product file."""
    side = next(side for side, folder in FOLDERS.items() if path.is_relative_to(folder))
    parts = path.relative_to(FOLDERS[side].parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in PRODUCT}


def imports_of(path: Path) -> Iterator[str]:
    """Yield the dotted name of all that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module or ""
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield ast.unparse(node.args[0]).strip("'")


IMPORTS = {module: set(imports_of(path)) for module, path in MODULES.items()}


def packages_of(module: str) -> set[str]:
    return {name.split(".")[0] for name in IMPORTS[module]}


@pytest.mark.parametrize("side", FOLDERS)
def test_a_side_imports_only_the_sides_and_libraries_it_may(side: str) -> None:
    forbidden = (set(FOLDERS) | {"tests", "benchmarks", "checks"}) - SIDES[side] - {side}
    wrong = {
        module: found
        for module in IMPORTS
        if module.split(".")[0] == side
        and (found := packages_of(module) & (forbidden | FORBIDDEN_LIBRARIES[side]))
    }
    wrong.pop(FORWARDING, None)
    assert wrong == {}


# Rooms of scoring that know nothing of answers: `training extract` fills shards with features.
SHARDS = {"errors", "machines", "inputs", "plan", "output", "job", "ray_runner"}


def test_training_imports_only_the_shards_of_scoring() -> None:
    used = {
        room_of(name)
        for module, names in IMPORTS.items()
        if module.startswith("training.")
        for name in names
        if name.startswith("scoring.")
    }
    assert used == SHARDS
    for module in IMPORTS:
        if module.startswith("scoring.") and room_of(module) in SHARDS - {"ray_runner"}:
            assert "service" not in packages_of(module), module


def test_the_client_depends_on_httpx_only() -> None:
    allowed = {"httpx", "facemask_client"} | sys.stdlib_module_names
    for module in IMPORTS:
        if module.split(".")[0] == "facemask_client":
            assert packages_of(module) <= allowed, module


def room_of(module: str) -> str:
    """Return the folder or the file below its side that a module belongs to."""
    _, _, rest = module.partition(".")
    return rest.split(".")[0]


@pytest.mark.parametrize("side", ROOMS)
def test_every_room_has_a_layer(side: str) -> None:
    rooms = {room for layer in ROOMS[side] for room in layer}
    found = {room_of(module) for module in MODULES if module.split(".")[0] == side} - {""}
    assert found - {"client"} == rooms


@pytest.mark.parametrize("side", ROOMS)
def test_rooms_import_only_from_lower_layers(side: str) -> None:
    layer_of = {room: level for level, layer in enumerate(ROOMS[side]) for room in layer}
    wrong = [
        f"{module} imports {name}"
        for module, names in IMPORTS.items()
        if module.startswith(f"{side}.") and module != FORWARDING
        for name in names
        if name.startswith(f"{side}.")
        and room_of(name) != room_of(module)
        and layer_of[room_of(name)] >= layer_of[room_of(module)]
    ]
    assert wrong == []


def test_process_imports_nothing_of_the_service_but_settings() -> None:
    for module, names in IMPORTS.items():
        if module.startswith("service.process"):
            own = {room_of(name) for name in names if name.startswith("service.")}
            assert own <= {"process", "settings"}, module


def test_no_modules_import_each_other_in_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in IMPORTS[module] & MODULES.keys():
                visit(name, [*path, module])
            done.add(module)

    for module in MODULES:
        visit(module, [])


def test_only_one_module_imports_torchvision() -> None:
    assert [module for module in IMPORTS if "torchvision" in packages_of(module)] == [
        "training.backbones.torchvision_compat"
    ]


def test_only_imaging_imports_pillow_in_models_and_service() -> None:
    """No skew: one place turns bytes into pixels, for both sides."""
    users = {module for module in IMPORTS if "PIL" in packages_of(module)}
    allowed = {
        f"models.imaging.{name}" for name in ("open", "decode", "colour", "jpeg_end", "heif.heic")
    }
    assert {user for user in users if not user.startswith("training.")} <= allowed


def test_no_folder_has_more_files_than_a_reader_takes_in() -> None:
    counts = {
        str(folder.relative_to(ROOT)): len(list(folder.glob("*.py")))
        for folder in {path.parent for path in PRODUCT}
    }
    assert {folder: n for folder, n in counts.items() if n > MAX_FILES_PER_FOLDER} == {}
    tops = {side: counts[side] for side in ("service", "training", "studio")}
    assert {side: n for side, n in tops.items() if n > MAX_FILES_AT_THE_TOP} == {}


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{module}.{node.name}": lines
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > MAX_LINES_PER_FUNCTION
    }
    assert long == {}


def test_product_and_client_have_one_version_and_the_changelog_starts_with_it() -> None:
    for project in (ROOT / "pyproject.toml", ROOT / "client" / "pyproject.toml"):
        assert "version" in tomllib.loads(project.read_text())["project"]["dynamic"]
    assert facemask_client.__version__ == models.__version__
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = next(line for line in changelog.splitlines() if line.startswith("## "))
    assert newest.startswith(f"## {models.__version__}")


# Libraries may read the environment at import; the product's files may not.
SPY = """
import os, sys
class Environ(type(os.environ)):
    def __getitem__(self, key):
        frame = sys._getframe(1)
        while "frozen" in frame.f_code.co_filename or frame.f_code.co_filename == os.__file__:
            frame = frame.f_back
        part = os.path.relpath(frame.f_code.co_filename).split(os.sep)[0]
        if part in ("models", "web", "training", "service", "studio", "client"):
            raise SystemExit(f"{key} read at import by {frame.f_code.co_filename}")
        return super().__getitem__(key)
os.environ.__class__ = Environ
"""


def after_import(module: str, expression: str) -> str:
    """Return what an expression prints in a new process that has imported a module."""
    code = f"{SPY}\nimport {module}\nprint({expression})"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"FACEMASK_CACHE": "x", "FACEMASK_PORT": "nonsense"},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("training.__main__", ("torch", "numpy", "sklearn", "PIL", "onnx")),
        ("service.__main__", ("uvicorn", "fastapi")),
        ("facemask_client.__main__", ("torch", "pydantic", "models", "service")),
    ],
)
def test_a_command_line_imports_no_heavy_library_at_its_start(
    module: str, heavy: tuple[str, ...]
) -> None:
    assert after_import(module, f"[m for m in {heavy} if m in sys.modules]") == "[]"


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("service.app", ("training", "torchvision", "sklearn")),
        ("training.job", ("torchvision", "service", "onnx")),
        ("studio.app", ("torch", "numpy", "training", "service")),
    ],
)
def test_importing_reads_no_setting_and_starts_no_thread(
    module: str, absent: tuple[str, ...]
) -> None:
    found = after_import(
        module,
        f"__import__('threading').active_count(), [m for m in {absent} if m in sys.modules]",
    )
    assert found == "1 []"
