"""Provenance of a run: package versions, and the command line that repeats it."""

import importlib.metadata
import platform
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# Packages whose version can change a result.
_PACKAGES: Final = (
    "torch",
    "torchvision",
    "pillow",
    "numpy",
    "scikit-learn",
    "imagehash",
    "jinja2",
    "matplotlib",
)


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that can change a result."""
    return {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in _PACKAGES
    }


def command_line(data: Path, options: Mapping[str, object]) -> str:
    """Return the shell line that repeats a run.

    Args:
        data: The data set.
        options: Values by flag. A flag is left out if its value is None or False, bare if it is
            True, and repeated for each item of a tuple.
    """
    words = ["python", "-m", "training", "fit", str(data)]
    for flag, value in options.items():
        if value is True:
            words.append(flag)
        elif value is not None and value is not False:
            for item in value if isinstance(value, tuple) else (value,):
                words += [flag, str(item)]
    return shlex.join(words)
