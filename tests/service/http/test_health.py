"""Health, liveness and readiness, and the model's report."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path

from models.bundle.files import MANIFEST, MODEL
from models.bundle.report_policy import SCRIPT_HASH
from models.bundle.store import set_current
from service.http.openapi.schemas import HealthAnswer
from service.inference.model_manager import Loading
from tests.service.fixtures import (
    TWO,
    GatedModel,
    files_of,
    happens,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)
from tests.service.http.checks import bad, good


def test_without_a_model_livez_passes_and_readyz_fails(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path / "none")) as (client, _):
            assert (await client.get("/livez")).json() == {"status": "ok"}
            response = await client.get("/readyz")
            assert response.status_code == 503
            assert response.json()["code"] == "no_model"

    wait(scene())


def test_readyz_passes_until_shutdown_is_requested(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, state):
            assert (await client.get("/readyz")).status_code == 200
            state.shutdown.requested = True
            response = await client.get("/readyz")
            assert (response.status_code, response.json()["code"]) == (503, "stopping")
            assert response.headers["connection"] == "close"
            assert (await client.get("/livez")).status_code == 200
            assert (await client.post("/predict", files=files_of(5))).status_code == 200

    wait(scene())


def test_dead_worker_fails_livez_and_readyz(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path, stuck_s=0.01), engine) as (client, state):
            engine.close()
            while engine.alive():
                await asyncio.sleep(0)
            response = await client.get("/readyz")
            assert (response.status_code, response.json()["code"]) == (503, "stuck")
            while not state.watchdog.stuck:
                await asyncio.sleep(0)
            response = await client.get("/livez")
            assert (response.status_code, response.json()["code"]) == (503, "stuck")
            assert response.headers["retry-after"] == "5"

    wait(scene())


def test_hung_worker_fails_livez_and_idle_worker_passes(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model)

    async def scene() -> None:
        async with serving(settings_of(tmp_path, stuck_s=1), engine) as (client, state):
            assert await state.watchdog.probe()
            model.armed = True
            asked = asyncio.create_task(client.post("/predict", files=files_of(1)))
            await happens(model.entered)
            assert not await state.watchdog.probe()
            while not state.watchdog.stuck:
                await asyncio.sleep(0.01)
            assert (await client.get("/livez")).status_code == 503
            model.gate.set()
            assert (await asked).status_code == 200
            while state.watchdog.stuck:
                await asyncio.sleep(0.01)
            assert (await client.get("/livez")).status_code == 200

    wait(scene())


def test_one_hung_lane_fails_livez(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)
    model = GatedModel(bundle)
    engine = make_engine(bundle, model, threads=2)

    async def scene() -> None:
        async with serving(settings_of(tmp_path, stuck_s=1), engine) as (client, state):
            model.armed = True
            hanging = asyncio.create_task(client.post("/predict", files=files_of(1)))
            await happens(model.entered)
            model.armed = False
            while not state.watchdog.stuck:
                assert (await client.post("/predict", files=files_of(2))).status_code == 200
            assert (await client.get("/livez")).status_code == 503
            model.gate.set()
            assert (await hanging).status_code == 200
            while state.watchdog.stuck:
                await asyncio.sleep(0.01)
            assert (await client.get("/livez")).status_code == 200

    wait(scene())


def test_health_returns_the_model_and_the_refused_version(tmp_path: Path) -> None:
    bundle = publish_bundle(tmp_path)

    async def scene() -> None:
        async with serving(settings_of(tmp_path, poll_s=0.001)) as (client, state):
            while state.model_manager.engine is None:
                await asyncio.sleep(0)
            response = await client.get("/health")
            assert response.status_code == 200
            found = HealthAnswer.model_validate(response.json())
            assert found.status == "ok"
            assert found.model is not None
            assert found.model.version == bundle.manifest.version
            assert found.model.labels == list(TWO)
            assert found.model.created_at == bundle.manifest.created_at
            assert found.model.backbone == "none"
            assert found.model.balanced_accuracy == 0.75
            assert found.refused is None
            assert found.uptime_s >= 0

            second = publish_bundle(tmp_path / ".aside")
            (second.path / MODEL).write_bytes(b"?")
            version = f"{int(second.path.name[:4]) + 1}{second.path.name[4:]}"
            manifest = second.path / MANIFEST
            manifest.write_text(manifest.read_text().replace(second.path.name, version))
            second.path.rename(tmp_path / version)
            set_current(tmp_path, version)
            while state.model_manager.refusal is None:
                await asyncio.sleep(0)
            found = HealthAnswer.model_validate((await client.get("/health")).json())
            assert found.status == "ok"
            assert found.model is not None
            assert found.model.version == bundle.manifest.version
            assert found.refused is not None
            assert found.refused.version == version
            assert "checksum" in found.refused.reason
            good(await client.post("/predict", files=files_of(1)))

    wait(scene())


def test_health_returns_503_after_the_engine_has_ended(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            engine.close()
            while engine.alive():
                await asyncio.sleep(0)
            response = await client.get("/health")
            assert response.status_code == 503
            found = HealthAnswer.model_validate(response.json())
            assert found.status == "no_model"
            assert found.model is not None
            response = await client.post("/predict", files=files_of(1))
            bad(response, 503, "stopping")
            assert response.headers["retry-after"] == "1"

    wait(scene())


def test_report_returns_the_bundle_s_report(tmp_path: Path) -> None:
    page = b"<!doctype html><title>how good it is</title>"
    with_report = publish_bundle(tmp_path / "with", documents={"report.html": page})
    without = publish_bundle(tmp_path / "without")

    async def scene() -> None:
        for bundle, status in ((with_report, 200), (without, 404)):
            engine = make_engine(bundle)
            async with serving(settings_of(tmp_path), engine) as (client, _):
                response = await client.get("/report")
                linked = (await client.get("/health")).json()["model"]["report"]
            engine.close()
            assert response.status_code == status
            assert (linked == "/report") == (status == 200)
            if status == 200:
                assert response.content == page
                policy = response.headers["content-security-policy"].split("; ")
                assert policy[:2] == ["sandbox allow-scripts allow-downloads", "default-src 'none'"]
                assert f"script-src '{SCRIPT_HASH}'" in policy
            else:
                bad(response, 404, "not_found")
        async with serving(settings_of(tmp_path / "none")) as (client, _):
            bad(await client.get("/report"), 503, "no_model")

    wait(scene())


def test_health_and_errors_name_the_version_that_is_loading(tmp_path: Path) -> None:
    version = "20261122T204207Z-1f0c9a77"

    async def scene() -> None:
        async with serving(settings_of(tmp_path / "none")) as (client, state):
            manager = state.model_manager
            manager.loading = Loading(version, datetime(2026, 11, 26, tzinfo=UTC), time.monotonic())
            response = await client.get("/health")
            assert response.status_code == 503
            found = HealthAnswer.model_validate(response.json())
            assert found.status == "loading"
            assert response.json()["loading"] == {
                "version": version,
                "since": "2026-11-26T00:00:00.000+00:00",
            }
            for path in ("/readyz", "/report"):
                problem = (await client.get(path)).json()
                assert problem["code"] == "no_model"
                assert f"Version {version} has been loading for 0 s" in problem["detail"]
            manager.loading = None
            assert (await client.get("/health")).json()["status"] == "no_model"

    wait(scene())
