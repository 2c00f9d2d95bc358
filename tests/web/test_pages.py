"""Serving of a page's files: versions in their addresses, caching, policy."""

import re
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from tests.service.fixtures import wait
from web.pages import WebPage, content_security_policy

HTML = '<link href="page/shared/base.css"><script src="/page/app.js"></script>homepage/'


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text(HTML)
    (tmp_path / "app.js").write_text('import "./shared/dom.js";')
    return tmp_path


class Browser:
    """Client that asks a page for one file at a time."""

    def __init__(self, page: WebPage) -> None:
        self._transport = httpx.ASGITransport(Starlette(routes=page.routes()))

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(
                transport=self._transport, base_url="http://page"
            ) as client:
                return await client.get(path, headers=headers)

        return wait(ask())


def test_html_names_files_by_their_version_and_is_revalidated(folder: Path) -> None:
    page = WebPage(folder)
    answer = Browser(page).get("/")
    assert answer.text == (
        f'<link href="page/{page.version}/shared/base.css">'
        f'<script src="/page/{page.version}/app.js"></script>homepage/'
    )
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


def test_versioned_files_are_cached_for_good_and_others_revalidated(folder: Path) -> None:
    page = WebPage(folder)
    client = Browser(page)
    for name in ("app.js", "shared/base.css", "shared/dom.js"):
        versioned = client.get(f"/page/{page.version}/{name}")
        plain = client.get(f"/page/{name}")
        assert versioned.content == plain.content
        assert "immutable" in versioned.headers["cache-control"]
        assert plain.headers["cache-control"] == "no-cache"
        tag = plain.headers["etag"]
        again = client.get(f"/page/{name}", headers={"if-none-match": f'"old", W/{tag}'})
        assert (again.status_code, again.content) == (304, b"")


def test_an_old_version_gets_the_new_files_but_does_not_keep_them(folder: Path) -> None:
    old = WebPage(folder).version
    (folder / "app.js").write_text("new")
    page = WebPage(folder)
    assert page.version != old
    answer = Browser(page).get(f"/page/{old}/app.js")
    assert (answer.text, answer.headers["cache-control"]) == ("new", "no-cache")


def test_files_in_folders_are_named_by_their_path(folder: Path) -> None:
    (folder / "views").mkdir()
    (folder / "views" / "grid.js").write_text("1")
    (folder / "notes.txt").write_text("no file of the page")
    page = WebPage(folder)
    assert Browser(page).get(f"/page/{page.version}/views/grid.js").text == "1"
    assert Browser(page).get("/page/notes.txt").status_code == 404


def test_extra_files_and_headers_are_served(folder: Path) -> None:
    page = WebPage(folder, extra={"lib.js": b"1"}, headers={"X-Kind": "page"})
    answer = Browser(page).get("/page/lib.js")
    assert (answer.text, answer.headers["x-kind"]) == ("1", "page")


@pytest.mark.parametrize("path", ["none.js", "../pages.py", "%2e%2e/pages.py", "shared", ""])
def test_unknown_files_get_404(path: str, folder: Path) -> None:
    assert Browser(WebPage(folder)).get(f"/page/{path}").status_code == 404


def test_texts_are_compressed_for_those_who_can_read_them(folder: Path) -> None:
    (folder / "b.jpg").write_bytes(b"picture")
    browser = Browser(WebPage(folder))
    plain = browser.get("/page/app.js", {"accept-encoding": "identity"})
    packed = browser.get("/page/app.js", {"accept-encoding": "gzip, br"})
    assert plain.content == packed.content  # httpx unpacks it
    assert plain.headers.get("content-encoding") is None
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == packed.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != packed.headers["etag"]
    picture = browser.get("/page/b.jpg", {"accept-encoding": "gzip"})
    assert "content-encoding" not in picture.headers


def test_policy_allows_nothing_inline_and_no_other_host() -> None:
    policy = content_security_policy()
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert not re.search(r"unsafe|\*|https?:", policy)
    framed = content_security_policy({"frame-src": "'self'"})
    assert framed == f"{policy}; frame-src 'self'"
