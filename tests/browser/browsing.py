"""Debian's Chromium through Playwright: fixtures of the tests in a real browser."""

import base64
import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Locator, Page, Request, expect, sync_playwright

from tests import WAIT_S

CHROMIUM = Path("/usr/bin/chromium")
_AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"

needs_chromium = pytest.mark.skipif(not CHROMIUM.exists(), reason=f"{CHROMIUM} is not installed")

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    expect.set_options(timeout=1000 * WAIT_S)  # a page's timeout does not count for them
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=_FLAGS)
        yield browser
        browser.close()


class Watch:
    """Errors and warnings of a page, except those that a test provokes."""

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.provoked: list[str] = []

    def unexpected(self) -> list[str]:
        return [text for text in self.complaints if not any(part in text for part in self.provoked)]


@contextlib.contextmanager
def watched(browser: Browser, address: str, **options: Any) -> Iterator[tuple[Page, Watch]]:
    """A page that may neither complain nor ask anybody but the service."""
    page = browser.new_page(**options)
    with watched_page(page, address) as watch:
        yield page, watch


@contextlib.contextmanager
def watched_page(page: Page, address: str) -> Iterator[Watch]:
    """Close a page at the end; it may neither complain nor ask anybody but its own server."""
    watch = Watch()
    hosts: set[str] = set()

    def asked(request: Request) -> None:
        hosts.add(urlsplit(request.url).netloc)

    page.set_default_timeout(1000 * WAIT_S)
    page.on(
        "console",
        lambda m: watch.complaints.append(m.text) if m.type == "error" else None,
    )
    page.on("pageerror", lambda error: watch.complaints.append(str(error)))
    page.on("request", asked)
    yield watch
    page.close()
    assert watch.unexpected() == []
    assert hosts - {""} == {urlsplit(address).netloc}


def hand_over(page: Page, files: Sequence[tuple[str, bytes]], *, event: str = "drop") -> None:
    """Drop or paste files as a browser does, without a mouse."""
    encoded = [[name, base64.b64encode(data).decode()] for name, data in files]
    page.evaluate(
        """([files, kind]) => {
            const transfer = new DataTransfer();
            for (const [name, data] of files) {
                const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
                transfer.items.add(new File([bytes], name, { type: "image/png" }));
            }
            const options = { bubbles: true, cancelable: true };
            document.body.dispatchEvent(
                kind === "paste"
                    ? new ClipboardEvent("paste", { ...options, clipboardData: transfer })
                    : new DragEvent("drop", { ...options, dataTransfer: transfer }),
            );
        }""",
        [encoded, event],
    )


def card(page: Page, name: str) -> Locator:
    return page.locator(".card").filter(has=page.get_by_role("heading", name=name, exact=True))


def axe_violations(page: Page) -> list[str]:
    """Return axe-core's accessibility violations, one line each."""
    page.evaluate(_AXE.read_text(encoding="utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "async () => (await axe.run(document, { resultTypes: ['violations'] })).violations"
    )
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]
