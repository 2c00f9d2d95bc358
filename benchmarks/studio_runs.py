"""How fast the studio lists 500 runs and compares two with 10,000 pictures.

    python -m benchmarks.studio_runs

Prints the median and the worst of ten requests through the application, without a socket. The
bundles are drawn: a real one differs in its model only, which neither request reads.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import httpx
from sqlalchemy import insert

from studio.app import create_app
from studio.database import open_database
from studio.database.tables import blobs, pictures, projects
from studio.runs.runs import add_run, get_run
from studio.settings import Settings
from tests.studio.runs.bundles import answers, digest, publish_run, run_of

NOW = "2026-11-22T00:00:00.000Z"
REPEATS = 10


def fill(folder: Path, *, runs: int, count: int) -> tuple[Settings, int, int]:
    """Make a project with pictures and runs; return two runs that can be compared."""
    settings = Settings(data=folder / "data", store=folder / "store")
    settings.data.mkdir()
    database = open_database(settings.database_url)
    with database.write() as connection:
        connection.execute(insert(projects).values(id=1, name="m", key="m", created_at=NOW))
        facts = {"bytes": 1, "width": 1, "height": 1, "format": "JPEG", "added_at": NOW}
        connection.execute(insert(blobs), [facts | {"sha256": digest(n)} for n in range(count)])
        rows = [
            {"id": n + 1, "project_id": 1, "sha256": digest(n), "name": str(n), "added_at": NOW}
            for n in range(count)
        ]
        connection.execute(insert(pictures), rows)
    store = settings.store
    old = publish_run(store, answers(count, wrong=range(0, count, 50)), live=True)
    new = publish_run(store, answers(count, wrong=range(7, count, 50)))
    one, two = (run_of(database, store, 1, bundle) for bundle in (old, new))
    with database.read() as connection:
        shown = get_run(connection, one)
    for number in range(runs - 2):
        add_run(
            database,
            project=1,
            job=None,
            version=None,
            bundle=f"20250101T000000Z-{number:08x}",
            by="ann",
            figures=shown.figures,
            settings=shown.settings,
        )
    database.close()
    return settings, one, two


async def measure(settings: Settings, one: int, two: int) -> None:
    """Time the requests."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1:8001"
        ) as client:
            for name, path in (
                ("runs listed", "/api/projects/1/runs"),
                ("runs compared", f"/api/runs/{one}/compare/{two}"),
                ("run shown", f"/api/runs/{two}"),
            ):
                took = []
                for _ in range(REPEATS):
                    started = time.perf_counter()
                    answer = await client.get(path)
                    took.append(1000 * (time.perf_counter() - started))
                    answer.raise_for_status()
                print(
                    f"{name}: {took[0]:.0f} ms at first, {statistics.median(took):.0f} ms in the "
                    f"median, {max(took):.0f} ms at worst"
                )


def main() -> None:
    """Fill a folder and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--pictures", type=int, default=10_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = fill(Path(folder), runs=arguments.runs, count=arguments.pictures)
        asyncio.run(measure(*found))


if __name__ == "__main__":
    main()
