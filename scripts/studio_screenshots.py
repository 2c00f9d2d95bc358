"""Take the screenshots of docs/studio.md from a running studio and service, with the drawn sample.

    python -m scripts.studio_screenshots SAMPLE [--url http://127.0.0.1:8001]

Makes a project, trains it twice, and puts its model to use. A few pictures of the sample are given
the wrong label first, so that there is something to find. Needs Chromium.
"""

import argparse
import io
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

_TARGET = Path(__file__).parent.parent / "docs" / "images"
_CHROMIUM = "/usr/bin/chromium"
_SIZES: dict[str, ViewportSize] = {
    "": {"width": 1280, "height": 900},
    "-phone": {"width": 390, "height": 844},
}
_CLASSES = ("mask", "no_mask")
_SWAPPED = 3  # per class
_QUALITY = 70  # at most about 60 kB each
_TO_VERDICT = "document.querySelector('.candidate').scrollIntoView()"
_WAIT_MS = 600_000


def main() -> None:
    """Walk through the screens, and save a screenshot of each in both sizes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sample", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8001")
    options = parser.parse_args()
    _TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        folders = _with_wrong_labels(options.sample, Path(temporary))
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport=_SIZES[""])
        page.set_default_timeout(_WAIT_MS)
        page.goto(options.url)
        _take(page, "empty")
        _drop(page, *folders)
        page.get_by_role("heading", name="Done: the studio holds").wait_for()
        _take(page, "data")
        _next(page, "Train")
        page.locator(".stages [data-state=done]").nth(1).wait_for()
        _take(page, "train")
        _next(page, "Use this model")
        page.get_by_role("heading", name="In use: model").wait_for()
        page.locator("#next-action").filter(has_text="Look at them").click()
        page.locator(".cell[data-state=labelled] img[src]").first.wait_for()
        page.locator(".grid").focus()
        for _ in range(min(2 * _SWAPPED, page.locator(".cell").count()) - 1):
            name = page.locator(".act-what .small").inner_text().rpartition("/")[2]
            page.keyboard.press("1" if name.startswith(_CLASSES[0][:2]) else "2")
        page.get_by_text("All saved").wait_for()
        _take(page, "labels")
        _next(page, "Train again")
        _next(page, "Compare and switch")
        page.locator(".verdict").wait_for()
        _drop(page, *(min(folder.iterdir()) for folder in folders))
        page.locator(".card.try").nth(1).wait_for()
        _take(page, "in-use", lambda: page.evaluate(_TO_VERDICT))
        page.get_by_role("link", name="Which pictures are fixed").click()
        page.locator(".pictures img").first.wait_for()
        _take(page, "compare")
        page.get_by_role("link", name="All models").click()
        page.locator("tbody tr").nth(1).wait_for()
        _take(page, "results")
        browser.close()


def _with_wrong_labels(sample: Path, target: Path) -> list[Path]:
    """Copy the sample's classes, with a few pictures in the other's folder."""
    for own, other in zip(_CLASSES, reversed(_CLASSES), strict=True):
        (target / own).mkdir(exist_ok=True)
        (target / other).mkdir(exist_ok=True)
        pictures = sorted((sample / own).iterdir())
        every = len(pictures) // _SWAPPED
        for number, picture in enumerate(pictures):
            label = other if number % every == every // 2 else own
            shutil.copy(picture, target / label / f"{own[:2]}{picture.name}")
    return [target / name for name in _CLASSES]


def _drop(page: Page, *paths: Path) -> None:
    """Drop files and folders as a file manager does."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 200, "y": 300, "data": data})
    session.detach()


def _next(page: Page, label: str) -> None:
    page.locator("#next-action").filter(has_text=label).first.click()


def _take(page: Page, name: str, prepare: Callable[[], None] = lambda: None) -> None:
    for suffix, size in _SIZES.items():
        page.set_viewport_size(size)
        prepare()
        page.wait_for_timeout(700)
        target = _TARGET / f"studio-{name}{suffix}.webp"
        Image.open(io.BytesIO(page.screenshot())).save(target, quality=_QUALITY, method=6)
        print(f"{target}: {target.stat().st_size:,} bytes")
    page.set_viewport_size(_SIZES[""])


if __name__ == "__main__":
    main()
