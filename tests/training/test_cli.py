"""Command line of the training job: output and exit statuses."""

import dataclasses
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import training.job
from models.bundle.load import open_bundle
from models.bundle.publish import publish
from models.bundle.store import DEFAULT_STORE, MODEL, current_version, read_manifest, versions
from models.errors import BundleError, FacemaskError
from tests import ROOT
from tests.images import DrawData
from tests.models.tiny_bundle import bundle_facts
from training.__main__ import main
from training.config import PRESETS, FitConfig, default_cache
from training.data.progress import Progress
from training.errors import (
    BackboneError,
    DataError,
    OutputError,
    SampleError,
    TrainingError,
)
from training.sample import ALL_CLASSES


@pytest.fixture(autouse=True)
def keep_signals() -> Any:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory, draw_data: DrawData) -> Path:
    return draw_data(tmp_path_factory.mktemp("shapes") / "data", {"bar": 12, "disc": 12})


def command(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training", *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_fit_prints_the_bundle_path_and_is_deterministic(shapes: Path, tmp_path: Path) -> None:
    contents = []
    for number in (1, 2):
        # Caches of their own: neither run may owe its bytes to the other.
        done = command("fit", shapes, "--out", tmp_path / str(number),
                       "--test", f"disc={shapes / 'disc'}", "--cache", tmp_path / f"cache{number}",
                       PYTHONHASHSEED=str(number))  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        path = Path(done.stdout.splitlines()[-1])
        assert path == tmp_path / str(number) / current_version(tmp_path / str(number))
        assert open_bundle(path).manifest.labels == ["bar", "disc"]
        files = {name: (path / name).read_bytes() for name in read_manifest(path).files}
        contents.append(files | {"metrics": read_manifest(path).metrics})
    assert set(contents[0]) == {
        MODEL, "report.html", "summary.json", "model_card.md", "metrics"
    }  # fmt: skip
    for name in contents[0]:
        assert contents[0][name] == contents[1][name], name


def test_sigterm_exits_130_and_leaves_the_store_unchanged(
    shapes: Path, tmp_path: Path, tiny_model: bytes
) -> None:
    store = tmp_path / "store"
    before = publish(store, {MODEL: tiny_model}, bundle_facts(tiny_model))
    # The named pipe holds the run where it reads the table of groups: no sleep is needed.
    os.mkfifo(tmp_path / "groups.csv")
    process = subprocess.Popen(
        [sys.executable, "-m", "training", "fit", str(shapes), "--out", str(store),
         "--groups", str(tmp_path / "groups.csv")],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with (tmp_path / "groups.csv").open("w"):  # opens when the run does
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.startswith("interrupted: nothing was published")
    assert "Traceback" not in errors
    assert versions(store) == [before.manifest.version]
    assert open_bundle(store / current_version(store)).manifest == before.manifest


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (FacemaskError("text."), 1),
        (BundleError("text."), 1),
        (TrainingError("text."), 1),
        (DataError("text."), 3),
        (BackboneError("text."), 4),
        (SampleError("text."), 5),
        (OutputError("text."), 6),
    ],
)
def test_errors_print_one_line_and_give_their_exit_status(
    error: FacemaskError,
    status: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(training.job, "fit", fails)
    assert main(["fit", "data"]) == status
    captured = capsys.readouterr()
    assert captured.err == "error: text.\n"
    assert captured.out == ""


def test_keyboard_interrupt_exits_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training.job, "fit", interrupted)
    assert main(["fit", "data"]) == 130
    assert "run the same command again" in capsys.readouterr().err


def test_fit_passes_options_to_the_job(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    class Published:
        path = tmp_path / "store" / "version"

    seen: dict[str, Any] = {}

    def fit(options: training.job.FitOptions, config: FitConfig, progress: Progress) -> Published:
        seen.update(options=options, config=config)
        progress.log("a line")
        progress.advance(1, 2)
        return Published()

    monkeypatch.setattr(training.job, "fit", fit)
    arguments = [
        "fit",
        "d",
        "--out",
        "s",
        "--backbone",
        "resnet18",
        "--weights",
        "w",
        "--seed",
        "7",
        "--groups",
        "g",
        "--group-pattern",
        "(p)",
        "--cache",
        "c",
        "--strict",
        "--test",
        "t",
        "--test",
        "cat=u",
        "--target-error",
        "0.05",
        "--views",
        "2",
    ]
    assert main(arguments) == 0
    assert seen["options"] == training.job.FitOptions(
        data=Path("d"),
        store=Path("s"),
        cache=Path("c"),
        weights=Path("w"),
        groups=Path("g"),
        group_pattern="(p)",
        strict=True,
        tests=["t", "cat=u"],
    )
    assert seen["config"] == dataclasses.replace(
        FitConfig(), backbone="resnet18", seed=7, target_error=0.05, views=2
    )
    assert capsys.readouterr().out.splitlines() == ["a line", str(Published.path)]
    assert main(["fit", "d"]) == 0
    assert seen["options"] == training.job.FitOptions(
        data=Path("d"), store=DEFAULT_STORE, cache=default_cache(), tests=[]
    )
    assert seen["config"] == FitConfig()
    for preset, backbone in PRESETS.items():
        assert main(["fit", "d", "--preset", preset]) == 0
        assert seen["config"] == dataclasses.replace(FitConfig(), backbone=backbone)


def test_fit_if_missing_trains_only_into_an_empty_store(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_model: bytes,
) -> None:
    def fit(*_: object, **__: object) -> None:
        raise OutputError("began to train.")

    monkeypatch.setattr(training.job, "fit", fit)
    arguments = ["fit", "data", "--out", str(tmp_path), "--if-missing"]
    assert main(arguments) == OutputError.exit_status
    capsys.readouterr()
    given = publish(tmp_path, {MODEL: tiny_model}, bundle_facts(tiny_model))
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{given.path}\n"


def test_fit_of_a_missing_folder_exits_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", str(tmp_path / "absent"), "--out", str(tmp_path / "store")]) == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "absent does not exist" in line


def test_sample_if_missing_writes_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls: list[dict[str, Any]] = []

    def make_sample(directory: Path, **options: Any) -> None:
        options.pop("progress")(1, 4)
        directory.mkdir()
        calls.append(options)

    monkeypatch.setattr("training.sample.make_sample", make_sample)
    arguments = ["sample", str(tmp_path / "faces"), "--per-class", "2", "--seed", "5"]
    assert main([*arguments, "--if-missing"]) == 0
    assert main([*arguments, "--if-missing"]) == 0
    assert calls == [{"classes": ["mask", "no_mask"], "per_class": 2, "seed": 5}]
    assert capsys.readouterr().out.splitlines() == [
        str(tmp_path / "faces"),
        f"{tmp_path / 'faces'} is there already.",
    ]


def test_sample_drops_repeated_classes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr("training.sample.make_sample", lambda _, **options: calls.append(options))
    given = [*ALL_CLASSES, ALL_CLASSES[0]]
    assert main(["sample", str(tmp_path / "faces"), "--classes", *given]) == 0
    assert calls[0]["classes"] == list(ALL_CLASSES)


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sample", "x", "--classes", "cap"],
        ["fit"],
        ["train"],
        ["fit", "x", "--seed", "y"],
        ["fit", "x", "--nope"],
        ["fit", "x", "--test"],
        *(
            ["fit", "x", f"--target-error={share}"]
            for share in ("0", "1", "-0.1", "1.5", "nan", "inf", "1%", "")
        ),
    ],
)
def test_wrong_command_line_exits_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage: python -m training" in capsys.readouterr().err


def test_fit_help_lists_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["fit", "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for option in ("--out", "--backbone", "--weights", "--groups", "--group-pattern", "--strict",
                   "--cache", "--if-missing", "--seed", "--test", "--target-error",
                   "--robustness", "--preset", "--views"):  # fmt: skip
        assert option in text
