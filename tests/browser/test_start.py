"""The documentation page in a real browser, offline: pick two files, send them, read the answers.

Needs /usr/bin/chromium; set FACEMASK_SCREENSHOT to a path to keep a picture of the page.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from service.app import create_app
from tests.browser.browsing import chromium, needs_chromium, watched
from tests.process.running import running
from tests.service.fixtures import (
    code_of,
    code_picture,
    make_engine,
    publish_bundle,
    settings_of,
)

pytestmark = needs_chromium


@pytest.fixture(scope="module", name="address")
def _address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("store")
    with running(create_app(settings_of(store), make_engine(publish_bundle(store)))) as address:
        yield address


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(name="page")
def _page(browser: Browser, address: str) -> Iterator[Page]:
    viewport = {"width": 1280, "height": 1600}
    with watched(browser, address, viewport=viewport) as (page, _):
        yield page
        screenshot = os.environ.get("FACEMASK_SCREENSHOT")
        if screenshot:
            page.screenshot(path=screenshot, full_page=True)


def test_swagger_ui_sends_two_images(page: Page, address: str, tmp_path: Path) -> None:
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


def test_redoc_shows_both_endpoints(page: Page, address: str) -> None:
    page.goto(f"{address}/redoc")
    expect(page.get_by_role("heading", name="Classify one picture or many")).to_be_visible()
    expect(page.get_by_role("heading", name="Status and model being served")).to_be_visible()
