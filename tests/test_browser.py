"""The documentation page in a real browser, offline: pick two files, send them, read the answers.

Needs /usr/bin/chromium; set FACEMASK_SCREENSHOT to a path to keep a picture of the page.
"""

import asyncio
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, Request, expect, sync_playwright

from service.app import create_app
from tests.service_fixtures import (
    WAIT_S,
    code_of,
    code_picture,
    make_engine,
    publish_bundle,
    settings_of,
)

CHROMIUM = Path("/usr/bin/chromium")

pytestmark = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(scope="module", name="address")
def _address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("store")
    engine = make_engine(publish_bundle(store))
    config = uvicorn.Config(create_app(settings_of(store), engine), log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listening])))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


@pytest.fixture(name="page")
def _page(browser: Browser, address: str) -> Iterator[Page]:
    """A page that may neither complain nor ask anybody else."""
    complaints: list[str] = []
    hosts: set[str] = set()

    def asked(request: Request) -> None:
        if request.failure != "csp":  # the page's own policy kept it from being sent
            hosts.add(urlsplit(request.url).netloc)

    page = browser.new_page(viewport={"width": 1280, "height": 1600})
    page.set_default_timeout(1000 * WAIT_S)
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfinished", asked)
    page.on("requestfailed", asked)
    yield page
    screenshot = os.environ.get("FACEMASK_SCREENSHOT")
    if screenshot:
        page.screenshot(path=screenshot, full_page=True)
    page.close()
    # ReDoc wants a logo from its maker's host, and the page's policy does not let it.
    assert not [
        text
        for text in complaints
        if not ("logo-mini.svg" in text and "Content Security Policy" in text)
    ]
    assert hosts - {""} == {urlsplit(address).netloc}


def test_two_pictures_can_be_sent_from_the_documentation(
    page: Page, address: str, tmp_path: Path
) -> None:
    for code in (100, 4000):
        (tmp_path / f"{code}.png").write_bytes(code_picture(code))
    page.goto(f"{address}/docs")
    operation = page.locator(".opblock", has_text="/predict")
    operation.locator(".opblock-summary-control").click()
    body = operation.locator(".opblock-section-request-body")
    expect(body.locator("select")).to_have_value("multipart/form-data")

    add = body.get_by_role("button", name="Add")
    pickers = body.locator("input[type=file]")
    for place, code in enumerate((100, 4000)):
        if place:  # the first picker is there from the start
            add.first.click()
        expect(pickers).to_have_count(place + 1)
        pickers.nth(place).set_input_files(tmp_path / f"{code}.png")
    operation.get_by_role("button", name="Execute").click()

    answered = operation.locator(".live-responses-table .response").first
    expect(answered.locator(".response-col_status")).to_contain_text("200")
    shown = answered.locator(".highlight-code code").first
    expect(shown).to_contain_text("4000.png")
    answer = json.loads(shown.inner_text())
    assert [(e["index"], e["filename"], e["label"]) for e in answer["predictions"]] == [
        (0, "100.png", "no_mask"),
        (1, "4000.png", "mask"),
    ]
    assert [code_of(entry) for entry in answer["predictions"]] == [100, 4000]


def test_the_reference_page_shows_both_endpoints(page: Page, address: str) -> None:
    page.goto(f"{address}/redoc")
    expect(page.get_by_role("heading", name="Classify one picture or many")).to_be_visible()
    expect(page.get_by_role("heading", name="Whether the service can answer")).to_be_visible()
