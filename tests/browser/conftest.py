"""Fixtures of the tests of the studio's pages."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.browsing import chromium
from tests.browser.studio_pages import Api, draw_folder, fresh, studio


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
