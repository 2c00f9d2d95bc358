"""Take the README's screenshots from a running service that was trained on the drawn sample.

    python -m scripts.screenshots SAMPLE [--url http://127.0.0.1:8000]

Needs Chromium. Shows images of the named folder only, so name the sample's.
"""

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

_TARGET = Path(__file__).parent.parent / "docs" / "images"
_CHROMIUM = "/usr/bin/chromium"
_PER_CLASS = 5


def main() -> None:
    """Open both pages, and save a screenshot of each."""
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
        page = browser.new_page(viewport={"width": 1200, "height": 1120})
        page.goto(options.url)
        page.get_by_text("It tells").wait_for()
        page.locator("#pick").set_input_files(pictures[: 2 * _PER_CLASS])
        page.locator("progress[data-done=true]").wait_for(state="attached")
        if page.locator("#fade").is_visible():
            page.locator("#fade").fill("45")
            page.locator("#fade").blur()
        page.locator(".card img").nth(3).evaluate("(image) => image.decode()")
        _save(page, "page.webp")
        page.goto(f"{options.url}/report")
        _save(page, "report.webp")
        browser.close()


def _save(page: Page, name: str) -> None:
    target = _TARGET / name
    Image.open(io.BytesIO(page.screenshot())).save(target, quality=82, method=6)
    print(f"{target}: {target.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
