"""The web page's tools in a real browser: large view, threshold, corrections, undo, live camera."""

import csv
import io
import json
import math
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from service.app import create_app
from service.keys import hash_of
from tests.browser.browsing import (
    axe_violations,
    card,
    chromium,
    hand_over,
    needs_chromium,
    watched,
)
from tests.browser.page_stand_in import StandIn
from tests.process.running import running
from tests.service.fixtures import code_picture, make_engine, publish_bundle, settings_of

pytestmark = needs_chromium

SURE, UNSURE, STRANGE, OTHER = (code_picture(code) for code in (4000, 2100, 4090, 100))
TORN = code_picture(7)[:60]
NOT_LIKE = "Not like anything it was trained on"
CARD = b"""---
licence: mit
---
# A model

It has `code`, **bold** and [a link](https://example.org/x). <img src=x onerror=alert(1)>

- one
- two

| class | pictures |
|---|---|
| mask | 3 |
"""
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", name="stand_in")
def _stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    store = tmp_path_factory.mktemp("store")
    documents = {"model_card.md": CARD, "example_0.jpg": SURE, "example_1.jpg": OTHER}
    engine = make_engine(publish_bundle(store, documents=documents))
    return StandIn(create_app(settings_of(store, studio_url="http://127.0.0.1:9/"), engine))


@pytest.fixture(scope="module", name="address")
def _address(stand_in: StandIn) -> Iterator[str]:
    with running(stand_in) as address:
        yield address


@pytest.fixture(name="page")
def _page(browser: Browser, address: str) -> Iterator[Page]:
    with watched(browser, address) as (page, _):
        page.goto(address)
        expect(page.locator("#model-line")).to_contain_text("It tells")
        yield page


def nines(share: float) -> str:
    """Return the position of the threshold's slider for a share."""
    return str(-math.log10(1 - share))


def drop(page: Page, *files: tuple[str, bytes]) -> None:
    hand_over(page, files)
    expect(page.locator("progress[data-done=true]")).to_be_attached()


def saved(page: Page, name: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=name).click()
    return download.value.path().read_bytes()


def test_unfamiliar_picture_gets_no_class_anywhere(page: Page) -> None:
    drop(page, ("a.png", STRANGE), ("b.png", SURE))
    strange = card(page, "a.png")
    expect(strange.locator(".verdict")).to_have_text(NOT_LIKE)
    expect(strange.locator(".explanation")).to_contain_text("Likeliest: mask (")
    expect(strange.locator(".best")).to_have_count(0)
    expect(page.locator("#threshold-text")).to_have_text("1 of 2 answered with a class")
    page.get_by_label("Show", exact=True).select_option(label=NOT_LIKE.lower())
    expect(page.locator(".card:visible .name")).to_have_text(["a.png"])
    page.get_by_label("Show", exact=True).select_option("all")
    page.get_by_role("radio", name="Table").check()
    rows = page.locator("tbody tr")
    expect(rows.first.locator("td").nth(1)).to_have_text(NOT_LIKE.lower())
    expect(rows.first.locator("td").nth(4)).to_have_text("no")
    page.get_by_role("button", name="Familiar").click()  # the least familiar first
    expect(rows.locator("td:first-child")).to_have_text(["a.png", "b.png"])
    page.get_by_role("button", name="Familiar").click()
    expect(rows.locator("td:first-child")).to_have_text(["b.png", "a.png"])
    entries = json.loads(saved(page, "Save as JSON"))
    assert [entry["decision"] for entry in entries] == ["mask", "unfamiliar"]


def test_framed_part_is_outlined_and_further_faces_are_counted(page: Page) -> None:
    def frame(route: Route) -> None:
        answer = route.fetch()
        document = answer.json()
        box = {"left": 8, "top": 4, "width": 16, "height": 20}
        document["predictions"][0] |= {"framing": "face", "box": box, "further_faces": 2}
        route.fulfill(response=answer, json=document)

    page.route("**/predict?*", frame)
    drop(page, ("a.png", SURE))
    answer = card(page, "a.png")
    expect(answer.locator(".explanation")).to_have_text(
        "97.8% sure. Of 3 faces, the main one: “Find faces first” answers for each."
    )
    outline = answer.locator(".boxes rect:not(.under)")
    names = ("x", "y", "width", "height")
    assert [outline.get_attribute(name) for name in names] == ["8", "4", "16", "20"]
    # The map lies over that part only, in the canvas's scale.
    covered = answer.locator("canvas").evaluate(
        """(canvas) => {
            const { width, height } = canvas;
            const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
            const columns = [], rows = [];
            for (let at = 0; at < data.length; at += 4) {
                if (data[at + 3] < 100) continue;
                columns.push(((at / 4) % width) / width);
                rows.push(Math.floor(at / 4 / width) / height);
            }
            return [columns, rows].map((all) => [Math.min(...all), Math.max(...all)]);
        }"""
    )
    assert covered == [
        pytest.approx([8 / 32, 24 / 32], abs=0.02),
        pytest.approx([4 / 32, 24 / 32], abs=0.02),
    ]


def test_threshold_shows_what_would_be_answered(page: Page) -> None:
    drop(page, ("a.png", SURE), ("b.png", UNSURE), ("c.png", STRANGE))
    verdicts = page.locator(".card .verdict")
    expect(verdicts).to_have_text(["mask", "Uncertain", NOT_LIKE])
    slider = page.get_by_label("“Uncertain” below")
    expect(slider).to_have_attribute("aria-valuetext", "75%")
    slider.fill(nines(0.5))
    expect(verdicts).to_have_text(["mask", "mask", NOT_LIKE])
    expect(page.locator("#threshold-text")).to_have_text("2 of 3 would be answered with a class")
    slider.fill(nines(0.99))
    expect(verdicts).to_have_text(["Uncertain", "Uncertain", NOT_LIKE])
    rows = list(csv.DictReader(saved(page, "Save as CSV").decode("utf-8-sig").splitlines()))
    assert [(row["decision"], row["threshold"]) for row in rows] == [
        ("uncertain", "0.99"),
        ("uncertain", "0.99"),
        ("unfamiliar", "0.99"),
    ]
    page.get_by_role("button", name="Back to 75%").click()
    expect(verdicts).to_have_text(["mask", "Uncertain", NOT_LIKE])
    expect(slider).to_be_focused()


def test_card_opens_large_and_arrow_keys_go_on(page: Page) -> None:
    name = "a name that is much longer than a card is wide, and is shown whole.png"
    drop(page, (name, SURE), ("b.png", UNSURE), ("torn.png", TORN))
    page.get_by_role("button", name=f"Enlarge {name}").click()
    expect(page.get_by_role("dialog", name=name)).to_be_visible()
    viewer = page.locator("#viewer")
    expect(viewer.locator("#viewer-index")).to_have_text("1 of 3")
    expect(viewer.locator("#viewer-verdict")).to_have_text("mask")
    expect(viewer.locator("#viewer-scores li")).to_have_text(["mask97.8%", "no_mask2.2%"])
    expect(viewer.get_by_text("32 × 32 pixels")).to_be_visible()
    expect(viewer.get_by_role("button", name="Picture before")).to_be_disabled()
    slider = viewer.get_by_label("Where it looked")
    slider.fill("60")
    expect(viewer.locator("canvas")).to_have_css("opacity", "0.6")
    slider.press("ArrowRight")  # moves the slider, not the picture
    expect(viewer.locator("#viewer-index")).to_have_text("1 of 3")
    viewer.get_by_role("button", name="Close").focus()
    page.keyboard.press("ArrowRight")
    expect(viewer.locator("#viewer-name")).to_have_text("b.png")
    expect(viewer.locator("#viewer-verdict")).to_have_text("Uncertain")
    page.keyboard.press("ArrowRight")
    expect(viewer.locator("#viewer-explanation")).to_contain_text("is broken")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(viewer.locator("#viewer-name")).to_have_text(name)
    assert axe_violations(page) == []
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()
    expect(page.get_by_role("button", name=f"Enlarge {name}")).to_be_focused()
    page.get_by_role("radio", name="Table").check()
    page.get_by_role("button", name="b.png").click()
    expect(page.get_by_role("dialog", name="b.png")).to_be_visible()


def test_removed_pictures_come_back_in_their_order(page: Page) -> None:
    drop(page, ("a.png", SURE), ("b.png", UNSURE), ("c.png", OTHER))
    names = page.locator(".card .name")
    page.get_by_role("button", name="Remove b.png").click()
    expect(names).to_have_text(["a.png", "c.png"])
    page.keyboard.press("Control+z")
    expect(names).to_have_text(["a.png", "b.png", "c.png"])
    page.get_by_role("button", name="Remove all").click()
    expect(page.locator("#answers")).to_be_hidden()
    message = page.get_by_role("status").filter(has_text="3 pictures removed.")
    message.get_by_role("button", name="Undo").click()
    expect(names).to_have_text(["a.png", "b.png", "c.png"])
    expect(page.locator(".card .verdict")).to_have_text(["mask", "Uncertain", "no_mask"])
    assert page.locator(".card img").first.evaluate("(image) => image.decode().then(() => true)")
    expect(message).to_be_hidden()


def test_pictures_removed_while_they_wait_are_sent_after_undo(
    page: Page, stand_in: StandIn
) -> None:
    with stand_in.holding() as release:
        hand_over(page, [("a.png", SURE)])
        expect(page.locator(".verdict").first).to_have_text("Asking …")
        page.get_by_role("button", name="Remove all").click()
        page.get_by_role("button", name="Undo").click()
        release()
        expect(card(page, "a.png").locator(".verdict")).to_have_text("mask")


def test_corrections_are_saved_in_the_training_layout(page: Page) -> None:
    drop(page, ("a.png", SURE), ("b.png", UNSURE), ("c.png", STRANGE), ("torn.png", TORN))
    hand_over(page, [("a.png", OTHER)])  # another picture of the same name
    expect(page.locator("#count")).to_contain_text("5 of 5")
    expect(page.locator("#corrections")).to_be_hidden()
    for index, really in ((0, "mask"), (1, "no_mask"), (2, "neither"), (4, "mask")):
        page.locator(".truth select").nth(index).select_option(label=really)
    expect(page.locator("#corrections-text")).to_have_text(
        "4 pictures checked, 1 answered wrongly, 1 without a class."
    )
    states = page.locator(".truth").evaluate_all("(all) => all.map((e) => e.dataset.truth)")
    assert states == ["right", "open", "right", "", "wrong"]
    archive = zipfile.ZipFile(io.BytesIO(saved(page, "Save them to train on")))
    assert archive.testzip() is None
    assert {name: archive.read(name) for name in archive.namelist() if name.endswith("png")} == {
        "mask/a.png": SURE,
        "no_mask/b.png": UNSURE,
        ".neither/c.png": STRANGE,
        "mask/a (2).png": OTHER,
    }
    table = archive.read("corrections.csv").decode("utf-8-sig")
    rows = list(csv.DictReader(table.splitlines()))
    assert [(row["file"], row["label"], row["decision"]) for row in rows] == [
        ("mask/a.png", "mask", "mask"),
        ("no_mask/b.png", "no_mask", "uncertain"),
        (".neither/c.png", "-", "unfamiliar"),
        ("mask/a (2).png", "mask", "no_mask"),
    ]
    expect(page.get_by_role("link", name="Open the studio")).to_have_attribute(
        "href", "http://127.0.0.1:9/"
    )
    expect(page.get_by_role("link", name="Studio", exact=True)).to_be_visible()


def test_corrections_follow_between_card_and_large_view(page: Page) -> None:
    drop(page, ("a.png", SURE))
    page.get_by_role("button", name="Enlarge a.png").click()
    page.locator("#viewer-truth select").select_option("no_mask")
    page.keyboard.press("Escape")
    expect(page.locator(".card .truth select")).to_have_value("no_mask")


@pytest.mark.parametrize("language", ["curl", "Python", "JavaScript"])
def test_code_for_a_picture_runs_and_gets_its_answer(
    language: str, page: Page, tmp_path: Path
) -> None:
    name = 'it\'s "a" $HOME; picture.png'
    (tmp_path / name).write_bytes(UNSURE)
    drop(page, (name, UNSURE))
    page.get_by_label("“Uncertain” below").fill(nines(0.5))
    page.locator(".card .frame").click()
    page.get_by_text("Ask for it by program").click()
    page.locator("#viewer").get_by_role("radio", name=language).check()
    code = page.locator("#viewer-code").inner_text()
    command = {
        "curl": ["sh", "-c", code],
        "Python": [sys.executable, "-c", code],
        "JavaScript": ["node", "--input-type=module", "-e", code],
    }[language]
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    if language == "JavaScript":
        (answer,) = answer
    if language == "curl":
        assert answer["threshold"] == 0.5
        (answer,) = answer["predictions"]
    assert (answer["decision"], round(answer["score"], 3)) == ("mask", 0.525)


def test_code_names_the_key_by_its_variable_and_is_copied(browser: Browser, tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    app = create_app(settings_of(tmp_path, api_keys=hash_of("the-key")), engine)
    with running(app) as address, watched(browser, address) as (page, _):
        page.goto(address)
        page.evaluate("() => sessionStorage.setItem('picture-classifier-key', 'the-key')")
        page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        drop(page, ("a.png", SURE))
        page.locator(".card .frame").click()
        page.get_by_text("Ask for it by program").click()
        code = page.locator("#viewer-code").inner_text()
        assert shlex.split(code.replace("\\\n", ""))[1:] == [
            f"{address}/predict",
            "-H",
            "Authorization: Bearer $FACEMASK_KEY",
            "-F",
            'files=@"a.png"',
        ]
        assert "the-key" not in page.content()
        page.get_by_role("button", name="Copy").click()
        expect(page.get_by_role("button", name="Copied")).to_be_visible()
        assert page.evaluate("() => navigator.clipboard.readText()") == code


def test_examples_of_the_model_are_offered_by_class(page: Page) -> None:
    examples = page.get_by_role("group", name="Or try one of its own pictures")
    examples.get_by_role("button", name="no_mask").click()
    expect(card(page, "example no_mask.jpg").locator(".verdict")).to_have_text("no_mask")


def test_model_without_examples_offers_none(browser: Browser, tmp_path: Path) -> None:
    engine = make_engine(publish_bundle(tmp_path))
    with (
        running(create_app(settings_of(tmp_path), engine)) as address,
        watched(browser, address) as (page, _),
    ):
        page.goto(address)
        expect(page.locator("#model-line")).to_contain_text("It tells")
        expect(page.locator("#examples")).to_be_hidden()
        expect(page.get_by_role("link", name="Model card")).to_be_hidden()
        expect(page.get_by_role("link", name="Studio")).to_be_hidden()


def test_model_card_is_shown_as_text_only(page: Page) -> None:
    page.get_by_role("link", name="Model card").click()
    shown = page.get_by_role("dialog", name="Model card")
    expect(shown.get_by_role("heading", name="A model")).to_be_visible()
    expect(shown.locator("p").first).to_have_text(
        "It has code, bold and a link (https://example.org/x). <img src=x onerror=alert(1)>"
    )
    expect(shown.locator("li")).to_have_text(["one", "two"])
    expect(shown.get_by_role("cell", name="mask")).to_be_visible()
    assert shown.locator("img, a").count() == 0
    assert axe_violations(page) == []
    with page.expect_download() as download:
        shown.get_by_role("button", name="Save").click()
    assert download.value.path().read_bytes() == CARD


def test_camera_takes_pictures(page: Page) -> None:
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Take the picture").click()
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#camera")).to_be_hidden()
    expect(card(page, "photo-1.jpg").locator(".scores li")).to_have_count(2)
    assert page.locator("#camera-video").evaluate("(video) => video.srcObject") is None


def test_live_camera_asks_for_one_picture_at_a_time(page: Page, stand_in: StandIn) -> None:
    # Notes how many requests are under way whenever one begins.
    page.evaluate(
        """() => {
            const asked = window.fetch;
            let open = 0;
            window.begun = [];
            window.fetch = async (path, options) => {
                if (!String(path).startsWith("predict")) return asked(path, options);
                begun.push((open += 1));
                try { return await asked(path, options); } finally { open -= 1; }
            };
        }"""
    )
    page.get_by_role("button", name="Use the camera").click()
    page.get_by_role("button", name="Answer while it runs").click()
    expect(page.locator("#camera-rate")).to_contain_text("pictures per second")
    expect(page.locator("#camera-verdict")).not_to_be_empty()
    page.wait_for_function("() => begun.length >= 5")
    assert set(page.evaluate("() => begun")) == {1}
    assert axe_violations(page) == []
    with stand_in.holding() as release:
        page.wait_for_function("(before) => begun.length > before", arg=5)
        page.get_by_role("button", name="Stop answering").click()
        expect(page.locator("#camera-answer")).to_be_hidden()
        release()
    stopped = page.evaluate("() => begun.length")
    page.get_by_role("button", name="Take the picture").click()
    page.get_by_role("button", name="Close").click()
    expect(card(page, "photo-1.jpg").locator(".scores li")).to_have_count(2)
    assert page.evaluate("() => begun.length") == stopped + 1  # the photo alone


def test_live_camera_waits_while_the_service_is_busy(
    browser: Browser, address: str, stand_in: StandIn
) -> None:
    with watched(browser, address) as (page, watch):
        watch.provoked.append("429")
        page.goto(address)
        page.get_by_role("button", name="Use the camera").click()
        with stand_in.busy(times=1):
            page.get_by_role("button", name="Answer while it runs").click()
            expect(page.locator("#camera-verdict")).not_to_be_empty()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_answers_come_into_view_on_a_phone(browser: Browser, address: str, scheme: Any) -> None:
    with watched(browser, address, color_scheme=scheme, **PHONE) as (page, _):
        page.goto(address)
        expect(page.locator("#model-line")).to_contain_text("It tells")
        expect(page.get_by_text("Drop pictures here")).to_be_hidden()
        assert axe_violations(page) == []
        buttons = page.locator("#drop .buttons > *:visible")
        expect(buttons.first).to_have_text("Choose pictures")
        drop(page, *((f"{number}.png", SURE) for number in range(20)))
        expect(page.locator(".card").first.locator(".verdict")).to_be_in_viewport()
        assert axe_violations(page) == []
        page.locator(".card .frame").first.tap()
        expect(page.locator("#viewer-verdict")).to_be_in_viewport()
        assert axe_violations(page) == []
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
