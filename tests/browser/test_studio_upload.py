"""Uploads on the studio's pages in a real browser: what is sent, what is shown, what is cut."""

import re
import shutil
import uuid
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.browsing import needs_chromium
from tests.browser.studio_pages import (
    Api,
    draw_folder,
    drop_paths,
    fresh,
    studio,
    tab,
    upload,
    wait_until,
)

pytestmark = needs_chromium

UNREACHABLE = "ERR_FAILED"


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
        wait_until(page, lambda: api.project()["counts"]["pictures"] >= 2 * 64)
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


def test_large_picture_is_refused_by_the_limit_of_the_studio(
    browser: Browser, tmp_path: Path, two_classes: Any
) -> None:
    limit = 100_000
    (two_classes[0] / "large.png").write_bytes(bytes(limit + 1))
    with (
        studio(tmp_path / "small", max_file_bytes=limit) as address,
        fresh(browser, address) as (page, _),
    ):
        upload(page, *two_classes, held=12)
        refused = page.locator(".files li").filter(has_text="cat/large.png")
        expect(refused).to_contain_text("larger than 100 kB")


def test_zip_shows_how_much_of_it_is_sent(page: Page, tmp_path: Path) -> None:
    draw_folder(tmp_path / "cat", 40, seed=5, size_px=256)
    archive = Path(shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path, "cat"))
    free = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    slow = free | {"uploadThroughput": archive.stat().st_size / 600}
    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", slow)
    drop_paths(page, archive)
    expect(page.get_by_text(re.compile(r"Sending pets.zip: .*[kM]B of .*[kM]B"))).to_be_visible()
    expect(page.get_by_role("progressbar", name="Zip sent")).to_be_visible()
    session.send("Network.emulateNetworkConditions", free)
    expect(page.locator("#upload-heading")).to_have_text("Done: the studio holds 40 pictures")


def test_drop_that_is_undone_meanwhile_ends(
    browser: Browser, address: str, api: Api, tmp_path: Path
) -> None:
    folder = draw_folder(tmp_path / "many", 200, seed=6)
    with fresh(browser, address) as (page, watch):
        watch.provoked.append("409")
        batches = Held(page, through=1)
        drop_paths(page, folder)
        batches.wait()
        wait_until(page, lambda: api.project()["counts"]["pictures"] == 64)
        project = api.project()["id"]
        (act,) = api.get(f"/api/projects/{project}/acts")["acts"]
        api.post(f"/api/projects/{project}/undo", {"act": act["act"], "id": str(uuid.uuid4())})
        batches.release()
        heading = page.locator("#upload-heading")
        expect(heading).to_have_text("Undone: the studio holds 0 pictures")
        expect(page.get_by_text("This upload was undone")).to_be_visible()
        assert page.locator(".files").count() == 0  # no list of files that are refused
        upload(page, folder, held=200)


def test_class_renamed_during_an_upload_gets_its_pictures(
    page: Page, api: Api, tmp_path: Path
) -> None:
    batches = Held(page, through=1)
    drop_paths(page, draw_folder(tmp_path / "cat", 300, seed=7))
    batches.wait()
    expect(page.locator(".classes li")).to_have_count(1)
    page.get_by_text("Rename or remove").click()
    page.get_by_label("to", exact=True).fill("feline")
    page.get_by_role("button", name="Rename").last.click()
    batches.release()
    expect(page.locator("#upload-heading")).to_have_text("Done: the studio holds 300 pictures")
    assert api.project()["classes"] == [{"name": "feline", "pictures": 300}]
    expect(page.locator(".classes li")).to_have_count(1)


class Held:
    """Batches of pictures that are on their way until they are released."""

    def __init__(self, page: Page, *, through: int) -> None:
        self._page = page
        self._routes: list[Route] = []
        self._through = through
        self._open = False
        page.route("**/pictures?*", self._take)

    def _take(self, route: Route) -> None:
        self._through -= 1
        if self._open or self._through >= 0:
            route.continue_()
        else:
            self._routes.append(route)

    def wait(self) -> None:
        """Wait until a batch is held."""
        wait_until(self._page, lambda: bool(self._routes))

    def release(self) -> None:
        self._open = True
        for route in self._routes:
            route.continue_()
