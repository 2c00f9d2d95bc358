"""The benchmark of the studio's data, in a short form."""

import pytest

from benchmarks.studio_data import draw, main


def test_main_prints_each_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--pictures", "80", "--bytes", "4000"]) == 0
    printed = capsys.readouterr().out
    for name in ("upload_files_per_s", "index_ms", "version_bytes", "restore_s"):
        assert name in printed


def test_draw_gives_other_pictures_of_about_the_size() -> None:
    files = [draw(number, 30_000) for number in range(5)]
    assert len(set(files)) == 5
    assert all(10_000 < len(data) < 60_000 for data in files)
