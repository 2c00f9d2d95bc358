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
    """Objects that the application creates at the start.

    Attributes:
        settings: Settings, read at the start.
        model_manager: Owner of the model being served.
        budgets: Limits on pictures, pixels and bytes in progress.
        metrics: Metrics for Prometheus.
        watchdog: Detector of a dead or hung model worker.
        shutdown: Handler of SIGTERM.
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
        """Return the pictures, pixels and bytes in progress."""
        budgets = self.budgets
        return Load(budgets.pictures.held, budgets.pixels.held, budgets.body_bytes.held)
