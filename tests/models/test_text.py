"""Names and sentences of others: cleaned at output, normalised at input."""

import unicodedata

import pytest

from models.text import clean, normalize_name, normalize_path, percent


@pytest.mark.parametrize(
    "char",
    [
        *"\x00\x07\t\n\r\x0b\x1b\x7f\x85\x9b",  # C0, DEL, C1: NEL and CSI
        *"\u2028\u2029",  # line ends in JavaScript and str.splitlines()
        *"\u061c\u200e\u200f\u202a\u202e\u2066\u2069",  # bidi controls
        *"\ufeff\ufffb",
        *"\ud800\udce9\udfff",  # surrogates
    ],
)
def test_clean_replaces_invisible_characters(char: str) -> None:
    cleaned = clean(f"a{char}b")

    assert cleaned == "a\ufffdb"
    assert len(cleaned.splitlines()) == 1
    cleaned.encode()


@pytest.mark.parametrize(
    "text",
    [
        "mask/00 (1).jpg",
        "Bärte",
        "マスク",
        "بدون ماسک",
        "می\u200cخواهم",
        "👩\u200d🔬",
        "a\u00adb",
        "",
    ],
)
def test_clean_keeps_visible_characters(text: str) -> None:
    assert clean(text) == text


def test_clean_keeps_tabs_and_line_feeds_of_several_lines() -> None:
    assert clean("a\tb\nc\r\x1bd", lines=True) == "a\tb\nc\ufffd\ufffdd"


def test_clean_of_bytes_that_are_not_utf8() -> None:
    assert clean(b"caf\xe9.jpg".decode("utf-8", "surrogateescape")) == "caf\ufffd.jpg"


def test_normalize_name_gives_one_spelling() -> None:
    nfc, nfd = (unicodedata.normalize(form, "Bärte") for form in ("NFC", "NFD"))

    assert nfc != nfd
    assert normalize_name(nfd) == normalize_name(nfc) == nfc
    assert normalize_name(" no \u00a0 mask\t") == "no mask"


@pytest.mark.parametrize("path", ["a/b", "./a/b", "/a/b", "//a//./b/", "a/b/", "./a/b/."])
def test_normalize_path_gives_one_spelling(path: str) -> None:
    assert normalize_path(path) == "a/b"


def test_normalize_path_reads_backslashes_only_if_asked() -> None:
    assert normalize_path(".\\a\\b") == ".\\a\\b"
    assert normalize_path(".\\a\\b", backslashes=True) == "a/b"
    assert normalize_path(unicodedata.normalize("NFD", "a/ä")) == "a/ä"


@pytest.mark.parametrize("path", ["../a", "a/../b", "a/.."])
def test_normalize_path_refuses_to_lead_out(path: str) -> None:
    with pytest.raises(ValueError, match="leads out"):
        normalize_path(path)


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (1.0, "100%"),
        (0.9999, ">99.9%"),
        (0.0, "0%"),
        (1e-6, "<0.1%"),
        (0.956, "95.6%"),
        (None, "–"),
    ],
)
def test_percent_rounds_no_share_to_all_or_none(share: float | None, text: str) -> None:
    assert percent(share) == text
