"""Take the documentation's screenshots from a running service that was trained on the drawn sample.

    python -m scripts.screenshots SAMPLE [--url http://127.0.0.1:8000]

Needs Chromium. Shows images of the named folder only, so name the sample's.
"""

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

_TARGET = Path(__file__).parent.parent / "docs" / "images"
_CHROMIUM = "/usr/bin/chromium"
_PER_CLASS = 5
_WINDOW: ViewportSize = {"width": 1200, "height": 1120}
_STEP_WINDOW: ViewportSize = {"width": 1100, "height": 760}
_MAX_WIDTH_PX = 880  # of the tutorial's steps


def main() -> None:
    """Open the pages, and save a screenshot of each step."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("sample", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    options = parser.parse_args()
    folders = sorted(path for path in options.sample.iterdir() if path.is_dir())
    columns = [sorted(folder.glob("*.jpg"))[:_PER_CLASS] for folder in folders]
    pictures = [picture for row in zip(*columns, strict=True) for picture in row]
    _TARGET.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        _readme(browser, options.url, pictures)
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder) / "tree.jpg"
            _draw_tree().save(tree)
            _tutorial(browser, options.url, [pictures[0], tree, *pictures[1:]])
        _phone(browser, options.url, pictures)
        browser.close()


def _readme(browser: Browser, url: str, pictures: list[Path]) -> None:
    """Save the README's two screenshots: the page with answers, and the report."""
    page = browser.new_page(viewport=_WINDOW)
    _open(page, url)
    _answer(page, pictures)
    if page.locator("#fade").is_visible():
        page.locator("#fade").fill("45")
        page.locator("#fade").blur()
    page.evaluate("() => scrollTo(0, 0)")
    _save(page, "page.webp")
    page.goto(f"{url}/report")
    _save(page, "report.webp")
    page.close()


def _tutorial(browser: Browser, url: str, pictures: list[Path]) -> None:
    """Save a screenshot of each step of the tutorial."""
    page = browser.new_page(viewport=_STEP_WINDOW)
    _open(page, url)
    _save(page, "tutorial-start.webp", max_width=_MAX_WIDTH_PX)
    _answer(page, pictures)
    page.locator("#drop").evaluate("(zone) => zone.scrollIntoView()")
    _save(page, "tutorial-answers.webp", max_width=_MAX_WIDTH_PX)
    page.locator(".card .frame").first.click()
    page.locator("#viewer-image").evaluate("(image) => image.decode()")
    page.locator("#viewer-fade").fill("45")
    page.locator("#viewer-fade").blur()
    _save(page, "tutorial-large.webp", max_width=_MAX_WIDTH_PX)
    page.keyboard.press("Escape")
    # Each is said to be what its folder says, and the tree to be of no class.
    for picture, field in zip(pictures, page.locator(".card .truth select").all(), strict=True):
        field.select_option(label="neither" if picture.stem == "tree" else picture.parent.name)
    page.locator("#answers").evaluate("(answers) => answers.scrollIntoView()")
    _save(page, "tutorial-corrections.webp", max_width=_MAX_WIDTH_PX)
    page.close()


def _draw_tree() -> Image.Image:
    """Return a picture that is unlike all of the sample's."""
    image = Image.new("RGB", (240, 240), (150, 200, 240))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 180, 240, 240), fill=(110, 170, 80))
    pen.rectangle((110, 130, 130, 205), fill=(110, 75, 45))
    for left, top, edge in ((60, 60, 80), (100, 30, 90), (110, 80, 80), (75, 95, 70)):
        pen.ellipse((left, top, left + edge, top + edge), fill=(40, 120, 50))
    return image


def _phone(browser: Browser, url: str, pictures: list[Path]) -> None:
    """Save the page as a phone shows it."""
    page = browser.new_page(viewport={"width": 390, "height": 760}, is_mobile=True, has_touch=True)
    _open(page, url)
    _answer(page, pictures)
    _save(page, "tutorial-phone.webp")
    page.close()


def _open(page: Page, url: str) -> None:
    page.goto(url)
    page.get_by_text("It tells").wait_for()


def _answer(page: Page, pictures: list[Path]) -> None:
    page.locator("#pick").set_input_files(pictures)
    page.locator("progress[data-done=true]").wait_for(state="attached")
    page.locator(".card img").nth(1).evaluate("(image) => image.decode()")


def _save(page: Page, name: str, *, max_width: int | None = None) -> None:
    target = _TARGET / name
    image = Image.open(io.BytesIO(page.screenshot()))
    if max_width is not None:
        image.thumbnail((max_width, max_width), Image.Resampling.LANCZOS)
    image.save(target, quality=80, method=6)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
