"""Metrics for Prometheus, on a registry of their own.

With several processes, PROMETHEUS_MULTIPROC_DIR names a folder that was empty before any of them
started: each writes its metrics there, and the scraped process reports the sum of all.
"""

import contextlib
import os
from functools import cache, partial
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from models.bundle.manifest import Manifest

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"

# From a small picture on a fast machine to the default deadline.
_BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BUCKETS_PICTURES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Load(NamedTuple):
    """Pictures, pixels and bytes in progress.

    Attributes:
        pictures: Pictures accepted and not yet answered.
        pixels: Total pixels of these pictures, by their headers.
        body_bytes: Total bytes of request bodies, including those still being read.
    """

    pictures: int = 0
    pixels: int = 0
    body_bytes: int = 0


class Metrics:
    """Every metric, with one method per event."""

    def __init__(self) -> None:
        """Register every metric, at zero."""
        # One time series more for each counter and histogram.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        counter, summary = partial(Counter, registry=registry), partial(Summary, registry=registry)
        seconds = partial(Histogram, buckets=_BUCKETS_S, registry=registry)
        # Over several processes: the sum over those that run, the maximum, or the minimum.
        total = partial(Gauge, multiprocess_mode="livesum", registry=registry)
        common = partial(Gauge, multiprocess_mode="livemax", registry=registry)
        oldest = partial(Gauge, multiprocess_mode="livemin", registry=registry)

        requests = counter("facemask_requests", "Requests answered.", ["route", "status"])
        request_s = seconds(
            "facemask_request_seconds",
            "From the request's head to the end of its answer.",
            ["route"],
        )
        shed = counter("facemask_shed", "Requests refused, by the problem's code.", ["reason"])
        # Cached: a metric looks its labels up under a lock, and they have few values.
        self._requests, self._request_s = cache(requests.labels), cache(request_s.labels)
        self._shed = cache(shed.labels)
        self._load = [  # in the order of `Load`
            total("facemask_waiting_pictures", "Pictures accepted and not yet answered."),
            total("facemask_waiting_pixels", "Total pixels of these pictures, by their headers."),
            total("facemask_body_bytes", "Bytes of request bodies in memory."),
        ]
        self._connections = total("facemask_connections", "Open connections.")
        self._refused_connections = counter(
            "facemask_refused_connections",
            "Connections closed with an error before they held a request, by the problem's code.",
            ["code"],
        )
        self._batch_size = Histogram(
            "facemask_batch_pictures",
            "Pictures per forward pass.",
            buckets=_BUCKETS_PICTURES,
            registry=registry,
        )
        self._wait_s = seconds("facemask_wait_seconds", "Longest wait in a batch.")
        self._decode_s = seconds("facemask_decode_seconds", "Decoding of a batch.")
        self._forward_s = seconds("facemask_forward_seconds", "Forward pass of a batch.")
        self._decisions = counter(
            "facemask_decisions", "Pictures answered, by decision.", ["decision"]
        )
        self._framed = counter(
            "facemask_framed", "Pictures answered by their main face, framed as in training."
        )
        self._unreadable = counter(
            "facemask_unreadable_pictures", "Pictures not answered, by code.", ["code"]
        )
        self._score = summary("facemask_score", "Probability of the likeliest class.")
        self._trained_score = common(
            "facemask_trained_score", "Mean of facemask_score in cross-validation."
        )
        self._unfamiliar = counter("facemask_unfamiliar", "Pictures out of distribution.")
        self._distance = summary("facemask_distance", "Distance to the training pictures.")
        self._trained_distance = common(
            "facemask_trained_distance",
            "Mean of facemask_distance among the training pictures.",
        )
        self._model = common(
            "facemask_model_info", "1 for the version in service.", ["version", "backbone"]
        )
        self._polled = oldest(
            "facemask_store_polled_timestamp_seconds",
            "Unix time of the last poll that could read the store.",
        )
        self._swaps = counter("facemask_swaps", "Models that went into service.")
        self._refusals = counter("facemask_refusals", "Bundles refused, by code.", ["code"])
        self._served: tuple[str, str] | None = None
        ProcessCollector(registry=registry)

    def record_request(self, route: str, status: int, seconds: float, load: Load) -> None:
        """Record an answered request, and the load after it."""
        self._requests(route, status).inc()
        self._request_s(route).observe(seconds)
        self._set(load)

    def record_connections(self, count: int) -> None:
        """Record the number of open connections."""
        self._connections.set(count)

    def record_refused_connection(self, code: str) -> None:
        """Record a connection that was closed with an error before it held a request."""
        self._refused_connections.labels(code).inc()

    def record_shed(self, reason: str) -> None:
        """Record a request refused for lack of capacity, time or a model."""
        self._shed(reason).inc()

    def record_batch(self, size: int, wait_s: float, decode_s: float, forward_s: float) -> None:
        """Record an answered batch; may be called on any thread."""
        self._batch_size.observe(size)
        self._wait_s.observe(wait_s)
        self._decode_s.observe(decode_s)
        self._forward_s.observe(forward_s)

    def record_prediction(
        self,
        decision: str,
        score: float,
        *,
        distance: float | None,
        familiar: bool | None,
        framed: bool = False,
    ) -> None:
        """Record the answer for a picture, or for a face of it."""
        self._decisions.labels(decision).inc()
        self._score.observe(score)
        self._framed.inc(framed)
        if distance is not None:
            self._distance.observe(distance)
            self._unfamiliar.inc(not familiar)

    def record_unreadable(self, code: str) -> None:
        """Record a picture that could not be read, by its error's code."""
        self._unreadable.labels(code).inc()

    def record_model(self, manifest: Manifest) -> None:
        """Record a model that went into service."""
        if self._served is not None:
            if _MULTIPROCESS in os.environ:  # a time series cannot be removed in this mode
                self._model.labels(*self._served).set(0)
            else:
                self._model.remove(*self._served)
        self._served = (manifest.version, manifest.backbone.name)
        self._model.labels(*self._served).set(1)
        # An early bundle has no mean score.
        mean_score = manifest.scores.mean_score
        self._trained_score.set(float("nan") if mean_score is None else mean_score)
        detector = manifest.familiarity
        self._trained_distance.set(detector.mean_distance if detector else float("nan"))
        self._swaps.inc()

    def record_poll(self) -> None:
        """Record a poll that could read the store."""
        self._polled.set_to_current_time()

    def record_refusal(self, code: str) -> None:
        """Record a bundle that was refused."""
        self._refusals.labels(code).inc()

    def render(self, load: Load) -> bytes:
        """Return the metrics of all processes in Prometheus' text format."""
        self._set(load)
        registry = self._registry
        if _MULTIPROCESS in os.environ:
            _drop_ended_processes(Path(os.environ[_MULTIPROCESS]))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            ProcessCollector(registry=registry)  # of the scraped process
        return generate_latest(registry)

    def _set(self, load: Load) -> None:
        for gauge, value in zip(self._load, load, strict=True):
            gauge.set(value)


def _drop_ended_processes(folder: Path) -> None:
    """Drop the gauges of processes that have ended; their counters stay."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):  # another process does the same
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
