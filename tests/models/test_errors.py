"""Error trees: the drawing in each module's docstring, the codes, the exit statuses."""

import inspect
import re
from types import ModuleType

import pytest

from models import errors as model_errors
from models.errors import FacemaskError, PictureError
from training import errors as training_errors


def drawn(module: ModuleType) -> dict[str, str | None]:
    """Class name to parent's name, as drawn in the docstring."""
    parents: dict[str, str | None] = {}
    path: list[tuple[int, str]] = []
    for line in (module.__doc__ or "").splitlines():
        match = re.match(r"^(?P<lead>[\s│]*)(?:[├└]── )?(?P<name>[A-Z]\w+)(?:\s{2,}|$)", line)
        if not match or ("──" not in line and match["name"] != "FacemaskError"):
            continue
        depth = match.start("name")
        while path and path[-1][0] >= depth:
            path.pop()
        parents[match["name"]] = path[-1][1] if path else None
        path.append((depth, match["name"]))
    return parents


def defined(module: ModuleType) -> dict[str, str | None]:
    """Class name to parent's name, as defined."""
    return {
        name: item.__bases__[0].__name__ if item is not FacemaskError else None
        for name, item in vars(module).items()
        if inspect.isclass(item) and issubclass(item, FacemaskError)
    }


@pytest.mark.parametrize("module", [model_errors, training_errors], ids=["models", "training"])
def test_docstring_draws_the_defined_tree(module: ModuleType) -> None:
    assert drawn(module) == defined(module)
    assert len(defined(module)) > 8


def test_codes_are_unique_and_snake_case() -> None:
    codes = [getattr(model_errors, name).code for name in defined(model_errors)]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_picture_errors_are_client_errors_with_an_example() -> None:
    for kind in PictureError.__subclasses__():
        assert 400 <= kind.status < 500
        assert kind.example


def test_exit_statuses_match_the_drawing() -> None:
    text = training_errors.__doc__ or ""
    for name, status in re.findall(r"(\w+Error) +exit (\d)", text):
        assert getattr(training_errors, name).exit_status == int(status)
    assert len(re.findall(r"exit \d", text)) == 5


@pytest.mark.parametrize("module", [model_errors, training_errors], ids=["models", "training"])
def test_every_error_has_a_docstring_sentence(module: ModuleType) -> None:
    assert all(
        (getattr(module, name).__doc__ or "").split("\n")[0].endswith(".")
        for name in defined(module)
    )
