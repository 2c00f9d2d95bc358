"""The error trees are what their docstrings draw, and every error can be told to a person."""

import inspect
import re
from types import ModuleType

import pytest

from models import errors as model_errors
from models.errors import FacemaskError
from training import errors as training_errors


def drawn(module: ModuleType) -> dict[str, str | None]:
    """Class name to parent's name, as the docstring's tree has them."""
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
    return {
        name: item.__bases__[0].__name__ if item is not FacemaskError else None
        for name, item in vars(module).items()
        if inspect.isclass(item) and issubclass(item, FacemaskError)
    }


@pytest.mark.parametrize("module", [model_errors, training_errors], ids=["models", "training"])
def test_the_tree_that_is_drawn_is_the_tree_that_is(module: ModuleType) -> None:
    assert drawn(module) == defined(module)
    assert len(defined(module)) > 8


def test_every_contract_error_has_a_code_of_its_own() -> None:
    codes = [getattr(model_errors, name).code for name in defined(model_errors)]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


def test_exit_statuses_are_as_drawn() -> None:
    text = training_errors.__doc__ or ""
    for name, status in re.findall(r"(\w+Error) +exit (\d)", text):
        assert getattr(training_errors, name).exit_status == int(status)
    assert len(re.findall(r"exit \d", text)) == 5


@pytest.mark.parametrize("module", [model_errors, training_errors], ids=["models", "training"])
def test_every_error_is_explained(module: ModuleType) -> None:
    assert all((getattr(module, name).__doc__ or "").endswith(".") for name in defined(module))
