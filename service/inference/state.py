"""State that all requests share for the life of the service."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from service.inference.model_manager import ModelManager
from service.inference.session import Session, open_session
from service.inference.watchdog import Watchdog
from service.limits.budget import RequestBudgets
from service.process.shutdown import GracefulShutdown
from service.settings import Settings
from service.telemetry.metrics import Load, Metrics


@dataclass(frozen=True)
class State:
    """What the application creates when it starts.

    Attributes:
        settings: As read at the start.
        model_manager: Holds the model being served.
        budgets: Bounds on pictures, pixels and bytes in progress.
        metrics: For Prometheus.
        watchdog: Detects a dead or hung model worker.
        shutdown: Set once the service is asked to stop.
        started: Time of the start, on `time.monotonic()`'s clock, in seconds.
    """

    settings: Settings
    model_manager: ModelManager
    budgets: RequestBudgets
    metrics: Metrics
    watchdog: Watchdog
    shutdown: GracefulShutdown
    started: float

    def open_session(self) -> AbstractAsyncContextManager[Session]:
        """Admit a call: see `service.inference.session`."""
        return open_session(self.settings, self.model_manager, self.budgets)

    def load(self) -> Load:
        """Return what is in progress now."""
        budgets = self.budgets
        return Load(budgets.pictures.held, budgets.pixels.held, budgets.body_bytes.held)
