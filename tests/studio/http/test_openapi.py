"""The OpenAPI document and its pages."""

import asyncio
from pathlib import Path

from openapi_spec_validator import validate

from studio.app import create_app
from tests.studio.http.serving import serving, settings_of


def test_document_is_valid_and_has_problems_for_every_operation(tmp_path: Path) -> None:
    document = create_app(settings_of(tmp_path)).openapi()
    validate(document)
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], (method, path)
            assert operation["responses"]["default"]["description"] == "A problem document."
            assert operation["summary"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_problem_has_the_documented_members(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path)) as (client, app):
            problem = (await client.get("/api/jobs/7")).json()
            schema = app.openapi()["components"]["schemas"]["Problem"]
            assert sorted(problem) == sorted(schema["required"])

    asyncio.run(scene())


def test_reference_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    async def scene() -> None:
        async with serving(settings_of(tmp_path)) as (client, _):
            page = await client.get("/docs")
            assert page.status_code == 200
            for source in ("src=", "href="):
                for part in page.text.split(source)[1:]:
                    assert part[1] == "/", part[:60]

    asyncio.run(scene())
