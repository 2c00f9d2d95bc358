"""The snippets of docs/notebook.md, run as printed, inside an event loop as a notebook has."""

import asyncio
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

import service
import training
from models.errors import NoBundle, PictureError
from tests import ROOT
from tests.images import DrawData
from training import job
from training.config import FitConfig
from training.errors import NoSuchData, UnknownBackbone

SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "docs/notebook.md").read_text(), re.S)


@pytest.fixture
def small_run(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, FitConfig]]:
    """Train with few folds and copies; return what the job is asked for."""
    real, asked = job.fit, []

    def fit(options: job.FitOptions, config: FitConfig, **given: Any) -> job.Fitted:
        asked.append((options, config))
        small = dataclasses.replace(
            config, penalties=(0.03, 0.3), folds=3, inner_folds=2, draws=500, precision="fp32",
            views=1,
        )  # fmt: skip
        return real(options, small, **given)

    monkeypatch.setattr(job, "fit", fit)
    return asked


def test_snippets_work_as_printed(
    small_run: list[tuple[Any, FitConfig]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    draw_data: DrawData,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = draw_data(tmp_path / "pictures", {"bar": 12, "disc": 12})
    (data / "bar").rename(data / "mask")
    (data / "disc").rename(data / "no_mask")
    (data / "mask" / "000.jpg").rename(data / "mask" / "a.jpg")
    (data / "no_mask" / "000.jpg").rename(data / "no_mask" / "b.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACEMASK_STORE", "store")
    names: dict[str, Any] = {}

    async def notebook() -> None:
        for snippet in SNIPPETS:
            exec(compile(snippet, "docs/notebook.md", "exec"), names)

    assert len(SNIPPETS) == 3
    asyncio.run(notebook())
    options, config = small_run[0]
    assert (options.data, config.backbone) == (Path("pictures"), "resnet50_thin_160")
    result = names["result"]
    assert result.path.is_relative_to("store")
    assert result.promotion.promoted
    captured = capsys.readouterr()
    assert repr(result) in captured.out
    assert "step 1 of 8: " in captured.err
    answers = captured.out.splitlines()[-2:]
    assert [line.split()[1] for line in answers] == ["mask", "no_mask"]


def test_local_model_answers_bytes_and_names_unreadable_pictures(
    small_run: list[tuple[Any, FitConfig]], tmp_path: Path, draw_data: DrawData
) -> None:
    data = draw_data(tmp_path / "data", {"bar": 10, "disc": 10})
    store = str(tmp_path / "store")
    result = training.fit(str(data), store=store, promote=False, progress="none")
    assert small_run[0][0].promotion == "never"
    with pytest.raises(NoBundle):
        service.load(store)
    with service.load(store, version=result.version) as model:
        assert (model.labels, model.version) == (("bar", "disc"), result.version)
        path = data / "bar" / "000.jpg"
        answer, same, broken = model.predict([path, path.read_bytes(), b"no picture"])
        assert not isinstance(answer, PictureError)
        # The last bits of a score depend on the number of threads and of pictures at once.
        for other in (same, model.predict(path)[0]):
            assert not isinstance(other, PictureError)
            assert other.decision == answer.decision
            assert other.scores == pytest.approx(answer.scores, abs=1e-6)
        assert answer.label == "bar"
        assert isinstance(broken, PictureError)
        (strict,) = model.predict(str(path), threshold=1.0)
        assert not isinstance(strict, PictureError)
        assert strict.decision in ("uncertain", "unfamiliar") or strict.score == 1.0


def test_bad_arguments_are_errors(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackbone, match="No preset 'quick': there are fast"):
        training.fit("pictures", preset="quick")  # type: ignore[arg-type]
    with pytest.raises(NoSuchData, match="does not exist"):
        training.fit(tmp_path / "absent", store=tmp_path, cache=tmp_path, progress="none")
    with pytest.raises(AttributeError):
        training.fitt  # noqa: B018
