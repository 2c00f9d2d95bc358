"""The recorded command line leaves out what was not asked for, and survives the shell."""

import shlex
from pathlib import Path

from training.publish.provenance import command_line, package_versions


def test_command_line_formats_flags_by_value() -> None:
    options = {"--strict": True, "--robustness": False, "--weights": None, "--seed": 0}
    assert command_line(Path("data"), options) == "python -m training fit data --strict --seed 0"


def test_command_line_repeats_a_flag_and_quotes_its_values() -> None:
    text = command_line(Path("my data"), {"--test": ("a", "b=it's")})
    assert shlex.split(text)[4:] == ["my data", "--test", "a", "--test", "b=it's"]


def test_package_versions_include_python_and_torch() -> None:
    assert {"python", "torch", "scikit-learn"} <= set(package_versions())
