"""Progress of a run: the arithmetic, and its forms."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from models.errors import FacemaskError
from tests import ROOT, WAIT_S
from training.cli.progress import outputs
from training.cli.progress.outputs import Bar, Events, Lines, duration
from training.cli.progress.reporter import _TICK_S, Reporter, report_run
from training.cli.progress.steps import TITLES, fit_steps, make_steps
from training.cli.progress.tracker import Tracker
from training.errors import OutputError, TooFewPictures

STEPS = make_steps("prepare", "features", "evaluate", "publish")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_overall_share_grows_to_one_and_never_falls() -> None:
    clock = Clock()
    tracker = Tracker(STEPS, clock)
    seen = []
    for name, seconds in (("prepare", 3), ("features", 20), ("evaluate", 8), ("publish", 2)):
        tracker.begin(name)  # type: ignore[arg-type]
        for _ in range(10):
            clock.now += seconds / 10
            if name == "features":
                tracker.advance(36, 360)
            seen.append(tracker.snapshot().overall)
    assert seen == sorted(seen)
    assert 0 < seen[0] < 0.1
    assert seen[-1] > 0.9


def test_snapshot_has_rate_and_time_left() -> None:
    clock = Clock()
    tracker = Tracker(STEPS, clock)
    clock.now += 3
    tracker.begin("features")
    for _ in range(5):
        clock.now += 1
        tracker.advance(20, 1000)
    state = tracker.snapshot()
    assert (state.index, state.of, state.done, state.total) == (2, 4, 100, 1000)
    assert state.rate == pytest.approx(20, rel=0.3)
    assert state.left_s == pytest.approx(45, rel=0.3)
    assert state.left_s is not None
    assert state.overall_left_s is not None
    assert state.overall_left_s > state.left_s
    assert state.elapsed_s == 8


def test_steps_from_the_cache_do_not_shorten_the_estimate() -> None:
    clock = Clock()
    tracker = Tracker(make_steps("features", "evaluate", "report"), clock)
    clock.now += 0.05
    tracker.advance(1000, 1000)
    tracker.begin("evaluate")
    clock.now += 2.5
    assert tracker.snapshot().overall_left_s is None
    clock.now += 37.5
    tracker.begin("report")
    left = tracker.snapshot().overall_left_s
    evaluate, report = tracker.steps[1:]
    ratio = (report.fixed_s + 1000 * report.per_picture_s) / (
        evaluate.fixed_s + 1000 * evaluate.per_picture_s
    )
    assert left == pytest.approx(40 * ratio)


def test_no_time_left_is_shown_before_work_is_measured() -> None:
    clock = Clock()
    tracker = Tracker(STEPS, clock)
    clock.now += 60  # imports of a busy machine
    assert tracker.snapshot().overall_left_s is None
    tracker.begin("features")
    clock.now += 60
    assert tracker.snapshot().overall_left_s is None
    tracker.advance(180, 360)
    assert tracker.snapshot().overall_left_s is not None


def test_second_count_within_a_step_starts_at_zero() -> None:
    tracker = Tracker(STEPS, Clock())
    tracker.begin("features")
    for _ in range(3):
        tracker.advance(10, 20)
    assert tracker.snapshot().done == 10
    assert tracker.begin("features") is None
    assert tracker.begin("finetune") is None  # not of this command


def test_every_option_of_fit_has_its_step() -> None:
    plain = {"precision": "fp32", "views": 0, "finetune": None, "tests": [], "robustness": False}
    names = [step.name for step in fit_steps(**plain)]  # type: ignore[arg-type]
    assert names == ["prepare", "features", "audit", "evaluate", "report", "publish"]
    full = fit_steps(precision="auto", views=4, finetune=True, tests=["x"], robustness=True)
    assert {step.name for step in full} == set(TITLES) - {"draw", "int8"}
    assert "int8" in [
        step.name
        for step in fit_steps(precision="auto", views=0, finetune=None, tests=(), robustness=False)
    ]


def events_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_events_are_json_lines_with_a_heartbeat(capsys: pytest.CaptureFixture[str]) -> None:
    stream = io.StringIO()
    reporter = Reporter(STEPS, Events(stream))
    reporter.start({"data": "d", "store": "s", "pid": 7})
    progress = reporter.progress
    progress.begin("features")
    progress.advance(8, 16)
    progress.log("a \x1b line")
    progress.warning("a warning")
    progress.figure("accuracy", 0.9, 0.8, 0.95)
    written, until = len(stream.getvalue().splitlines()), time.monotonic() + WAIT_S
    while len(stream.getvalue().splitlines()) < written + 2:  # by itself
        assert time.monotonic() < until
        time.sleep(0.01)
    reporter.finish({"version": "v"})
    reporter.fail(1, "late", "ignored")
    progress.log("after the end")
    first, *rest = events_of(stream.getvalue())
    assert first["event"] == "started"
    assert first["steps"] == [{"name": step.name, "title": step.title} for step in STEPS]
    assert (first["data"], first["store"], first["pid"]) == ("d", "s", 7)
    kinds = [event["event"] for event in rest]
    assert kinds[:2] == ["step", "progress"]
    begun = [event for event in rest if event["event"] == "step"]
    assert [(step["name"], step["index"], step["of"]) for step in begun] == [
        ("prepare", 1, 4),
        ("features", 2, 4),
    ]
    state = [event for event in rest if event["event"] == "progress"][-1]
    assert (state["step"], state["done"], state["total"]) == ("features", 8, 16)
    assert set(state) == {
        "time", "event", "step", "done", "total", "rate", "left_s", "overall", "overall_left_s",
    }  # fmt: skip
    logged = [(event["level"], event["message"]) for event in rest if event["event"] == "log"]
    assert logged[:2] == [("info", "a \ufffd line"), ("warning", "a warning")]
    figure = next(event for event in rest if event["event"] == "figure")
    assert (figure["name"], figure["value"], figure["low"], figure["high"]) == (
        "accuracy", 0.9, 0.8, 0.95,
    )  # fmt: skip
    ends = [event for event in rest if event["event"] in ("finished", "failed")]
    assert [(end["event"], end["version"]) for end in ends] == [("finished", "v")]
    times = [datetime.fromisoformat(event["time"]) for event in (first, *rest)]
    assert all(moment.tzinfo is not None for moment in times)
    assert times == sorted(times)
    assert _TICK_S <= 1
    assert "a warning" in capsys.readouterr().out  # people read standard output


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (TooFewPictures("Class 'cat' is small."), 3, "too_few_pictures"),
        (OutputError("text."), 6, "output_error"),
        (FacemaskError("text."), 1, "error"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("x"), 1, "internal_error"),
    ],
)
def test_failed_event_names_status_and_code(
    error: BaseException, status: int, code: str, tmp_path: Path
) -> None:
    path = tmp_path / "events"
    path.write_text("")
    with pytest.raises(type(error)), report_run(STEPS, form="json", file=path):
        raise error
    last = events_of(path.read_text())[-1]
    assert (last["event"], last["exit_status"], last["code"]) == ("failed", status, code)


def test_progress_file_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot be written"),
        report_run(STEPS, file=tmp_path / "absent" / "events"),
    ):
        pytest.fail("began")


def test_lines_name_each_step_and_then_the_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_LINE_EVERY_S", 0.0)
    stream = io.StringIO()
    tracker = Tracker(STEPS, Clock())
    lines = Lines(stream)
    tracker.begin("features")
    lines.step(tracker.snapshot())
    tracker.advance(1200, 3600)
    lines.tick(tracker.snapshot())
    first, second = stream.getvalue().splitlines()
    title = TITLES["features"]
    assert first == f"step 2 of 4: {title} ..."
    assert re.fullmatch(rf"step 2 of 4: {title}: \d+%, 1,200 of 3,600 pictures", second)


def test_bar_is_one_line_of_the_terminal_and_log_lines_stay_above_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    stream = io.StringIO()
    tracker = Tracker(STEPS, Clock())
    bar = Bar(stream)
    bar.step(tracker.snapshot())
    bar.log("info", "a line")
    bar.ended("finished", {})
    drawn = stream.getvalue().split("\r\x1b[K")
    assert "\n" not in stream.getvalue()
    assert all(len(text) <= 49 for text in drawn)
    assert drawn[1].startswith("[....................] 0% | step 1 of 4")
    assert drawn[-1] == ""
    assert capsys.readouterr().out == "a line\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (42, "42 s"), (100, "2 min"), (4200, "70 min"), (7260, "2 h 1 min")],
)
def test_duration_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_reporter_outlives_a_closed_stream() -> None:
    stream = io.StringIO()
    reporter = Reporter(STEPS, Events(stream))
    reporter.start({})
    stream.close()
    reporter.progress.log("a line")
    reporter.finish({})


@pytest.mark.parametrize("delay_s", [0, 0.2, 0.6, 4])
def test_started_comes_first_and_sigterm_is_reported(tmp_path: Path, delay_s: float) -> None:
    """As the studio runs it: a pipe, and a signal in the imports or in the wait for the groups."""
    data = tmp_path / "data"
    for label in ("bar", "disc"):
        (data / label).mkdir(parents=True)
        (data / label / "a.png").write_bytes(b"listed, not read")
    os.mkfifo(tmp_path / "groups.csv")
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "training", "fit", str(data), "--out", str(tmp_path / "store"),
         "--groups", str(tmp_path / "groups.csv"), "--progress", "json",
         "--progress-file", f"/dev/fd/{write}", "--cache", str(tmp_path / "cache")],
        cwd=ROOT, pass_fds=(write,), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        first = json.loads(pipe.readline())
        assert first["event"] == "started"
        assert first["pid"] == process.pid
        threading.Timer(delay_s, process.terminate).start()
        *_, last = events_of(pipe.read())
    process.communicate(timeout=WAIT_S)
    assert process.returncode == last["exit_status"] == 130
    assert (last["event"], last["code"]) == ("failed", "interrupted")
