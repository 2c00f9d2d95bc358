"""The report in a real browser: decisions on label issues are saved, and folded lists print.

Needs /usr/bin/chromium.
"""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from service.app import create_app
from tests.browser.browsing import chromium, needs_chromium
from tests.process.running import running
from tests.service.fixtures import make_engine, publish_bundle, settings_of
from tests.training.report.test_render import make_data
from training.audit.label_issues import LabelIssue
from training.report import render_report

pytestmark = needs_chromium

NAMES = [f"no_mask/{index}.jpg" for index in range(28)]
NAMES[3] = 'no_mask/a, "b".jpg'


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", name="html")
def _html() -> str:
    made = make_data(2, labels=("no_mask", "with_mask"), names=NAMES)
    issues = [LabelIssue(index, 0, 1, 0.01, 0.99) for index in (3, 4, 5, 6)]
    decided = {"no_mask/kept.jpg": "with_mask", "gone.jpg": None}
    return render_report(dataclasses.replace(made, label_issues=issues, decided=decided))


def saved_rows(page: Page) -> list[list[str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save labels.csv").click()
    assert download.value.suggested_filename == "labels.csv"
    with open(download.value.path(), encoding="utf-8", newline="") as table:
        return list(csv.reader(table))


def decide(page: Page) -> None:
    save = page.get_by_role("button", name="Save labels.csv")
    expect(save).to_be_disabled()
    for row, choice in enumerate(("take over: with_mask", "is right: no_mask", "leave out")):
        page.locator("li[data-file]").nth(row).get_by_text(choice).click()
    expect(page.locator("#labels-count")).to_have_text("3 of 4 decided.")


EXPECTED = [
    ["file", "label"],
    ["no_mask/kept.jpg", "with_mask"],
    ["gone.jpg", "-"],
    ['no_mask/a, "b".jpg', "with_mask"],
    ["no_mask/4.jpg", "no_mask"],
    ["no_mask/5.jpg", "-"],
]


def test_decisions_are_saved_as_labels_csv(browser: Browser, html: str, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text(html, encoding="utf-8")
    page = browser.new_page()
    refused: list[str] = []
    page.on("console", lambda message: refused.append(message.text))
    page.goto(report.as_uri())
    decide(page)
    assert saved_rows(page) == EXPECTED
    page.locator("li[data-file]").nth(0).get_by_text("decide later").click()
    assert saved_rows(page) == EXPECTED[:3] + EXPECTED[4:]
    assert refused == []
    page.close()


def test_decisions_are_saved_from_the_service(browser: Browser, html: str, tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path, documents={"report.html": html.encode()}))
    with running(create_app(settings_of(tmp_path), engine)) as address:
        page = browser.new_page()
        page.goto(f"{address}/report")
        decide(page)
        assert saved_rows(page) == EXPECTED
        page.close()
    engine.close()


def test_report_without_script_says_where_to_decide(
    browser: Browser, html: str, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    report.write_text(html, encoding="utf-8")
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(report.as_uri())
    expect(page.get_by_text("To decide here, open this report as a file")).to_be_visible()
    expect(page.get_by_role("button", name="Save labels.csv")).to_be_hidden()
    page.close()


def test_folded_lists_are_printed(browser: Browser, html: str, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text(html, encoding="utf-8")
    for script in (True, False):
        page = browser.new_context(java_script_enabled=script).new_page()
        page.goto(report.as_uri())
        hidden = page.get_by_text("gone.jpg", exact=True).first
        expect(hidden).to_be_hidden()
        page.emulate_media(media="print")
        expect(hidden).to_be_visible()
        page.close()
