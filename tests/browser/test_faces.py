"""Face detection on the page: checkbox, boxes over the image, list."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from models.imaging import face_detector
from service.app import create_app
from tests import WAIT_S
from tests.browser.browsing import (
    axe_violations,
    card,
    chromium,
    hand_over,
    needs_chromium,
    watched,
)
from tests.models.imaging.face_pictures import (
    PEOPLE,
    SIZE,
    needs_detector,
    nobody_file,
    people_file,
)
from tests.process.running import running
from tests.service.fixtures import (
    code_picture,
    make_engine,
    publish_bundle,
    settings_of,
)

pytestmark = [needs_chromium, needs_detector]


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", name="address")
def _address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    store = tmp_path_factory.mktemp("store")
    with running(create_app(settings_of(store), make_engine(publish_bundle(store)))) as address:
        yield address


@pytest.fixture(name="page")
def _page(browser: Browser, address: str) -> Iterator[Page]:
    with watched(browser, address) as (page, _):
        page.goto(address)
        yield page


def saved(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_text(encoding="utf-8-sig")


def test_page_boxes_and_lists_faces(page: Page) -> None:
    page.get_by_label("Find faces first").check()
    hand_over(page, [("people.png", people_file()), ("nobody.png", nobody_file())])
    people, nobody = card(page, "people.png"), card(page, "nobody.png")
    # The first faces are found after the detector is loaded: seconds on a busy machine.
    expect(people.locator(".verdict")).to_have_text("3 faces", timeout=4000 * WAIT_S)
    expect(people.locator(".faces li")).to_have_count(3)
    expect(people.locator(".boxes text")).to_have_text(["1", "2", "3"])
    expect(nobody.locator(".verdict")).to_have_text("0 faces")
    expect(nobody.locator(".explanation")).to_have_text("No face was found in it.")
    expect(nobody.locator(".boxes")).to_have_count(0)
    assert axe_violations(page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_face_box_covers_its_face(scheme: str, browser: Browser, address: str) -> None:
    options = {"color_scheme": scheme}
    with watched(browser, address, **options) as (page, _):
        page.goto(address)
        page.get_by_label("Find faces first").check()
        hand_over(page, [("people.png", people_file())])
        found = card(page, "people.png")
        expect(found.locator(".faces li")).to_have_count(3)  # nothing moves any more
        frame = found.locator(".frame").bounding_box()
        box = found.locator(".boxes g:first-child rect:not([class])").bounding_box()
        assert frame is not None
        assert box is not None
        scale = min(frame["width"] / SIZE[0], frame["height"] / SIZE[1])
        left = frame["x"] + (frame["width"] - scale * SIZE[0]) / 2
        top = frame["y"] + (frame["height"] - scale * SIZE[1]) / 2
        x = (box["x"] + box["width"] / 2 - left) / scale
        y = (box["y"] + box["height"] / 2 - top) / scale
        middles = [(a + e / 2, b + e / 2, e) for a, b, e in PEOPLE]
        assert any(abs(x - a) < 0.2 * e and abs(y - b) < 0.2 * e for a, b, e in middles)
        assert axe_violations(page) == []


def test_faces_checkbox_repeats_requests_and_exports_one_row_per_face(page: Page) -> None:
    hand_over(page, [("people.png", people_file()), ("plain.png", code_picture(4000))])
    expect(card(page, "plain.png").locator(".verdict")).to_have_text("mask")
    page.get_by_label("Find faces first").check()
    expect(card(page, "people.png").locator(".faces li")).to_have_count(3)
    expect(card(page, "plain.png").locator(".verdict")).to_have_text("0 faces")
    rows = list(csv.DictReader(saved(page, "Save as CSV").splitlines()))
    assert [row["file"] for row in rows] == ["people.png"] * 3 + ["plain.png"]
    assert all(int(row["width"]) > 30 and row["decision"] for row in rows[:3])
    assert rows[3]["error"] == "No face was found."
    people = json.loads(saved(page, "Save as JSON"))[0]
    assert "activation" not in people["faces"][0]
    assert str(people["faces"][0]["box"]["left"]) == rows[0]["left"]
    page.get_by_role("radio", name="Table").check()
    expect(page.get_by_role("cell", name="3 faces")).to_be_visible()
    page.get_by_role("radio", name="Pictures").check()
    page.get_by_label("Find faces first").uncheck()
    expect(card(page, "plain.png").locator(".verdict")).to_have_text("mask")
    expect(card(page, "people.png").locator(".boxes")).to_have_count(0)


def test_page_hides_faces_without_a_detector(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    expect(page.get_by_label("Find faces first")).to_be_visible()
    monkeypatch.setattr(face_detector, "PACKAGE", "no_such_package")
    page.reload()
    expect(page.get_by_text("It tells")).to_be_visible()
    expect(page.get_by_label("Find faces first")).to_be_hidden()
