"""Files of the web page over HTTP: policy, caching, weight, and no other hosts."""

import gzip
import re
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest

import service
import web
from models.bundle.report_policy import SERVED_REPORT_POLICY
from scripts.example_picture import TARGET, draw
from tests.service.fixtures import (
    encoded,
    make_engine,
    publish_bundle,
    serving,
    settings_of,
    wait,
)

FOLDER = Path(service.__file__).parent / "web"
SHARED = Path(web.__file__).parent / "static"
FILES = {path.name: path for path in sorted(FOLDER.iterdir())} | {
    f"shared/{path.name}": path for path in sorted(SHARED.iterdir())
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Scene = Callable[[httpx.AsyncClient], Coroutine[Any, Any, None]]


@pytest.fixture(name="play")
def _play(tmp_path: Path) -> Callable[[Scene], None]:
    """Run a scene against a service without a model: the page needs none."""

    def play(scene: Scene) -> None:
        async def played() -> None:
            async with serving(settings_of(tmp_path)) as (client, _):
                await scene(client)

        wait(played())

    return play


def address_of(name: str) -> str:
    return "/" if name == "index.html" else f"/page/{name}"


@pytest.mark.parametrize("name", FILES)
def test_page_file_is_served_with_a_strict_policy(name: str, play: Callable[[Scene], None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        response = await client.get(address_of(name))
        assert response.status_code == 200
        if name != "index.html":  # its names of files get a version
            assert response.content == FILES[name].read_bytes()
        assert response.headers["content-security-policy"] == POLICY
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        head = await client.head(address_of(name))
        assert (head.status_code, head.content) == (200, b"")

    play(scene)


def test_page_files_have_media_types(play: Callable[[Scene], None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        kinds = {
            name: (await client.get(address_of(name))).headers["content-type"] for name in FILES
        }
        assert kinds["index.html"] == "text/html; charset=utf-8"
        assert kinds["style.css"] == "text/css; charset=utf-8"
        assert kinds["app.js"] == "text/javascript; charset=utf-8"
        assert kinds["shared/icon.svg"] == "image/svg+xml"
        assert kinds["example.jpg"] == "image/jpeg"

    play(scene)


def test_unknown_file_gets_404(play: Callable[[Scene], None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        for path in ("/page/none.js", "/page/../app.py", "/page/%2e%2e/app.py", "/page"):
            assert (await client.get(path)).status_code == 404

    play(scene)


def test_page_weighs_less_than_52_kilobytes_over_the_wire() -> None:
    sizes = {
        name: len(path.read_bytes() if name.endswith("jpg") else gzip.compress(path.read_bytes()))
        for name, path in FILES.items()
    }
    assert sum(sizes.values()) < 52_000, sizes


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith(".jpg")])
def test_page_file_names_no_other_host(name: str) -> None:
    text = FILES[name].read_text(encoding="utf-8")
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)


def test_files_and_ids_that_the_page_names_exist() -> None:
    html = FILES["index.html"].read_text(encoding="utf-8")
    scripts = {name: path.read_text("utf-8") for name, path in FILES.items() if name[-3:] == ".js"}
    named = {"index.html"} | set(re.findall(r'"page/([\w./-]+)"', html))
    for name, script in scripts.items():
        folder = "shared/" if name.startswith("shared/") else ""
        found = re.findall(r'(?:from|new URL\() ?"\./([\w./-]+)"', script)
        named |= {f"{folder}{other}" for other in found}
    made = {"settings.json"}  # from the settings
    unnamed = {"example.jpg"}  # the API's documentation leads to it
    assert {name for name in named if not name.startswith("shared/")} - made == {
        name for name in FILES if not name.startswith("shared/")
    } - unnamed
    assert named - made <= set(FILES)
    ids = set(re.findall(r'id="([\w-]+)"', html))
    own = "".join(script for name, script in scripts.items() if not name.startswith("shared/"))
    wanted = set(re.findall(r'\$\("([\w-]+)"\)', own))
    assert wanted
    assert wanted <= ids


def test_report_and_documentation_have_their_own_policy(tmp_path: Path) -> None:
    page = {"report.html": b"<!doctype html><style>p{color:red}</style><p>report"}
    engine = make_engine(publish_bundle(tmp_path, documents=page))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            policy = (await client.get("/report")).headers["content-security-policy"]
            assert policy == SERVED_REPORT_POLICY
            assert "allow-same-origin" not in policy
            for path in ("/docs", "/redoc"):
                policy = (await client.get(path)).headers["content-security-policy"]
                assert policy.startswith("default-src 'self'; script-src 'self' 'unsafe-inline'")

    wait(scene())


def test_page_is_told_the_address_of_the_studio(tmp_path: Path) -> None:
    async def scene() -> None:
        for address, wanted in (("", None), ("https://studio.org/a", "https://studio.org/a")):
            settings = settings_of(tmp_path, studio_url=address)
            async with serving(settings) as (client, _):
                assert (await client.get("/page/settings.json")).json() == {"studio": wanted}

    wait(scene())


def test_model_card_and_examples_are_served_inert(tmp_path: Path) -> None:
    documents = {"model_card.md": b"# Card", "example_1.jpg": b"picture"}
    engine = make_engine(publish_bundle(tmp_path, documents=documents))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            model = (await client.get("/health")).json()["model"]
            assert (model["card"], model["examples"]) == (
                "/model-card",
                {"no_mask": "/examples/1"},
            )
            for path, kind, data in (
                ("/model-card", "text/markdown; charset=utf-8", b"# Card"),
                ("/examples/1", "image/jpeg", b"picture"),
            ):
                answer = await client.get(path)
                assert (answer.headers["content-type"], answer.content) == (kind, data)
                assert answer.headers["content-security-policy"].startswith("sandbox; default-src")
            for path in ("/examples/0", "/examples/2", "/examples/x"):
                answer = await client.get(path)
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    wait(scene())


def test_model_without_documents_offers_none(tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            model = (await client.get("/health")).json()["model"]
            assert (model["card"], model["examples"]) == (None, {})
            assert (await client.get("/model-card")).status_code == 404

    wait(scene())


def test_redoc_fetches_no_logo(play: Callable[[Scene], None]) -> None:
    async def scene(client: httpx.AsyncClient) -> None:
        (script,) = re.findall(r'src="(/page/[^"]+)"', (await client.get("/redoc")).text)
        bundle = (await client.get(script)).text
        assert "logo-mini" not in bundle
        assert len(bundle) > 500_000

    play(scene)


def test_example_picture_equals_its_script_and_is_answered(tmp_path: Path) -> None:
    assert TARGET.stat().st_size < 10_000
    engine = make_engine(publish_bundle(tmp_path))

    async def scene() -> None:
        async with serving(settings_of(tmp_path), engine) as (client, _):
            scores = []
            for data in (TARGET.read_bytes(), encoded(draw(), "PNG")):
                answer = await client.post("/predict", files={"files": data})
                scores.append(answer.json()["predictions"][0]["score"])
            assert scores[0] == pytest.approx(scores[1], abs=0.01)

    wait(scene())
