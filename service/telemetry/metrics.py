"""What Prometheus sees of the service, on a registry of its own.

With several processes PROMETHEUS_MULTIPROC_DIR names a folder that was empty before any of them
started: each writes its figures there, and whichever is asked answers for all.
"""

import contextlib
import os
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    Summary,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from models.bundle.manifest import Manifest

MEDIA_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_MULTIPROCESS: Final = "PROMETHEUS_MULTIPROC_DIR"

# From a small picture on a fast machine to the default deadline, in seconds.
_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Load(NamedTuple):
    """What the service has in hand at a moment.

    Attributes:
        pictures: Accepted and not yet answered.
        pixels: Of these together, by their headers.
        body_bytes: Of requests, those still being read among them.
    """

    pictures: int = 0
    pixels: int = 0
    body_bytes: int = 0


class Metrics:
    """Every figure, by what happened."""

    def __init__(self) -> None:
        """Start from nothing."""
        own = self._registry = CollectorRegistry()
        requests = Counter(
            "facemask_requests", "Requests answered.", ["route", "status"], registry=own
        )
        request_s = Histogram(
            "facemask_request_seconds",
            "From the request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=own,
        )
        shed = Counter(
            "facemask_shed",
            "Requests turned away, by the problem's code.",
            ["reason"],
            registry=own,
        )
        # A metric looks its labels up under a lock; their values are few.
        self._requests, self._request_s = cache(requests.labels), cache(request_s.labels)
        self._shed = cache(shed.labels)
        self._load = [
            Gauge(name, what, multiprocess_mode="livesum", registry=own)
            for name, what in (  # as in `Load`
                ("facemask_waiting_pictures", "Pictures accepted and not yet answered."),
                ("facemask_waiting_pixels", "Their pixels, by their headers."),
                ("facemask_body_bytes", "Bytes of request bodies in memory."),
            )
        ]
        self._connections = Gauge(
            "facemask_connections",
            "Open connections.",
            multiprocess_mode="livesum",
            registry=own,
        )
        self._refused_connections = Counter(
            "facemask_refused_connections",
            "Connections closed with an error before they held a request, by the problem's code.",
            ["code"],
            registry=own,
        )
        self._batch_size = Histogram(
            "facemask_batch_pictures", "Pictures a forward pass.", buckets=_SIZES, registry=own
        )
        self._wait_s = Histogram(
            "facemask_wait_seconds", "Longest wait in a batch.", buckets=_SECONDS, registry=own
        )
        self._decode_s = Histogram(
            "facemask_decode_seconds", "Decoding of a batch.", buckets=_SECONDS, registry=own
        )
        self._forward_s = Histogram(
            "facemask_forward_seconds", "Forward pass of a batch.", buckets=_SECONDS, registry=own
        )
        self._decisions = Counter(
            "facemask_decisions", "Pictures answered, by decision.", ["decision"], registry=own
        )
        self._unreadable = Counter(
            "facemask_unreadable_pictures",
            "Pictures not answered, by code.",
            ["code"],
            registry=own,
        )
        self._score = Summary("facemask_score", "Probability of the likeliest class.", registry=own)
        self._trained_score = Gauge(
            "facemask_trained_score",
            "The mean that facemask_score had in cross-validation.",
            multiprocess_mode="livemax",
            registry=own,
        )
        self._unfamiliar = Counter(
            "facemask_unfamiliar", "Pictures unlike those trained on.", registry=own
        )
        self._distance = Summary(
            "facemask_distance", "Of pictures from the training pictures.", registry=own
        )
        self._trained_distance = Gauge(
            "facemask_trained_distance",
            "The mean that facemask_distance has among the training pictures.",
            multiprocess_mode="livemax",
            registry=own,
        )
        self._model = Gauge(
            "facemask_model_info",
            "1 for the version that is served.",
            ["version", "backbone"],
            multiprocess_mode="livemax",
            registry=own,
        )
        self._swaps = Counter("facemask_swaps", "Models that went into service.", registry=own)
        self._refusals = Counter(
            "facemask_refusals", "Bundles that were refused, by code.", ["code"], registry=own
        )
        self._served: tuple[str, str] | None = None
        ProcessCollector(registry=own)

    def request(self, route: str, status: int, seconds: float, load: Load) -> None:
        """A request was answered, and so much is in hand now."""
        self._requests(route, status).inc()
        self._request_s(route).observe(seconds)
        self._set(load)

    def connections(self, count: int) -> None:
        """So many connections are open now."""
        self._connections.set(count)

    def refused_connection(self, code: str) -> None:
        """A connection was closed with an error before it held a request."""
        self._refused_connections.labels(code).inc()

    def shed(self, reason: str) -> None:
        """A request was turned away for want of capacity, time or a model."""
        self._shed(reason).inc()

    def batch(self, size: int, wait_s: float, decode_s: float, forward_s: float) -> None:
        """A batch was answered; called on any thread."""
        self._batch_size.observe(size)
        self._wait_s.observe(wait_s)
        self._decode_s.observe(decode_s)
        self._forward_s.observe(forward_s)

    def answered(self, predictions: Iterable[Mapping[str, Any]]) -> None:
        """Pictures were answered, each as in the `predictions` of POST /predict."""
        for entry in predictions:
            if "error" in entry:
                self._unreadable.labels(entry["error"]["code"]).inc()
            else:
                self._decisions.labels(entry["decision"]).inc()
                self._score.observe(entry["score"])
                if entry["distance"] is not None:
                    self._distance.observe(entry["distance"])
                    self._unfamiliar.inc(not entry["familiar"])

    def served(self, manifest: Manifest) -> None:
        """A model went into service."""
        if self._served is not None:
            if _MULTIPROCESS in os.environ:  # where a series cannot be taken back
                self._model.labels(*self._served).set(0)
            else:
                self._model.remove(*self._served)
        self._served = (manifest.version, manifest.backbone.name)
        self._model.labels(*self._served).set(1)
        figures = manifest.metrics.get("cross_validation", {})
        # A bundle from before it was measured has none.
        self._trained_score.set(figures.get("mean_score", float("nan")))
        known = manifest.familiarity
        self._trained_distance.set(known.mean_distance if known else float("nan"))
        self._swaps.inc()

    def refused(self, code: str) -> None:
        """A bundle was refused."""
        self._refusals.labels(code).inc()

    def render(self, load: Load) -> bytes:
        """The figures in Prometheus' text format, of all processes where there are several."""
        self._set(load)
        registry = self._registry
        if _MULTIPROCESS in os.environ:
            _forget_the_dead(Path(os.environ[_MULTIPROCESS]))
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
            ProcessCollector(registry=registry)  # of the process that was asked
        return generate_latest(registry)

    def _set(self, load: Load) -> None:
        for gauge, value in zip(self._load, load, strict=True):
            gauge.set(value)


def _forget_the_dead(folder: Path) -> None:
    """Drop what processes that have ended said of themselves; what they counted stays."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            with contextlib.suppress(FileNotFoundError):  # another process is asked, too
                mark_process_dead(pid)  # type: ignore[no-untyped-call]
