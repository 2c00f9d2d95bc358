"""The studio's pages in a real browser: labels, nothing lost, keyboard, accessibility."""

import contextlib
import re
import sqlite3
import uuid
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect

from studio.app import create_app
from studio.keys import Role, entry_of, new_key
from studio.settings import DATABASE_FILE, Settings
from tests import ROOT, WAIT_S
from tests.browser.browsing import needs_chromium
from tests.browser.studio_pages import (
    SIZES,
    Api,
    active_label,
    choose,
    draw_folder,
    faults_in_each_look,
    fresh,
    press,
    show_labels,
    step,
    studio,
    tab,
    upload,
    wait_until,
)
from tests.process.running import running
from tests.studio.runs.bundles import answers, publish_run, run_of

pytestmark = needs_chromium

WEB = ROOT / "studio" / "web"
STATIC = ROOT / "web" / "static"
UNREACHABLE = "ERR_FAILED"


def labels(api: Api) -> dict[int, Any]:
    """Return the label of each picture, by its id."""
    return {one["id"]: one["label"] for one in api.pictures(api.project()["id"])}


# --- labels ------------------------------------------------


def test_keyboard_labels_undoes_and_redoes(page: Page, api: Api, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    before = labels(api)
    show_labels(page)
    saved = page.get_by_text("All saved")
    page.keyboard.press("2")  # the first picture is no cat
    expect(page.locator(".cell.active")).to_have_attribute("aria-posinset", "2")
    page.keyboard.press("x")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("2")
    expect(saved).to_be_visible()
    after = labels(api)
    assert sorted(after.values()) == ["-"] + ["cat"] + ["dog"] * 10
    for _ in range(3):
        page.keyboard.press("u")
    expect(saved).to_be_visible()
    assert labels(api) == before
    for _ in range(3):
        page.keyboard.press("Shift+U")
    expect(saved).to_be_visible()
    assert labels(api) == after


def test_undo_reaches_back_behind_a_reload(page: Page, api: Api, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    before = labels(api)
    show_labels(page)
    for key in "2x2":
        page.keyboard.press(key)
    expect(page.get_by_text("All saved")).to_be_visible()
    assert labels(api) != before
    page.reload()
    expect(page.locator(".cell[data-state=labelled]").first).to_be_visible()
    for _ in range(3):
        page.keyboard.press("u")
    wait_until(page, lambda: labels(api) == before)


def test_decisions_survive_a_killed_tab(
    browser: Browser, address: str, api: Api, two_classes: Any
) -> None:
    context = browser.new_context()
    with tab(context, address) as (page, watch):
        watch.provoked.append(UNREACHABLE)
        upload(page, *two_classes, held=12)
        show_labels(page)
        page.route("**/decisions", lambda route: route.abort())
        for _ in range(3):
            page.keyboard.press("2")
        expect(page.get_by_text("3 not saved yet: kept in this browser")).to_be_visible()
        labelling = page.url
    assert list(labels(api).values()).count("dog") == 6
    with tab(context, labelling) as (page, _):
        expect(page.locator(".cell[data-state=labelled]").first).to_be_visible()
        expect(page.locator(".cell").first).to_contain_text("dog")
        wait_until(page, lambda: list(labels(api).values()).count("dog") == 9)
    context.close()


def test_conflict_is_shown_and_nothing_is_overwritten(
    page: Page, api: Api, two_classes: Any
) -> None:
    upload(page, *two_classes, held=12)
    show_labels(page)
    project = api.project()["id"]
    (first, *_) = api.get(f"/api/projects/{project}/index", order="label_issues")["ids"]
    (seen,) = api.get(f"/api/projects/{project}/pictures", ids=first)["pictures"]
    api.post(
        f"/api/projects/{project}/decisions",
        {
            "act": str(uuid.uuid4()),
            "decisions": [{"picture": first, "label": "-", "revision": seen["revision"]}],
        },
    )
    page.keyboard.press("2")
    conflict = page.get_by_role("alert", name="Conflicts")
    expect(conflict).to_contain_text("1 picture that somebody else changed")
    assert labels(api)[first] == "-"
    conflict.get_by_role("button", name="Set “dog”").click()
    expect(conflict).to_be_hidden()
    expect(page.get_by_text("All saved")).to_be_visible()
    assert labels(api)[first] == "dog"


def test_new_class_and_groups(page: Page, api: Api, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    show_labels(page)
    page.keyboard.press("n")
    page.get_by_label("A new class, in one or two words").fill("bird")
    page.keyboard.press("Enter")
    expect(page.get_by_text("All saved")).to_be_visible()
    assert list(labels(api).values()).count("bird") == 1
    page.get_by_role("button", name="Groups").click()
    page.get_by_label("as a pattern").fill(r"^(?:.*/)?(\d\d\d)")
    page.get_by_role("button", name="Preview the groups").click()
    expect(page.get_by_text("1 group: 000 (12)")).to_be_visible()
    page.get_by_role("button", name="Make these groups").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    assert {one["group"] for one in api.pictures(api.project()["id"])} == {"000"}


def test_model_answer_is_shown_after_the_person_has_judged(
    page: Page, two_classes: Any, tmp_path: Path
) -> None:
    upload(page, *two_classes, held=12)
    with contextlib.closing(
        sqlite3.connect(tmp_path / "studio" / "data" / DATABASE_FILE)
    ) as database:
        database.execute(
            "UPDATE pictures SET issue_score = 0.9, issue_decision_id = decision_id,"
            " suggestion = 'dog', suggestion_score = 0.9 WHERE id = 2"
        )
        database.commit()
    show_labels(page)
    first = page.locator(".cell").first
    expect(first).to_contain_text("label?")
    page.keyboard.press("o")
    viewer = page.get_by_role("dialog")
    expect(viewer).to_contain_text("What do you see?")
    expect(viewer).not_to_contain_text("90% sure")
    page.keyboard.press("1")  # a cat it is
    page.keyboard.press("ArrowLeft")
    expect(viewer).to_contain_text("The model’s answer: dog (90% sure)")
    page.keyboard.press("Escape")
    expect(first).to_contain_text("model: dog")


def test_class_shows_its_pictures_only(page: Page, two_classes: Any) -> None:
    upload(page, *two_classes, held=12)
    step(page, "Labels")
    page.get_by_role("navigation", name="Which pictures").get_by_role("link", name="dog").click()
    expect(page.locator(".cell[data-state=labelled]")).to_have_count(6)
    assert active_label(page) == "dog"


def test_address_of_a_picture_leads_to_its_label(page: Page, api: Api, tmp_path: Path) -> None:
    upload(page, draw_folder(tmp_path / "many", 300, seed=9), held=300)
    project = api.project()["id"]
    wanted = api.get(f"/api/projects/{project}/index", order="name")["ids"][250]
    page.goto(page.url.replace("/data", f"/labels?picture={wanted}"))
    expect(page.locator(".cell.active")).to_be_visible()
    expect(page.locator(".act-what")).to_contain_text("0250.png")


def test_line_says_how_many_of_the_listed_pictures_are_left(
    page: Page, api: Api, two_classes: Any
) -> None:
    upload(page, *two_classes, held=12)
    show_labels(page)
    line = page.locator(".labels-bar p").first
    expect(line).to_contain_text("12 pictures")
    page.get_by_role("navigation", name="Which pictures").get_by_role("link", name="cat").click()
    expect(line).to_contain_text("6 pictures")
    page.keyboard.press("2")  # a dog: it stays in the list, where it can be undone
    expect(line).to_contain_text("6 pictures listed, 5 left")
    page.keyboard.press("u")
    expect(line).not_to_contain_text("left")


def test_key_decides_about_no_picture_out_of_sight(page: Page, api: Api, tmp_path: Path) -> None:
    upload(page, draw_folder(tmp_path / "many", 300, seed=8), held=300)
    show_labels(page)
    page.locator(".grid").evaluate("(grid) => grid.scrollTo(0, 3000)")
    expect(page.locator(".cell.active")).to_have_count(0)
    page.keyboard.press("x")
    expect(page.locator(".cell.active")).to_be_visible()  # first it is shown
    assert api.project()["counts"]["left_out"] == 0
    page.keyboard.press("x")
    wait_until(page, lambda: api.project()["counts"]["left_out"] == 1)


# --- a model that is not in use yet ------------------------------------------------


def test_model_that_answers_many_fewer_pictures_takes_a_reason(
    browser: Browser, tmp_path: Path
) -> None:
    sure = answers(200)
    unsure = [
        answer._replace(probabilities=dict.fromkeys(answer.probabilities, 0.5))
        for answer in sure[:60]
    ]
    settings = Settings(data=tmp_path / "data", store=tmp_path / "store")
    app = create_app(settings, ())
    versions = [
        publish_run(settings.store, found, live=found is sure)
        for found in (sure, unsure + sure[60:])
    ]
    with running(app) as address:
        api = Api(address)
        project = api.post("/api/projects", {"name": "masks"})["id"]
        runs = [run_of(app.state.database, settings.store, project, it) for it in versions]
        api.close()
        with fresh(browser, f"{address}/projects/{project}/in-use?run={runs[1]}") as (page, _):
            verdict = page.locator(".verdict")
            expect(verdict.get_by_role("heading")).to_have_text("Fewer answers")
            expect(verdict).to_contain_text("It gives 70% of them a class")
            page.get_by_label("Use it all the same, because").fill("a drill")
            page.get_by_role("button", name="Use model 2").click()
            expect(page.locator("#served-heading")).to_contain_text("In use: model 2")


def test_next_step_says_that_a_model_leaves_most_pictures_uncertain(
    browser: Browser, tmp_path: Path, two_classes: list[Path]
) -> None:
    settings = Settings(data=tmp_path / "data", store=tmp_path / "store")
    app = create_app(settings, ())
    bundle = publish_run(settings.store, answers(40), answered=0.15)
    with running(app) as address:
        api = Api(address)
        project = api.post("/api/projects", {"name": "pets"})["id"]
        with fresh(browser, f"{address}/projects/{project}/data") as (page, _):
            upload(page, *two_classes, held=12)
            api.post(f"/api/projects/{project}/versions", {})
            run_of(app.state.database, settings.store, project, bundle)
            page.reload()
            expect(page.locator("#next-action")).to_have_text("Use this model")
            expect(page.get_by_text("It says “uncertain” for 85% of such pictures")).to_be_visible()
        api.close()


# --- everywhere ------------------------------------------------


def test_screens_are_accessible_in_each_look(page: Page, two_classes: Any) -> None:
    expect(page.get_by_role("heading", name="Drop your folders here")).to_be_visible()
    assert faults_in_each_look(page) == []
    upload(page, *two_classes, held=12)
    assert faults_in_each_look(page) == []
    show_labels(page)
    page.keyboard.press("2")
    assert faults_in_each_look(page) == []
    for key in ("o", "?", "g"):
        page.keyboard.press(key)
        expect(page.get_by_role("dialog")).to_be_visible()
        assert faults_in_each_look(page) == []
        page.keyboard.press("Escape")
    for title in ("Train", "Results", "In use"):
        step(page, title)
        assert faults_in_each_look(page) == []


def test_folder_is_chosen_and_trained_on_without_a_mouse(
    page: Page, api: Api, two_classes: list[Path]
) -> None:
    page.locator(".drop").wait_for()
    choose(page, "Choose a folder", two_classes[0].parent)
    expect(page.locator("#upload-heading")).to_have_text("Done: the studio holds 12 pictures")
    expect(page.locator("#next-action")).to_have_text("Train")
    press(page, page.locator("#next-action"))
    expect(page.locator("#job-heading")).to_be_visible()
    job = api.project()["running_job"]["id"]
    press(page, page.get_by_role("button", name="Stop"))
    page.keyboard.press("Tab")  # from Cancel to Stop
    page.keyboard.press("Enter")
    wait_until(page, lambda: api.get(f"/api/jobs/{job}")["state"] == "cancelled")


def test_long_names_stay_in_the_page(page: Page, tmp_path: Path) -> None:
    names = [
        "x" * 150,
        "wide " * 30,
        "كمامة على الوجه",
        "😷 mask",
        *(f"class {n}" for n in range(16)),
    ]
    folders = [
        draw_folder(tmp_path / "set" / name.strip(), 2, seed=n) for n, name in enumerate(names)
    ]
    upload(page, *folders, held=2 * len(names))
    for title in ("Data", "Labels", "Train"):
        step(page, title)
        assert faults_in_each_look(page) == []
        if title == "Labels":  # pictures are left to see between the classes
            page.set_viewport_size(SIZES["wide"])
            act = page.locator(".act").bounding_box()
            assert act is not None
            assert act["height"] < SIZES["wide"]["height"] / 3


def test_key_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    key, entry = new_key("anna", Role.PROMOTE)
    closed = studio(tmp_path / "closed", keys=entry_of(entry))
    with closed as address, fresh(browser, address) as (page, watch):
        watch.provoked.append("401")
        field = page.get_by_label("Key", exact=True)
        field.fill("wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-text")).not_to_contain_text("operator of the studio gave")
        field.fill(key)
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Drop your folders here")).to_be_visible()
        expect(page.get_by_text("anna")).to_be_visible()


def test_lost_studio_is_said_and_found_again(browser: Browser, address: str) -> None:
    with fresh(browser, address) as (page, watch):
        watch.provoked.append("503")
        page.route("**/api/projects", lambda route: route.fulfill(status=503, body="{}"))
        page.reload()
        expect(page.get_by_role("alert")).to_contain_text("kept in this browser")
        page.unroute("**/api/projects")
        expect(page.get_by_role("alert")).to_be_hidden(timeout=2000 * WAIT_S)


def test_page_names_all_its_modules_so_that_they_load_at_once() -> None:
    html = (WEB / "index.html").read_text(encoding="utf-8")
    named = set(re.findall(r'<link rel="modulepreload" href="/page/([\w./-]+)">', html))
    needed, queue = {"app.js"}, ["app.js"]
    while queue:
        name = queue.pop()
        path = STATIC / name.removeprefix("shared/") if "/" in name else WEB / name
        for found in re.findall(r'from "\./([\w./-]+)"', path.read_text(encoding="utf-8")):
            module = f"shared/{found}" if "/" in name else found
            if module not in needed:
                needed.add(module)
                queue.append(module)
    assert named == needed - {"app.js"}
