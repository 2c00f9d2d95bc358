"""The web page in a real browser: every way to add images, answers, errors, accessibility."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, Page, expect

from service.app import create_app
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
from tests.service.fixtures import (
    CODES,
    SIZE_PX,
    code_picture,
    encoded,
    make_engine,
    publish_bundle,
    settings_of,
)

pytestmark = needs_chromium

TORN = code_picture(7)[:60]
SURE, UNSURE = code_picture(4000), code_picture(2100)
SIZES = {"narrow": {"width": 320, "height": 700}, "wide": {"width": 1440, "height": 1000}}


@pytest.fixture(scope="module", name="browser")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module", name="stand_in")
def _stand_in(tmp_path_factory: pytest.TempPathFactory) -> StandIn:
    store = tmp_path_factory.mktemp("store")
    report = {"report.html": b"<!doctype html><title>report</title>"}
    engine = make_engine(publish_bundle(store, documents=report))
    return StandIn(create_app(settings_of(store), engine))


@pytest.fixture(scope="module", name="address")
def _address(stand_in: StandIn) -> Iterator[str]:
    with running(stand_in) as address:
        yield address


@pytest.fixture(name="page")
def _page(browser: Browser, address: str) -> Iterator[Page]:
    with watched(browser, address) as (page, _):
        page.goto(address)
        yield page


def bars(found: Locator) -> list[str]:
    return found.locator(".scores li").all_inner_texts()


def test_dropped_image_gets_its_answer(page: Page) -> None:
    expect(page.locator("#model-line")).to_have_text("It tells “mask” and “no_mask” apart.")
    expect(page.get_by_text("In its tests it was right 75% of the time.")).to_be_visible()
    expect(page.get_by_role("link", name="How good is it?")).to_have_attribute("href", "report")
    hand_over(page, [("a.png", SURE)])
    answer = card(page, "a.png")
    expect(answer.locator(".verdict")).to_have_text("mask")
    expect(answer.locator(".explanation")).to_have_text("97.8% sure.")
    assert bars(answer) == ["mask\n97.8%", "no_mask\n2.2%"]
    assert answer.locator("img").evaluate("(image) => image.decode().then(() => true)")
    shares = answer.locator(".fill").evaluate_all(
        "(all) => all.map((bar) => bar.offsetWidth / bar.parentElement.offsetWidth)"
    )
    assert shares == pytest.approx([0.978, 0.022], abs=0.02)
    expect(page.locator("#live")).to_have_text("a.png: mask")
    answer.get_by_role("button", name="Remove a.png").click()
    expect(page.locator("#answers")).to_be_hidden()


def test_page_explains_uncertain_answers(page: Page) -> None:
    hand_over(page, [("a.png", UNSURE)])
    answer = card(page, "a.png")
    expect(answer.locator(".verdict")).to_have_text("Uncertain")
    expect(answer.locator(".explanation")).to_have_text(
        "Likeliest is mask, but 52.5% is below the threshold."
    )


def test_broken_image_among_ten_gets_its_own_error(page: Page) -> None:
    files = [(f"{n}.png", code_picture(400 * n)) for n in range(9)]
    hand_over(page, [*files[:4], ("torn.png", TORN), *files[4:]])
    expect(page.locator("#count")).to_have_text("10 of 10 pictures, 1 without an answer")
    for name, _ in files:
        said = "no_mask" if int(name[0]) < 6 else "mask"
        expect(card(page, name).locator(".best .class")).to_have_text(said)
    torn = card(page, "torn.png")
    expect(torn.locator(".verdict")).to_have_text("No answer")
    expect(torn.locator(".explanation")).to_contain_text("is broken")
    # The picture is at fault, so asking again is not offered.
    expect(page.locator("#retry")).to_be_hidden()


def test_pasted_image_gets_its_answer(page: Page) -> None:
    hand_over(page, [("image.png", SURE)], event="paste")
    expect(card(page, "image.png").locator(".verdict")).to_have_text("mask")


def test_folder_input_skips_other_files(page: Page, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "b.png").write_bytes(SURE)
    (folder / "a.png").write_bytes(SURE)
    (folder / ".hidden.png").write_bytes(SURE)
    (folder / "notes.txt").write_text("no picture")
    page.locator("#pick-folder").set_input_files(folder)
    expect(page.locator("#count")).to_have_text("2 of 2 pictures")
    names = page.locator(".card .name").all_inner_texts()
    assert names == ["pictures/a.png", "pictures/deep/b.png"]
    expect(page.locator("#left-out")).to_have_text(
        "Left out: 1 file in the folder that is not a picture."
    )


def test_activation_map_can_be_faded_in(page: Page) -> None:
    image = Image.new("RGB", (SIZE_PX, SIZE_PX), (CODES // 512, 0, 7))  # says nothing
    image.paste((255, 0, 7), (SIZE_PX * 3 // 4,) * 2 + (SIZE_PX,) * 2)  # speaks loudly
    expect(page.locator("#fade")).to_be_hidden()
    hand_over(page, [("a.png", encoded(image, "PNG"))])
    expect(card(page, "a.png").locator(".explanation")).to_contain_text("Likeliest: mask")
    over = card(page, "a.png").locator("canvas")
    slider = page.locator("#fade")
    for value in ("0", "60"):
        slider.fill(value)
        expect(over).to_have_css("opacity", str(int(value) / 100).rstrip("0").rstrip("."))
    alpha = over.evaluate(
        """(canvas) => {
            const at = (x, y) => canvas.getContext("2d").getImageData(x, y, 1, 1).data[3];
            return [at(1, 1), at(canvas.width - 2, canvas.height - 2)];
        }"""
    )
    assert alpha[0] < 20
    assert alpha[1] > 200


def test_page_works_by_keyboard_alone(page: Page, tmp_path: Path) -> None:
    def tab_to(target: Locator) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if target.evaluate("(element) => element === document.activeElement"):
                return
        raise AssertionError("the keyboard does not reach it")

    (tmp_path / "a.png").write_bytes(SURE)
    (tmp_path / "b.png").write_bytes(UNSURE)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the answers")).to_be_focused()
    pick = page.locator("#pick")
    with page.expect_file_chooser() as chooser:
        # The browser begins to catch dialogues a moment later: the way there is long enough.
        tab_to(pick)
        outline = page.locator(".button.primary").evaluate(
            "(e) => getComputedStyle(e).outlineStyle"
        )
        assert outline == "solid"
        page.keyboard.press("Enter")
    chooser.value.set_files([tmp_path / "a.png", tmp_path / "b.png"])
    expect(page.locator("#count")).to_have_text("2 of 2 pictures")
    tab_to(page.get_by_role("radio", name="Pictures"))
    page.keyboard.press("ArrowRight")
    table = page.get_by_role("region", name="Answers as a table")
    expect(table.locator("tbody tr")).to_have_count(2)
    score = table.get_by_role("button", name="Score")
    tab_to(score)
    for order, first in (("ascending", "b.png"), ("descending", "a.png")):
        page.keyboard.press("Enter")
        expect(table.get_by_role("columnheader", name="Score")).to_have_attribute(
            "aria-sort", order
        )
        expect(table.locator("tbody td").first).to_have_text(first)
        expect(score).to_be_focused()


def test_answers_can_be_filtered_and_saved(page: Page, tmp_path: Path) -> None:
    hand_over(page, [("=a.png", SURE), ("b.png", UNSURE), ("c, d.png", SURE), ("torn.png", TORN)])
    expect(page.locator("#count")).to_contain_text("4 of 4")
    page.get_by_label("Show", exact=True).select_option("uncertain")
    shown = page.locator(".card:visible .name")
    expect(shown).to_have_text(["b.png"])
    page.get_by_label("Show", exact=True).select_option("all")
    page.get_by_label("Name has").fill("TORN")
    expect(shown).to_have_text(["torn.png"])
    page.get_by_label("Name has").fill("nowhere")
    expect(page.get_by_text("No picture matches the filter.")).to_be_visible()
    page.get_by_label("Name has").fill("")
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as CSV").click()
    download.value.save_as(tmp_path / "answers.csv")
    text = (tmp_path / "answers.csv").read_text(encoding="utf-8-sig")
    rows = {row["file"]: row for row in csv.DictReader(text.splitlines())}
    # A spreadsheet would take a name that begins with = for a formula.
    assert set(rows) == {"'=a.png", "b.png", "c, d.png", "torn.png"}
    assert rows["b.png"]["decision"] == "uncertain"
    assert float(rows["c, d.png"]["score mask"]) == pytest.approx(0.978, abs=1e-3)
    assert "broken" in rows["torn.png"]["error"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    download.value.save_as(tmp_path / "answers.json")
    entries = json.loads((tmp_path / "answers.json").read_text())
    assert [entry["file"] for entry in entries] == ["=a.png", "b.png", "c, d.png", "torn.png"]
    assert entries[3]["error"]["code"] == "undecodable_image"
    assert entries[0]["scores"]["mask"] == pytest.approx(0.978, abs=1e-3)


def test_file_name_is_never_rendered_as_html(page: Page) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    hand_over(page, [(name, SURE)])
    expect(card(page, name).locator(".verdict")).to_have_text("mask")
    page.get_by_role("radio", name="Table").check()
    expect(page.locator("tbody td").first).to_have_text(name)
    assert page.locator("img[src=x]").count() == 0


def test_scores_of_many_classes_are_folded(browser: Browser, tmp_path: Path) -> None:
    labels = [f"class_{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    engine = make_engine(publish_bundle(tmp_path, labels))
    with (
        running(create_app(settings_of(tmp_path), engine)) as address,
        watched(browser, address) as (page, _),
    ):
        page.goto(address)
        hand_over(page, [("a.png", SURE)])
        answer = card(page, "a.png")
        expect(answer.locator(".scores li:visible")).to_have_count(5)
        answer.get_by_text("21 more classes").click()
        expect(answer.locator(".scores li:visible")).to_have_count(26)


def test_dropped_folders_are_searched_recursively(page: Page) -> None:
    found = page.evaluate(
        """async () => {
            const file = (path) => ({ isFile: true, fullPath: path, file: (done) =>
                done(new File(["x"], path.split("/").pop())) });
            const folder = (path, ...batches) => ({ isDirectory: true, fullPath: path,
                createReader: () => ({ readEntries: (done) => done(batches.shift() ?? []) }) });
            const deep = folder("/top/deep", [file("/top/deep/c.jpg")]);
            const top = folder("/top", [file("/top/b10.PNG"), file("/top/notes.txt")],
                [deep, file("/top/b9.png"), file("/top/.DS_Store")]);
            const item = (entry, loose) => ({ kind: "file", webkitGetAsEntry: () => entry,
                getAsFile: () => loose });
            const loose = new File(["x"], "loose.xyz");
            const { fromTransfer } = await import("./page/gather.js");
            const { files, leftOut } = await fromTransfer({
                items: [item(top, null), item(file("/loose.xyz"), loose)],
            });
            return [files.map(({ path }) => path), leftOut];
        }"""
    )
    assert found == [["loose.xyz", "top/b9.png", "top/b10.PNG", "top/deep/c.jpg"], 1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_page_is_accessible_and_fits_the_window(
    size: str, scheme: Any, browser: Browser, address: str, stand_in: StandIn
) -> None:
    options = {"viewport": SIZES[size], "color_scheme": scheme}
    with watched(browser, address, **options) as (page, watch):
        page.goto(address)
        expect(page.locator("#model-line")).to_contain_text("It tells")
        assert axe_violations(page) == []
        page.get_by_text("About this model").click()
        hand_over(page, [("a.png", SURE), ("b" * 80 + ".png", UNSURE), ("torn.png", TORN)])
        expect(page.locator("#count")).to_contain_text("3 of 3")
        assert axe_violations(page) == []
        if size == "narrow":
            page.get_by_text("Filter, threshold, save").click()
            assert axe_violations(page) == []
        page.get_by_role("radio", name="Table").check()
        watch.provoked.append("401")
        with stand_in.wanting("a-key"):
            hand_over(page, [("c.png", SURE)])
            expect(page.locator("#key")).to_be_visible()
        watch.provoked.append("ERR_INTERNET_DISCONNECTED")
        page.context.set_offline(True)
        page.locator("#key-input").fill("a-key")
        page.keyboard.press("Enter")
        expect(page.get_by_role("alert")).to_be_visible()
        assert axe_violations(page) == []
        assert page.evaluate("() => document.documentElement.scrollWidth - innerWidth") <= 0
        dark = page.locator("body").evaluate("(e) => getComputedStyle(e).backgroundColor")
        assert (dark == "rgb(255, 255, 255)") == (scheme == "light")


def test_arriving_answers_shift_no_layout(page: Page, stand_in: StandIn) -> None:
    expect(page.locator("#model-line")).to_contain_text("It tells")
    with stand_in.holding() as release:
        hand_over(page, [("a.png", SURE), ("b.png", UNSURE)])
        expect(page.locator(".verdict").first).to_have_text("Asking …")
        box = page.locator("#cards").bounding_box()
        release()
        expect(card(page, "b.png").locator(".verdict")).to_have_text("Uncertain")
    assert page.locator("#cards").bounding_box() == box
