"""The web page in a real browser while the service fails or changes."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from service.app import create_app
from service.keys import hash_of
from tests.browser.browsing import Watch, card, chromium, hand_over, needs_chromium, watched
from tests.browser.page_stand_in import StandIn
from tests.process.running import running
from tests.service.fixtures import THREE, code_picture, make_engine, publish_bundle, settings_of

pytestmark = needs_chromium

SURE = code_picture(4000)


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", name="stand_in")
def _stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    store = tmp_path_factory.mktemp("store")
    return StandIn(create_app(settings_of(store), make_engine(publish_bundle(store))))


@pytest.fixture(scope="module", name="address")
def _address(stand_in: StandIn) -> Iterator[str]:
    with running(stand_in) as address:
        yield address


@pytest.fixture(name="opened")
def _opened(browser: Browser, address: str) -> Iterator[tuple[Page, Watch]]:
    with watched(browser, address) as (page, watch):
        page.goto(address)
        yield page, watch


@pytest.fixture(name="page")
def _page(opened: tuple[Page, Watch]) -> Page:
    return opened[0]


@pytest.fixture(name="watch")
def _watch(opened: tuple[Page, Watch]) -> Watch:
    return opened[1]


def test_page_reports_an_unreachable_service_and_keeps_images_waiting(
    page: Page, watch: Watch
) -> None:
    watch.provoked.append("ERR_INTERNET_DISCONNECTED")
    expect(page.locator("#model-line")).to_contain_text("It tells")
    page.context.set_offline(True)
    hand_over(page, [("a.png", SURE)])
    down = page.get_by_role("alert")
    expect(down).to_contain_text("The server does not answer. Your pictures wait here")
    expect(card(page, "a.png").locator(".verdict")).to_have_text("Waiting …")
    page.context.set_offline(False)
    down.get_by_role("button", name="Try again").click()
    expect(card(page, "a.png").locator(".verdict")).to_have_text("mask")
    expect(down).to_be_hidden()


def test_page_retries_while_the_service_is_busy(
    page: Page, watch: Watch, stand_in: StandIn
) -> None:
    watch.provoked.append("429")
    with stand_in.busy(times=3):
        hand_over(page, [(f"{n}.png", SURE) for n in range(12)])
        expect(page.locator("#count")).to_have_text("12 of 12 pictures")
    expect(page.locator(".card .verdict")).to_have_text(["mask"] * 12)


def test_page_prompts_for_the_api_key_and_keeps_it_for_the_tab(
    browser: Browser, tmp_path: Path
) -> None:
    report = b"<!doctype html><title>report</title>"
    engine = make_engine(publish_bundle(tmp_path, documents={"report.html": report}))
    app = create_app(settings_of(tmp_path, api_keys=hash_of("the-key")), engine)
    with running(app) as address, watched(browser, address) as (page, watch):
        watch.provoked.append("401")
        page.goto(address)
        asks = page.get_by_role("region", name="This service needs a key")
        hand_over(page, [("a.png", SURE)])
        expect(asks).to_contain_text("Enter the key")
        field = asks.get_by_label("Key", exact=True)
        expect(field).to_be_focused()
        expect(field).to_have_attribute("type", "password")
        field.fill("a-wrong-one")
        field.press("Enter")
        expect(asks).to_contain_text("The key was not accepted")
        expect(field).to_have_value("")
        field.fill("the-key")
        field.press("Enter")
        expect(card(page, "a.png").locator(".verdict")).to_have_text("mask")
        expect(asks).to_be_hidden()
        page.reload()  # the same tab still has it
        hand_over(page, [("b.png", SURE)])
        expect(card(page, "b.png").locator(".verdict")).to_have_text("mask")
        with page.expect_download() as saved:
            page.get_by_role("link", name="How good is it?").click()
        assert saved.value.suggested_filename == "report.html"
        assert saved.value.path().read_bytes() == report
        assert page.evaluate("() => [localStorage.length, document.cookie]") == [0, ""]


def test_report_link_prompts_for_the_api_key(browser: Browser, tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path, documents={"report.html": b"<p>report"}))
    app = create_app(settings_of(tmp_path, api_keys=hash_of("the-key")), engine)
    with running(app) as address, watched(browser, address) as (page, watch):
        watch.provoked.append("401")
        page.goto(address)
        page.get_by_role("link", name="How good is it?").click()
        expect(page.get_by_role("region", name="This service needs a key")).to_be_visible()


def test_report_opens_without_api_keys(browser: Browser, tmp_path: Path) -> None:
    report = b"<link rel=icon href=data:,><p>report"
    engine = make_engine(publish_bundle(tmp_path, documents={"report.html": report}))
    app = create_app(settings_of(tmp_path), engine)
    with running(app) as address, watched(browser, address) as (page, _):
        page.goto(address)
        page.get_by_role("link", name="How good is it?").click()
        expect(page.get_by_text("report", exact=True)).to_be_visible()


def test_page_sends_single_images_if_a_batch_exceeds_max_files(
    browser: Browser, tmp_path: Path
) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    with (
        running(create_app(settings_of(tmp_path, max_files=3), engine)) as address,
        watched(browser, address) as (page, watch),
    ):
        watch.provoked.append("413")
        page.goto(address)
        hand_over(page, [(f"{n}.png", SURE) for n in range(10)])
        expect(page.locator("#count")).to_have_text("10 of 10 pictures")


def test_page_follows_a_model_swap(browser: Browser, tmp_path: Path) -> None:
    publish_bundle(tmp_path)
    app = create_app(settings_of(tmp_path, poll_s=0.02))
    with running(app) as address, watched(browser, address) as (page, watch):
        watch.provoked.append("503")  # until the first model is ready
        page.goto(address)
        hand_over(page, [("a.png", SURE)])
        expect(card(page, "a.png").locator(".verdict")).to_have_text("mask")
        older = card(page, "a.png").get_by_text("from the model before")
        expect(older).to_be_hidden()
        version = publish_bundle(tmp_path, THREE).manifest.version
        page.evaluate(
            """async (version) => {
                const now = async () => (await (await fetch("health")).json()).model.version;
                while ((await now()) !== version);
            }""",
            version,
        )
        hand_over(page, [("b.png", SURE)])  # its answer tells of the new model
        expect(page.locator("#changed")).to_contain_text("1 answer below came from the one before.")
        expect(older).to_be_visible()
        expect(page.locator("#model-line")).to_contain_text("“cat”, “dog”, and “neither”")
        page.get_by_role("button", name="Ask this model").click()
        expect(card(page, "a.png").locator(".verdict")).to_have_text("cat")
        expect(older).to_be_hidden()
        expect(page.locator("#changed")).to_be_hidden()


def test_page_reports_a_deleted_file_and_continues(
    page: Page, watch: Watch, tmp_path: Path
) -> None:
    watch.provoked.append("Failed to load resource: net::")
    (tmp_path / "gone.png").write_bytes(SURE)
    (tmp_path / "there.png").write_bytes(SURE)
    expect(page.locator("#model-line")).to_contain_text("It tells")
    page.context.set_offline(True)
    page.locator("#pick").set_input_files([tmp_path / "gone.png", tmp_path / "there.png"])
    expect(page.get_by_role("alert")).to_be_visible()
    (tmp_path / "gone.png").unlink()
    page.context.set_offline(False)
    page.get_by_role("alert").get_by_role("button", name="Try again").click()
    expect(card(page, "there.png").locator(".verdict")).to_have_text("mask")
    expect(card(page, "gone.png").locator(".explanation")).to_contain_text(
        "cannot be read any more"
    )


def test_page_reports_a_service_without_a_model(browser: Browser, tmp_path: Path) -> None:
    app = create_app(settings_of(tmp_path, poll_s=0.02))
    with running(app) as address, watched(browser, address) as (page, watch):
        watch.provoked.append("503")
        page.goto(address)
        expect(page.locator("#model-line")).to_have_text("No model is ready yet.")
        expect(page.get_by_text("Pictures wait here until a model is ready.")).to_be_visible()
        publish_bundle(tmp_path)
        page.evaluate('async () => { while (!(await fetch("health")).ok); }')
        page.evaluate('() => document.dispatchEvent(new Event("visibilitychange"))')
        expect(page.locator("#model-line")).to_contain_text("It tells")


# Counts polls as they begin, in the page: events of the browser arrive later.
_COUNT_POLLS = """
window.polls = 0;
const plain = window.fetch;
window.fetch = (path, ...more) => {
    if (String(path).endsWith("health")) polls += 1;
    return plain(path, ...more);
};
"""


def test_page_polls_health_at_intervals(browser: Browser, address: str) -> None:
    with watched(browser, address) as (page, _):
        page.add_init_script(_COUNT_POLLS)
        page.clock.install(time=0)
        page.goto(address)
        expect(page.locator("#model-line")).to_contain_text("It tells")
        page.clock.pause_at(3600)  # until here it runs, as fast as the machine

        def until_next() -> int:
            """Return the seconds to the next poll; one is left out while another is under way."""
            before = page.evaluate("polls")
            for second in range(1, 100):
                page.clock.run_for(1000)
                if page.evaluate("polls") != before:
                    return second
            raise AssertionError("the page does not poll")

        until_next()
        assert [until_next() % 10 for _ in range(3)] == [0, 0, 0]
