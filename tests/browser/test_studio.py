"""The studio's pages in a real browser: upload, labels, nothing lost, keyboard, accessibility."""

import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from studio.keys import Role, entry_of, new_key
from tests.browser.browsing import axe_violations, chromium, needs_chromium
from tests.browser.studio_pages import (
    Api,
    active_label,
    draw_folder,
    drop_paths,
    fresh,
    show_labels,
    step,
    studio,
    tab,
    upload,
)
from tests.service.fixtures import WAIT_S

pytestmark = needs_chromium

UNREACHABLE = "ERR_FAILED"
SIZES = {"narrow": {"width": 320, "height": 700}, "wide": {"width": 1440, "height": 1000}}


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(name="address")
def _address(tmp_path: Path) -> Iterator[str]:
    with studio(tmp_path / "studio") as address:
        yield address


@pytest.fixture(name="api")
def _api(address: str) -> Iterator[Api]:
    api = Api(address)
    yield api
    api.close()


@pytest.fixture(name="page")
def _page(browser: Browser, address: str) -> Iterator[Page]:
    with fresh(browser, address) as (page, _):
        yield page


@pytest.fixture(name="two_classes")
def _two_classes(tmp_path: Path) -> list[Path]:
    return [
        draw_folder(tmp_path / "cat", 6, seed=1),
        draw_folder(tmp_path / "dog", 6, seed=2),
    ]


def labels(api: Api) -> dict[int, Any]:
    """Return the label of each picture, by its id."""
    return {one["id"]: one["label"] for one in api.pictures(api.project()["id"])}


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- data ------------------------------------------------


def test_folder_of_181_files_gives_181_pictures(page: Page, api: Api, tmp_path: Path) -> None:
    folder = draw_folder(tmp_path / "many", 181, seed=3)
    upload(page, folder, held=181)
    project = api.project()
    assert project["name"] == "many"
    assert project["classes"] == [{"name": "many", "pictures": 181}]
    expect(page.locator("#next")).to_contain_text("Drop a second folder")


def test_refused_files_are_shown_with_reasons(page: Page, api: Api, two_classes: Any) -> None:
    (two_classes[0] / "notes.txt").write_text("no picture")
    (two_classes[0] / "torn.png").write_bytes((two_classes[0] / "0000.png").read_bytes()[:60])
    (two_classes[0] / "empty.png").write_bytes(b"")
    upload(page, *two_classes, held=12)
    files = page.locator(".files li")
    expect(files).to_have_count(3)
    for name in ("notes.txt", "torn.png", "empty.png"):
        reason = files.filter(has_text=name).inner_text().removeprefix(f"cat/{name}")
        assert len(reason.strip()) > 10


def test_same_folder_again_sends_no_picture(page: Page, api: Api, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    sent: list[str] = []
    page.on("request", lambda r: sent.append(r.url) if r.method == "POST" else None)
    upload(page, *two_classes, held=12)
    expect(page.get_by_text("12 that were here already")).to_be_visible()
    assert [url for url in sent if "/uploads/check" in url]
    assert not [url for url in sent if "/pictures" in url]


def test_split_layout_is_asked_about(page: Page, api: Api, tmp_path: Path) -> None:
    for seed, part in enumerate(("train/cat", "train/dog", "test/cat", "test/dog")):
        draw_folder(tmp_path / "set" / part, 4, seed=seed)
    drop_paths(page, tmp_path / "set")
    expect(page.locator("#split-heading")).to_be_focused()
    page.get_by_role("button", name="keep the test part for checking").click()
    expect(page.locator("#upload-heading")).to_have_text("Done: the studio holds 16 pictures")
    counts = api.project()["counts"]
    assert (counts["labelled"], counts["test"]) == (8, 8)


def test_zip_is_unpacked(page: Page, api: Api, two_classes: Any, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path, "cat")
    upload(page, Path(archive), held=6)
    assert api.project()["name"] == "pets"


def test_cut_upload_goes_on_where_it_was(
    browser: Browser, address: str, api: Api, tmp_path: Path
) -> None:
    folder = draw_folder(tmp_path / "many", 400, seed=4)
    context = browser.new_context()
    batches = 0

    def let_two_through(route: Route) -> None:
        nonlocal batches
        batches += 1
        if batches <= 2:
            route.continue_()
        else:
            route.abort()

    with tab(context, address) as (page, watch):
        watch.provoked.append(UNREACHABLE)
        page.route("**/pictures?*", let_two_through)
        drop_paths(page, folder)
        expect(page.locator("#upload-heading")).to_have_text("Waiting for the studio")
        expect(page.locator("#next")).to_contain_text("goes on by itself")
        wait_until(lambda: api.project()["counts"]["pictures"] >= 2 * 64)
    held = api.project()["counts"]["pictures"]  # a closing tab may let another batch through
    assert held < 400
    with tab(context, f"{address}/projects/{api.project()['id']}/data") as (page, _):
        expect(page.get_by_text("An upload was interrupted")).to_be_visible()
        sent: list[int] = []
        page.on(
            "request",
            lambda r: sent.append(1) if "/pictures?" in r.url and r.method == "POST" else None,
        )
        upload(page, folder, held=400)
        result = page.get_by_text(re.compile(r"\d+ new pictures, \d+ that were here already"))
        expect(result).to_be_visible()
        new, here = (int(n) for n in re.findall(r"\d+", result.inner_text())[:2])
        assert new + here == 400
        assert here >= held
        assert 64 * len(sent) < new + 4 * 64
    context.close()


# --- labels ------------------------------------------------


def test_keyboard_labels_undoes_and_redoes(page: Page, api: Api, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    before = labels(api)
    show_labels(page)
    saved = page.get_by_text("All saved")
    page.keyboard.press("2")  # the first picture is no cat
    assert page.locator(".cell.active").get_attribute("aria-posinset") == "2"
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("2")
    expect(saved).to_be_visible()
    after = labels(api)
    assert sorted(after.values()) == ["-"] + ["cat"] + ["dog"] * 10
    for _ in range(3):
        page.keyboard.press("u")
    expect(saved).to_be_visible()
    assert labels(api) == before
    for _ in range(3):
        page.keyboard.press("Shift+U")
    expect(saved).to_be_visible()
    assert labels(api) == after


def test_undo_reaches_back_behind_a_reload(page: Page, api: Api, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    before = labels(api)
    show_labels(page)
    for key in "2x2":
        page.keyboard.press(key)
    expect(page.get_by_text("All saved")).to_be_visible()
    assert labels(api) != before
    page.reload()
    expect(page.locator(".cell[data-state=labelled]").first).to_be_visible()
    for _ in range(3):
        page.keyboard.press("u")
        expect(page.get_by_text("All saved")).to_be_visible()
        page.wait_for_timeout(100)
    assert labels(api) == before


def test_decisions_survive_a_killed_tab(
    browser: Browser, address: str, api: Api, two_classes: Any
) -> None:
    context = browser.new_context()
    with tab(context, address) as (page, watch):
        watch.provoked.append(UNREACHABLE)
        upload(page, *two_classes, held=12)
        show_labels(page)
        page.route("**/decisions", lambda route: route.abort())
        for _ in range(3):
            page.keyboard.press("2")
        expect(page.get_by_text("3 not saved yet: kept in this browser")).to_be_visible()
        labelling = page.url
    assert list(labels(api).values()).count("dog") == 6
    with tab(context, labelling) as (page, _):
        expect(page.locator(".cell[data-state=labelled]").first).to_be_visible()
        expect(page.locator(".cell").first).to_contain_text("dog")
        wait_until(lambda: list(labels(api).values()).count("dog") == 9)
    context.close()


def test_conflict_is_shown_and_nothing_is_overwritten(
    page: Page, api: Api, two_classes: Any
) -> None:
    upload(page, *two_classes, held=12)
    show_labels(page)
    project = api.project()["id"]
    (first, *_) = api.get(f"/api/projects/{project}/index", order="label_issues")["ids"]
    (seen,) = api.get(f"/api/projects/{project}/pictures", ids=first)["pictures"]
    api.post(
        f"/api/projects/{project}/decisions",
        {
            "act": str(uuid.uuid4()),
            "decisions": [{"picture": first, "label": "-", "revision": seen["revision"]}],
        },
    )
    page.keyboard.press("2")
    conflict = page.get_by_role("alert", name="Conflicts")
    expect(conflict).to_contain_text("1 picture that somebody else changed")
    assert labels(api)[first] == "-"
    conflict.get_by_role("button", name="Set “dog”").click()
    expect(conflict).to_be_hidden()
    expect(page.get_by_text("All saved")).to_be_visible()
    assert labels(api)[first] == "dog"


def test_new_class_and_groups(page: Page, api: Api, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    show_labels(page)
    page.keyboard.press("n")
    page.get_by_label("A new class, in one or two words").fill("bird")
    page.keyboard.press("Enter")
    expect(page.get_by_text("All saved")).to_be_visible()
    assert list(labels(api).values()).count("bird") == 1
    page.get_by_role("button", name="Groups").click()
    page.get_by_label("as a pattern").fill(r"^(?:.*/)?(\d\d\d)")
    page.get_by_role("button", name="Preview the groups").click()
    expect(page.get_by_text("1 group: 000 (12)")).to_be_visible()
    page.get_by_role("button", name="Make these groups").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert {one["group"] for one in api.pictures(api.project()["id"])} == {"000"}


def test_class_shows_its_pictures_only(page: Page, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    step(page, "Labels")
    page.get_by_role("navigation", name="Which pictures").get_by_role("link", name="dog").click()
    expect(page.locator(".cell[data-state=labelled]")).to_have_count(6)
    assert active_label(page) == "dog"


# --- everywhere ------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_screens_have_no_accessibility_violation(
    browser: Browser, address: str, two_classes: Any, scheme: Any, size: str
) -> None:
    options = {"color_scheme": scheme, "viewport": SIZES[size]}
    with fresh(browser, address, **options) as (page, _):
        expect(page.get_by_role("heading", name="Drop your folders here")).to_be_visible()
        assert axe_violations(page) == []
        upload(page, *two_classes, held=12)
        assert axe_violations(page) == []
        show_labels(page)
        page.keyboard.press("2")
        assert axe_violations(page) == []
        for key in ("o", "?", "g"):
            page.keyboard.press(key)
            expect(page.get_by_role("dialog")).to_be_visible()
            assert axe_violations(page) == []
            page.keyboard.press("Escape")
        for title in ("Train", "Results", "In use"):
            step(page, title)
            page.wait_for_load_state("networkidle")
            assert axe_violations(page) == []
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= SIZES[size]["width"]


def test_key_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    key, entry = new_key("anna", Role.PROMOTE)
    closed = studio(tmp_path / "closed", keys=entry_of(entry))
    with closed as address, fresh(browser, address) as (page, watch):
        watch.provoked.append("401")
        field = page.get_by_label("Key", exact=True)
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-text")).not_to_contain_text("operator of the studio gave")
        field.fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Drop your folders here")).to_be_visible()
        expect(page.get_by_text("anna")).to_be_visible()


def test_lost_studio_is_said_and_found_again(browser: Browser, address: str) -> None:
    with fresh(browser, address) as (page, watch):
        watch.provoked.append("503")
        page.route("**/api/projects", lambda route: route.fulfill(status=503, body="{}"))
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("kept in this browser")
        page.unroute("**/api/projects")
        expect(page.get_by_role("alert")).to_be_hidden(timeout=2000 * WAIT_S)
