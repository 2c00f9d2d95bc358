"""Weight, first paint and responsiveness of the web page in Chromium, on loopback.

    python -m benchmarks.page PICTURES [--url http://127.0.0.1:8000]

Needs a running service with a model, Chromium, and a folder of images; 200 of them are dropped at
once. Pages are opened fresh, without a cache. A long task is time in which the page could not
react; browsers count from 50 ms.
"""

import argparse
import itertools
import statistics
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

_CHROMIUM = "/usr/bin/chromium"
_LOADS = 7
_DROPPED = 200
_LONGEST_MS = 600_000

_WATCH = """
window.longTasks = [];
new PerformanceObserver((list) => longTasks.push(...list.getEntries().map((e) => e.duration)))
    .observe({ type: "longtask", buffered: true });
"""


def loads(browser: Browser, url: str) -> list[dict[str, float]]:
    """First paint in ms and bytes over the wire of fresh loads."""
    found = []
    for _ in range(_LOADS):
        page = browser.new_page()
        page.goto(url)
        page.get_by_text("It tells").wait_for()
        found.append(
            page.evaluate(
                """() => ({
                    paint: performance.getEntriesByName("first-contentful-paint")[0].startTime,
                    bytes: [...performance.getEntriesByType("navigation"),
                            ...performance.getEntriesByType("resource")]
                        .filter((e) => !e.name.endsWith("/health"))
                        .reduce((sum, e) => sum + e.decodedBodySize, 0),
                })"""
            )
        )
        page.close()
    return found


def many(browser: Browser, url: str, pictures: list[Path]) -> dict[str, Any]:
    """Longest task in ms while pictures come in, and while they are answered."""
    page = browser.new_page(viewport={"width": 1440, "height": 900})
    page.add_init_script(_WATCH)
    page.goto(url)
    page.get_by_text("It tells").wait_for()
    page.evaluate("() => { longTasks.length = 0 }")
    page.locator("#pick").set_input_files(pictures)
    page.locator(".card").nth(len(pictures) - 1).wait_for(state="attached")
    page.mouse.wheel(0, 4000)
    page.locator("progress[data-done=true]").wait_for(state="attached", timeout=_LONGEST_MS)
    page.get_by_role("radio", name="Table").check()
    page.locator("tbody tr").nth(len(pictures) - 1).wait_for(state="attached")
    tasks: list[float] = page.evaluate("() => longTasks")
    page.close()
    return {"longest": max(tasks, default=0.0), "count": len(tasks)}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    options = parser.parse_args()
    files = sorted(path for path in options.pictures.rglob("*.jpg"))
    dropped = list(itertools.islice(itertools.cycle(files), _DROPPED))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        found = loads(browser, options.url)
        paints = [one["paint"] for one in found]
        print(f"page weight            {found[0]['bytes']:8,.0f} bytes")
        print(f"first paint, median    {statistics.median(paints):8.0f} ms of {_LOADS} fresh loads")
        print(f"first paint, slowest   {max(paints):8.0f} ms")
        tasks = many(browser, options.url, dropped)
        print(f"long tasks, {len(dropped)} dropped {tasks['count']:7} of 50 ms or more")
        print(f"longest task           {tasks['longest']:8.0f} ms")
        browser.close()


if __name__ == "__main__":
    main()
