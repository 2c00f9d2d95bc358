"""Command line of the training job: output and exit statuses."""

import dataclasses
import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import training.job
from models.bundle.files import MODEL, read_manifest
from models.bundle.load import open_bundle
from models.bundle.out_of_fold import parse_answers
from models.bundle.publish import publish
from models.bundle.store import checkout_store, current_version, versions
from models.environment import warn_of_misspelt
from models.errors import BundleError, FacemaskError
from models.terminal import run_command
from service.settings import Settings
from tests import ROOT, WAIT_S
from tests.images import DrawData
from tests.models.tiny_bundle import bundle_facts
from tests.training.fitted import make_fitted
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
from training.job import Fitted
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
        timeout=300,
        check=False,
    )


def test_fit_prints_the_bundle_path_and_is_deterministic(
    shapes: Path, tmp_path: Path, draw_data: DrawData
) -> None:
    apart = draw_data(tmp_path / "apart", {"disc": 3}, seed=5) / "disc"
    contents = []
    for number in (1, 2):
        # Caches of their own: neither run may owe its bytes to the other.
        done = command("fit", shapes, "--out", tmp_path / str(number), "--views", "1",
                       "--test", f"disc={apart}", "--cache", tmp_path / f"cache{number}",
                       PYTHONHASHSEED=str(number))  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        path = Path(done.stdout.splitlines()[-1])
        assert path == tmp_path / str(number) / current_version(tmp_path / str(number))
        assert open_bundle(path).manifest.labels == ["bar", "disc"]
        files = {name: (path / name).read_bytes() for name in read_manifest(path).files}
        contents.append(files | {"metrics": read_manifest(path).metrics})
    assert set(contents[0]) == {
        MODEL, "report.html", "summary.json", "model_card.md", "out_of_fold.csv",
        "test_answers.csv", "metrics",
    }  # fmt: skip
    tested = parse_answers((path / "test_answers.csv").read_bytes())
    assert {each.sha256 for each in tested} == {
        hashlib.sha256(file.read_bytes()).hexdigest() for file in apart.iterdir()
    }
    assert {(each.label, each.slices["test"]) for each in tested} == {("disc", f"disc={apart}")}
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
        _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1].startswith("interrupted: nothing was published")
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
    assert captured.err.startswith("step 1 of 8: ")
    assert captured.err.splitlines()[1:] == ["error: text."]
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
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_model: bytes,
) -> None:
    fitted = make_fitted(tmp_path / "store", tiny_model)
    seen: dict[str, Any] = {}

    def fit(options: training.job.FitOptions, config: FitConfig, progress: Progress) -> Fitted:
        seen.update(options=options, config=config)
        progress.log("a line")
        progress.advance(1, 2)
        return fitted

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
    first, *box, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("a line", str(fitted.path))
    assert box[0].startswith(f"-- {fitted.version} ")
    decision = fitted.summary["decision"]
    answers = f"  Answers   {decision['coverage']:.1%} of such pictures get a class; the others are"
    assert any(line.startswith(answers) for line in box)
    assert f"  Report    {fitted.report.as_uri()}" in box
    assert "  Serve     FACEMASK_STORE=" in "\n".join(box)
    assert main(["fit", "d"]) == 0
    assert seen["options"] == training.job.FitOptions(
        data=Path("d"), store=checkout_store(), cache=default_cache(), tests=[]
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
    *_, line = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "absent does not exist" in line


def test_sample_if_missing_writes_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    calls: list[dict[str, Any]] = []

    def make_sample(directory: Path, **options: Any) -> None:
        options.pop("progress")(1, 4)
        assert options.pop("processes") >= 1
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


# --- names, and what the output is connected to -----------------------------------------------


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory: pytest.TempPathFactory, draw_data: DrawData) -> Path:
    """Return a data set with copies whose names are not UTF-8, or move the cursor."""
    data = draw_data(tmp_path_factory.mktemp("odd") / "data", {"bar": 10, "disc": 10})
    copy = (data / "bar" / "001.jpg").read_bytes()
    for name in (b"caf\xe9.jpg", "日本.jpg".encode(), b"\x1b[31mred.jpg", b"two\nlines.jpg"):
        (data / "bar" / os.fsdecode(name)).write_bytes(copy)
    (data / "bar" / os.fsdecode(b"caf\xe9.txt")).write_bytes(b"")
    (data / "groups.csv").write_text("file,group\nbar/001.jpg,g\nbar/001.png,g\n")
    return data


@pytest.mark.parametrize("encoding", ["utf-8:strict", "latin-1", "ascii:strict"])
def test_audit_prints_names_in_any_encoding(odd_names: Path, tmp_path: Path, encoding: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "audit", odd_names, "--no-model",
         "--cache", tmp_path / "cache", "--json", tmp_path / "found.json"],
        cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": encoding}, capture_output=True,
        timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode(encoding.partition(":")[0])
    assert "\x1b" not in text
    assert "groups.csv: 1 of 2 rows names no picture, the first bar/001.png" in text
    if encoding.startswith("utf-8"):
        for name in ("caf\ufffd.jpg", "日本.jpg", "\ufffd[31mred.jpg", "two\ufffdlines.jpg"):
            assert f"bar/{name}" in text
    found = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert any(finding["kind"] == "unmatched_rows" for finding in found["findings"])


@pytest.mark.parametrize(
    ("redirection", "status", "reason"),
    [
        ("| true; exit ${PIPESTATUS[0]}", 141, ""),
        ("> /dev/full", 6, "error: standard output cannot be written to (No space left on device)"),
        (">&-", 0, ""),
        (">&- 2>&-", 0, ""),
    ],
)
def test_audit_ends_quietly_whatever_its_output_is(
    odd_names: Path, tmp_path: Path, redirection: str, status: int, reason: str
) -> None:
    program = shlex.join(
        [sys.executable, "-m", "training", "audit", str(odd_names), "--no-model",
         "--cache", str(tmp_path)]
    )  # fmt: skip
    done = subprocess.run(
        ["bash", "-c", f"{program} {redirection}"],
        cwd=ROOT, capture_output=True, text=True, timeout=WAIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert reason in done.stderr
    assert "Traceback" not in done.stderr


def test_fit_outlives_a_closed_output(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_model: bytes
) -> None:
    """The run is worth more than its log: it publishes, and the status says what is lost."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    published: list[bool] = []

    def fit(options: object, config: object, progress: Progress) -> Any:
        progress.log("a line")
        published.append(True)
        return make_fitted(tmp_path / "store", tiny_model)

    monkeypatch.setattr(training.job, "fit", fit)
    monkeypatch.setattr(sys, "stdout", Closed())
    assert run_command(lambda: main(["fit", "data", "--cache", str(tmp_path)])) == 141
    assert published == [True]


def test_control_characters_of_an_error_are_not_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", str(tmp_path / "\x1b[31mred"), "--cache", str(tmp_path)]) == 3
    assert "\x1b" not in capsys.readouterr().err


@pytest.mark.parametrize("cache", ["/w/feature%2Fx", "%s", "", "  "])
@pytest.mark.parametrize("name", ["--help", "fit", "audit", "sample"])
def test_help_reads_no_default_of_the_cache(
    name: str, cache: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setenv("FACEMASK_CACHE", cache)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"] if name != "--help" else [name])
    assert caught.value.code == 0
    assert "usage:" in capsys.readouterr().out


def test_run_without_home_needs_a_cache_folder(
    shapes: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    for name in ("FACEMASK_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")
    assert main(["audit", str(shapes), "--no-model"]) == 6
    assert "give --cache FOLDER" in capsys.readouterr().err
    assert main(["audit", str(shapes), "--no-model", "--cache", str(tmp_path)]) == 0


def test_misspelt_variables_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("FACEMASK_STOR", str(tmp_path))
    assert main(["audit", str(tmp_path / "absent"), "--cache", str(tmp_path)]) == 3
    assert "FACEMASK_STOR is set, and nothing reads it: is FACEMASK_STORE meant?" in caplog.text


def test_no_setting_of_the_service_looks_misspelt(caplog: pytest.LogCaptureFixture) -> None:
    names = [f"FACEMASK_{name.upper()}" for name in Settings.model_fields]
    assert len(names) > 20
    warn_of_misspelt(("FACEMASK_STORE", "FACEMASK_CACHE"), dict.fromkeys(names, "x"))
    warn_of_misspelt(("FACEMASK_STORE", "FACEMASK_TRUSTED_KEYS"), dict.fromkeys(names, "x"))
    assert caplog.text == ""


def test_fit_and_models_have_one_default_store(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_model: bytes,
) -> None:
    fitted = make_fitted(tmp_path / "store", tiny_model)
    seen: list[Path] = []

    def fit(options: training.job.FitOptions, *_: object, **__: object) -> Fitted:
        seen.append(options.store)
        return fitted

    monkeypatch.setattr(training.job, "fit", fit)
    monkeypatch.setenv("FACEMASK_STORE", str(tmp_path / "store"))
    assert main(["fit", "data"]) == 0
    assert seen == [tmp_path / "store"] == [Settings().store]
    out = capsys.readouterr().out
    assert "  Serve     python -m service\n" in out
    assert "Go back" not in out  # there is no version before
