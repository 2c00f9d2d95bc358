"""Arithmetic of progress: how far a step and the whole run are, how fast, and the time left."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from training.cli.progress.steps import Step
from training.data.progress import StepName

_ASSUMED_PICTURES: Final = 360  # until the first step that counts names its total
_RATE_WINDOW_S: Final = 20.0
_CACHED: Final = 0.2  # of the expected time: a faster step came from the cache, shows no speed
_MAX_UNCOUNTED: Final = 0.95  # of a step that counts nothing and takes longer than expected
_MIN_MEASURED: Final = 0.03  # of the expected time of a run; below, the time left is not estimated
_UNMEASURED: Final[StepName] = "prepare"  # imports modules: its time shows no speed


@dataclass(frozen=True)
class Snapshot:
    """State of a run at one moment.

    Attributes:
        step: The current step.
        index: Its number, from 1.
        of: Number of steps.
        done: Pictures done in this step; None if it counts none.
        total: Pictures to do in this step.
        rate: Pictures per second, of late.
        left_s: Seconds left in this step.
        overall: Share of the whole run, 0..1; never falls.
        overall_left_s: Seconds left in the whole run; None until enough work is measured.
        elapsed_s: Seconds since the run began.
    """

    step: Step
    index: int
    of: int
    done: int | None
    total: int | None
    rate: float | None
    left_s: float | None
    overall: float
    overall_left_s: float | None
    elapsed_s: float


class Tracker:
    """Steps of a run and the clock; not safe for several threads."""

    def __init__(self, steps: Sequence[Step], clock: Callable[[], float] = time.monotonic) -> None:
        """Begin the first step."""
        self.steps = list(steps)
        self._clock = clock
        self._start = clock()
        self._pictures: int | None = None
        self._actual: dict[StepName, float] = {}  # seconds of the finished steps
        self._overall = 0.0
        self._index = 0
        self._step_start = self._start
        self._done, self._total = 0, 0
        self._recent: deque[tuple[float, int]] = deque()  # (clock, pictures done)

    def begin(self, name: StepName) -> Step | None:
        """Begin a step; return it, or None if it is the current one or not of this command."""
        position = next((i for i, step in enumerate(self.steps) if step.name == name), None)
        if position is None or position == self._index:
            return None
        self._actual[self.steps[self._index].name] = self._clock() - self._step_start
        self._index = position
        self._reset_step()
        return self.steps[position]

    def advance(self, done: int, total: int) -> None:
        """Count pictures of the current step; another total, or too many, begins a new count."""
        if total != self._total or self._done + done > total:
            self._done, self._total = 0, total
            self._recent.clear()
            self._recent.append((self._clock(), 0))
        self._done += done
        self._pictures = self._pictures or total
        now = self._clock()
        self._recent.append((now, self._done))
        while len(self._recent) > 2 and self._recent[0][0] < now - _RATE_WINDOW_S:
            self._recent.popleft()

    def snapshot(self) -> Snapshot:
        """Return the state now."""
        now = self._clock()
        step, rate = self.steps[self._index], self._rate(now)
        in_step = now - self._step_start
        speed, measured_s = self._speed(in_step)
        expected = self._expected(step) * speed
        if self._total:
            share = self._done / self._total
            left = (self._total - self._done) / rate if rate else None
        else:
            share = min(1 - math.exp(-in_step / max(expected, 1e-9)), _MAX_UNCOUNTED)
            left = max(expected - in_step, 0.0) or None
        rest = sum(self._expected(each) for each in self.steps[self._index + 1 :]) * speed
        before = sum(self._expected(each) for each in self.steps[: self._index]) * speed
        overall = (before + share * expected) / max(before + expected + rest, 1e-9)
        self._overall = max(self._overall, min(overall, 1.0))
        whole_s = sum(map(self._expected, self.steps))
        this_left = left if left is not None else (1 - share) * expected
        return Snapshot(
            step=step,
            index=self._index + 1,
            of=len(self.steps),
            done=self._done if self._total else None,
            total=self._total or None,
            rate=rate,
            left_s=left,
            overall=self._overall,
            overall_left_s=this_left + rest if measured_s >= _MIN_MEASURED * whole_s else None,
            elapsed_s=now - self._start,
        )

    def _reset_step(self) -> None:
        self._step_start = self._clock()
        self._done, self._total = 0, 0
        self._recent.clear()

    def _rate(self, now: float) -> float | None:
        if not self._recent or now <= self._recent[0][0]:
            return None
        (since, first), done = self._recent[0], self._done
        return (done - first) / (now - since) if done > first else None

    def _expected(self, step: Step) -> float:
        return step.fixed_s + step.per_picture_s * (self._pictures or _ASSUMED_PICTURES)

    def _speed(self, in_step: float) -> tuple[float, float]:
        """Return how fast this machine is, from the work so far.

        Returns:
            The factor of its time to the expected one, and the expected seconds of that work.
        """
        actual = expected = 0.0
        for step in self.steps[: self._index]:
            seconds, guess = self._actual.get(step.name, 0.0), self._expected(step)
            if seconds >= _CACHED * guess and step.name != _UNMEASURED:
                actual, expected = actual + seconds, expected + guess
        if self._total and self._done:
            step = self.steps[self._index]
            guess = self._expected(step) * self._done / self._total
            if in_step >= _CACHED * guess:
                actual, expected = actual + in_step, expected + guess
        return (actual / expected, expected) if expected > 0 else (1.0, 0.0)
