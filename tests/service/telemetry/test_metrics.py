"""Metrics, and that the dashboard and the alerts query nothing else."""

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from models.bundle.files import MODEL
from models.bundle.store import set_current
from service.telemetry.metrics import Load, Metrics
from tests import ROOT, WAIT_S
from tests.service.fixtures import (
    code_picture,
    files_of,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)

OPS = ROOT / "ops"


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Each sample by its name and its labels' values."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_metrics_count_requests_decisions_and_unreadable_pictures(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> dict[tuple[str, ...], float]:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            torn = ("files", ("torn.png", code_picture(1)[:60], "image/png"))
            files = [*files_of(100, 4000, 2048), torn]
            await client.post("/predict", files=files)
            await client.post("/predict", files={"files": b""})
            await client.get("/nowhere")
            await client.get("/somewhere/else")
            await client.head("/")
            await client.get("/page/none.js")
            await client.get("/static-offline-docs/swagger-ui.css")
            await client.get("/openapi.json")
            await client.get("/predict")
            response = await client.get("/metrics")
        assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
        return figures(response.text)

    found = wait(scene())
    assert found["facemask_requests_total", "/predict", "200"] == 1
    assert found["facemask_requests_total", "/predict", "400"] == 1
    assert found["facemask_requests_total", "unmatched", "404"] == 2
    assert found["facemask_requests_total", "page", "200"] == 1
    assert found["facemask_requests_total", "page", "404"] == 1
    assert found["facemask_requests_total", "docs", "200"] == 2
    assert found["facemask_requests_total", "/predict", "405"] == 1
    assert not [name for name, *_ in found if name.endswith("_created")]
    assert found["facemask_request_seconds_count", "/predict"] == 3
    assert found["facemask_decisions_total", "mask"] == 1
    assert found["facemask_decisions_total", "no_mask"] == 1
    assert found["facemask_decisions_total", "uncertain"] == 1
    assert found["facemask_unreadable_pictures_total", "undecodable_image"] == 1
    assert found["facemask_score_count",] == 3
    assert 1.5 < found["facemask_score_sum",] <= 3
    assert found["facemask_waiting_pictures",] == 0
    assert found["facemask_swaps_total",] == 1
    assert found["process_resident_memory_bytes",] > 10_000_000
    assert found["process_cpu_seconds_total",] > 0


def test_metrics_observe_batches_by_size(tmp_path: Path) -> None:
    publish_bundle(tmp_path)

    async def scene() -> dict[tuple[str, ...], float]:
        async with serving(settings_of(tmp_path, poll_s=0.001)) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            await client.post("/predict", files=files_of(1, 2, 3))
            return figures((await client.get("/metrics")).text)

    found = wait(scene())
    assert found["facemask_batch_pictures_sum",] == 3
    batches = found["facemask_batch_pictures_count",]
    for part in ("wait", "decode", "forward"):
        assert found[f"facemask_{part}_seconds_count",] == batches >= 1
    assert found["facemask_forward_seconds_sum",] > 0


def test_metrics_count_shed_requests_by_reason(tmp_path: Path) -> None:
    async def scene() -> dict[tuple[str, ...], float]:
        async with serving(settings_of(tmp_path / "none")) as (client, _):
            await client.post("/predict", files=files_of(1))
            await client.get("/readyz")
            return figures((await client.get("/metrics")).text)

    found = wait(scene())
    assert found["facemask_shed_total", "no_model"] == 1
    assert not [key for key in found if key[0] == "facemask_model_info"]


def test_metrics_show_the_load_in_progress(tmp_path: Path) -> None:
    async def scene() -> dict[tuple[str, ...], float]:
        async with serving(settings_of(tmp_path)) as (client, state):
            budgets = state.budgets
            with (
                budgets.pictures.reserve(5),
                budgets.pixels.reserve(600),
                budgets.body_bytes.reserve(7000),
            ):
                return figures((await client.get("/metrics")).text)

    found = wait(scene())
    assert found["facemask_waiting_pictures",] == 5
    assert found["facemask_waiting_pixels",] == 600
    assert found["facemask_body_bytes",] == 7000


def test_metrics_show_swaps_refusals_and_the_version_in_service(tmp_path: Path) -> None:
    publish_bundle(tmp_path)

    async def scene() -> tuple[str, dict[tuple[str, ...], float]]:
        async with serving(settings_of(tmp_path, poll_s=3600)) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            bad = publish_bundle(tmp_path)
            (bad.path / MODEL).write_bytes(b"")
            await state.model_manager.poll_once()
            second = publish_bundle(tmp_path)
            await state.model_manager.poll_once()
            assert state.model_manager.engine.manifest.version == second.manifest.version
            set_current(tmp_path, second.manifest.version)
            return second.manifest.version, figures((await client.get("/metrics")).text)

    version, found = wait(scene())
    versions = {key[2]: value for key, value in found.items() if key[0] == "facemask_model_info"}
    assert versions == {version: 1}
    assert found["facemask_swaps_total",] == 2
    assert found["facemask_refusals_total", "bundle_incomplete"] == 1
    assert found["facemask_trained_score",] == 0.9


def test_each_metrics_object_counts_for_itself(tmp_path: Path) -> None:
    one, other = Metrics(), Metrics()
    one.record_shed("overloaded")
    assert b'reason="overloaded"' in one.render(Load())
    assert b'reason="overloaded"' not in other.render(Load())


_WORKER = """
import sys
from service.telemetry.metrics import Load, Metrics
metrics = Metrics()
metrics.record_request("/predict", 200, 0.1, Load(2, 200, 2000))
metrics.record_batch(4, 0.1, 0.1, 0.1)
metrics.record_prediction("mask", 0.5, distance=0.25, familiar=True)
sys.stdout.write(metrics.render(Load(2, 200, 2000)).decode())
"""


def test_metrics_of_several_processes_are_summed(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    texts = [
        subprocess.run(
            [sys.executable, "-c", _WORKER],
            env=environment,
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=True,
        ).stdout
        for _ in range(2)
    ]
    found = figures(texts[-1])
    assert found["facemask_requests_total", "/predict", "200"] == 2
    assert found["facemask_batch_pictures_sum",] == 8
    assert found["facemask_score_sum",] == 1.0
    assert found["facemask_distance_sum",] == 0.5
    assert found["facemask_unfamiliar_total",] == 0
    assert found["facemask_waiting_pictures",] == 2  # those of the first have gone with it
    assert found["facemask_waiting_pixels",] == 200
    assert found["facemask_body_bytes",] == 2000
    assert found["process_resident_memory_bytes",] > 0


# --- the dashboard and the alerts ----------------------------------------------------------


def expressions() -> list[str]:
    dashboard = json.loads((OPS / "grafana.json").read_text())
    rules: list[Any] = yaml.safe_load((OPS / "alerts.yml").read_text())["groups"][0]["rules"]
    queried = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*queried, *(rule["expr"] for rule in rules)]


@pytest.fixture(scope="module", name="busy")
def _busy(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Metrics in which every event has happened once."""
    bundle = publish_bundle(tmp_path_factory.mktemp("store"))
    metrics = Metrics()
    metrics.record_request("/predict", 200, 0.1, Load())
    metrics.record_shed("overloaded")
    metrics.record_refused_connection("too_many_connections")
    metrics.record_batch(1, 0.1, 0.1, 0.1)
    metrics.record_prediction("mask", 0.5, distance=0.5, familiar=False)
    metrics.record_unreadable("x")
    metrics.record_model(bundle.manifest)
    metrics.record_refusal("x")
    return metrics.render(Load()).decode()


def test_dashboard_and_alerts_query_existing_metrics(busy: str) -> None:
    exported = {key[0] for key in figures(busy)}
    queried = {
        name for text in expressions() for name in re.findall(r"(?:facemask|process)_\w+", text)
    }
    assert queried <= exported
    assert len(queried) > 15


def test_dashboard_shows_every_metric(busy: str) -> None:
    families = {
        family.name
        for family in text_string_to_metric_families(busy)
        if family.name.startswith("facemask_") and not family.name.endswith("_created")
    }
    shown = "\n".join(expressions())
    assert not [name for name in families if name not in shown]


def test_dashboard_and_alerts_query_existing_labels(busy: str) -> None:
    labels = {"instance", "job", "le"} | {
        name
        for family in text_string_to_metric_families(busy)
        for sample in family.samples
        for name in sample.labels
    }
    for text in expressions():
        for names in re.findall(r"by \(([\w, ]+)\)", text):
            assert set(names.split(", ")) <= labels, text
        for name in re.findall(r"[{,](\w+)=~?\"", text):
            assert name in labels, text


def test_alerts_have_unique_names_and_a_summary() -> None:
    rules = yaml.safe_load((OPS / "alerts.yml").read_text())["groups"][0]["rules"]
    assert len({rule["alert"] for rule in rules}) == len(rules) >= 5
    assert all(rule["annotations"]["summary"].endswith(".") for rule in rules)
