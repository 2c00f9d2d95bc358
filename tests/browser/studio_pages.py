"""The studio in a browser: folders dropped as a person drops them, and the studio itself."""

import contextlib
import io
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Locator, Page, ViewportSize, expect

from studio.app import create_app
from studio.keys import parse_keys
from studio.settings import Settings
from tests import WAIT_S
from tests.browser.browsing import Watch, axe_violations, watched_page
from tests.process.running import running

HEADERS = {"X-Requested-With": "studio"}

SIZES: dict[str, ViewportSize] = {
    "narrow": {"width": 320, "height": 700},
    "wide": {"width": 1440, "height": 1000},
}
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
_MAX_TABS = 150
# What a screen shows once it has loaded what it needs, by the title of its step.
COMPLETE = {
    "Data": "#versions-heading",
    "Labels": ".cell[data-state=labelled], .nothing",
    "Train": "#start-heading, #job-heading",
    "Results": "table.runs, .nothing",
    "In use": "#served-heading",
}


@contextlib.contextmanager
def studio(folder: Path, **changes: Any) -> Iterator[str]:
    """Run a studio in this process, without trainings; yield its address."""
    settings = Settings(data=folder / "data", store=folder / "store", **changes)
    keys = parse_keys(settings.keys)
    with running(create_app(settings, keys)) as address:
        yield address


class Api:
    """A studio's HTTP interface, to look up what it holds."""

    def __init__(self, address: str) -> None:
        self._client = httpx.Client(base_url=address, headers=HEADERS, timeout=WAIT_S)

    def close(self) -> None:
        self._client.close()

    def get(self, path: str, **parameters: Any) -> Any:
        response = self._client.get(path, params=parameters)
        response.raise_for_status()
        return response.json()

    def post(self, path: str, body: Any) -> Any:
        response = self._client.post(path, json=body)
        response.raise_for_status()
        return response.json()

    def project(self) -> Any:
        """Return the newest project."""
        return self.get("/api/projects")["projects"][0]

    def pictures(self, project: int) -> list[Any]:
        """Return all pictures of a small project."""
        ids = self.get(f"/api/projects/{project}/index", order="name")["ids"]
        path = f"/api/projects/{project}/pictures"
        found = self.get(path, ids=",".join(map(str, ids)))["pictures"]
        assert isinstance(found, list)
        return found


def draw_folder(folder: Path, count: int, *, seed: int, size_px: int = 48) -> Path:
    """Fill a folder with pictures of noise, no two alike."""
    folder.mkdir(parents=True)
    source = random.Random(seed)
    for number in range(count):
        picture = Image.frombytes("RGB", (8, 8), source.randbytes(192)).resize((size_px, size_px))
        data = io.BytesIO()
        picture.save(data, "PNG")
        (folder / f"{number:04}.png").write_bytes(data.getvalue())
    return folder


def drop_paths(page: Page, *paths: Path) -> None:
    """Drop files and folders of the disk on the page, as a file manager does."""
    page.locator(".drop").wait_for()
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        event = {"type": kind, "x": 200, "y": 300, "data": data}
        session.send("Input.dispatchDragEvent", event)
    session.detach()


def upload(page: Page, *paths: Path, held: int) -> None:
    """Drop paths, and wait until the studio holds a number of pictures."""
    drop_paths(page, *paths)
    expect(page.locator("#upload-heading")).to_have_text(
        f"Done: the studio holds {held:,} pictures", timeout=4000 * WAIT_S
    )


def wait_until(page: Page, holds: Callable[[], bool]) -> None:
    """Wait for a condition outside the page, and handle the page's requests meanwhile."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline
        page.wait_for_timeout(50)


def tab_to(page: Page, target: Locator) -> None:
    """Move the focus to an element by the Tab key, as without a mouse."""
    expect(target).to_be_visible()
    for _ in range(_MAX_TABS):
        if target.evaluate("(element) => element.contains(document.activeElement)"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not reach {target}.")


def shows_focus(page: Page) -> bool:
    """Return True if the element with the focus, or the label around it, has an outline."""
    visible: bool = page.evaluate(
        """() => [document.activeElement, document.activeElement.closest("label")].some(
            (one) => one && getComputedStyle(one).outlineStyle !== "none"
        )"""
    )
    return visible


def press(page: Page, target: Locator) -> None:
    """Use a link or a button without a mouse."""
    tab_to(page, target)
    page.keyboard.press("Enter")


def choose(page: Page, title: str, path: Path) -> None:
    """Choose a file or a folder in the browser's own dialog, without a mouse."""
    with page.expect_file_chooser() as opened:
        # The browser begins to catch dialogs a moment later: the way there is long enough.
        tab_to(page, page.locator("label").filter(has_text=title))
        page.keyboard.press("Enter")
    opened.value.set_files(path)


def step_link(page: Page, title: str) -> Locator:
    return page.get_by_role("navigation", name="Steps").get_by_role("link", name=title)


def faults_in_each_look(page: Page) -> list[str]:
    """Return accessibility violations and overflows, light and dark, narrow and wide."""
    faults = []
    before = page.viewport_size
    for scheme in _SCHEMES:
        page.emulate_media(color_scheme=scheme)
        for size in SIZES.values():
            page.set_viewport_size(size)
            look = f"{scheme}, {size['width']} px: "
            faults += [look + fault for fault in axe_violations(page)]
            width = page.evaluate("document.documentElement.scrollWidth")
            if width > size["width"]:
                faults.append(f"{look}the page is {width} px wide")
    page.emulate_media(color_scheme="light")
    if before is not None:
        page.set_viewport_size(before)
    return faults


def step(page: Page, title: str) -> None:
    """Go to one of the five screens, and wait until it is complete."""
    step_link(page, title).click()
    expect(page.locator(COMPLETE[title]).first).to_be_visible()


def show_labels(page: Page) -> None:
    step(page, "Labels")
    expect(page.locator(".cell[data-state=labelled]").first).to_be_visible()


def active_label(page: Page) -> str:
    return page.locator(".cell.active .cell-label").inner_text()


@contextlib.contextmanager
def tab(context: BrowserContext, address: str) -> Iterator[tuple[Page, Watch]]:
    """Open a page of a browser's session; it may not complain."""
    page = context.new_page()
    with watched_page(page, address) as watch:
        page.goto(address)
        yield page, watch


@contextlib.contextmanager
def fresh(browser: Browser, address: str, **options: Any) -> Iterator[tuple[Page, Watch]]:
    """Open a page in a session of its own."""
    context = browser.new_context(**options)
    with tab(context, address) as (page, watch):
        yield page, watch
    context.close()
