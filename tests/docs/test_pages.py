"""The pages of docs/: links, anchors, paths, and the tables that are generated from the code."""

import re
import tomllib
from pathlib import Path

import pytest

from scripts import docs
from tests import ROOT
from tests.docs.test_architecture import ROOMS
from training.__main__ import build_parser

PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "client" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
LINK = re.compile(r"\]\(([^)\s]+)\)")
TREE = re.compile(r"`((?:models|training|service|client|tests|scripts|ops)/[\w./-]*)`")


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub forms them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_internal_links_lead_to_files_and_anchors(page: Path) -> None:
    for link in LINK.findall(prose(page)):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_index_links_each_page() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {link.partition("#")[0] for link in LINK.findall(index.read_text(encoding="utf-8"))}
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_of_the_code_exist(page: Path) -> None:
    for path in TREE.findall(prose(page)):
        if not path.startswith("models/artifacts"):
            assert (ROOT / path).exists(), path


def test_architecture_lists_each_room() -> None:
    listed = set(TREE.findall((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")))
    for side in ("models", "service", "training"):
        for room in (ROOT / side).iterdir():
            if any(room.glob("*.py")) and room.is_dir():
                assert f"{side}/{room.name}/" in listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    text, makefile = page.read_text(encoding="utf-8"), (ROOT / "Makefile").read_text()
    for target in re.findall(r"(?:`|\$ )make (\w+)", text):
        assert re.search(rf"^{target}:", makefile, re.M), target
    for module in set(re.findall(r"python -m ([\w.]+)", text)) - {"pip", "pytest", "venv"}:
        source = ROOT / "client" / "src" if module == "facemask_client" else ROOT
        path = source / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


def test_training_page_lists_each_option() -> None:
    (commands,) = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    listed = set(re.findall(r"--[\w-]+", (ROOT / "docs" / "training.md").read_text()))
    assert commands.choices is not None
    for parser in dict(commands.choices).values():
        assert set(parser._option_string_actions) - {"-h", "--help"} <= listed


@pytest.mark.parametrize("side", ROOMS)
def test_architecture_has_the_order_of_the_rooms(side: str) -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    order = " < ".join(", ".join(layer) for layer in ROOMS[side])
    assert f"{side}: {order}" in " ".join(page.split())


def test_readme_fits_one_page() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 180


def test_generated_tables_are_fresh() -> None:
    assert [path.name for path, _ in docs.stale_pages()] == []


def test_each_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = sum(project["optional-dependencies"].values(), project["dependencies"])
    assert {re.split(r"[=;\[]", requirement)[0] for requirement in declared} == set(docs.PACKAGES)
    assert all(why and licence for why, licence in docs.PACKAGES.values())


def test_each_table_stands_in_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert set(re.findall(r"<!-- table: ([\w-]+) -->", pages)) == set(docs.TABLES)


def test_check_fails_if_a_page_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    monkeypatch.setattr(docs, "TABLES", {"one": lambda: "| new |\n"})
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "page.md"
    page.write_text("# Page\n<!-- table: one -->\n| old |\n<!-- end -->\nrest\n")
    assert docs.main(["--check"]) == 1
    assert "docs/page.md is stale" in capsys.readouterr().out
    assert docs.main([]) == 0
    assert page.read_text() == "# Page\n<!-- table: one -->\n| new |\n<!-- end -->\nrest\n"
    assert docs.main(["--check"]) == 0
