"""Reading of environment variables; an empty variable counts as unset."""

import difflib
import logging
import os
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from models.text import clean

log = logging.getLogger("facemask")

PREFIX: Final = "FACEMASK_"
STUDIO_PREFIX: Final = "FACEMASK_STUDIO_"
"""Of the studio's own variables, which it checks itself."""


# Kubernetes sets these for each Service of the namespace, and `docker run --link` for each linked
# container, under names derived from the Service's: FACEMASK_PORT for a Service called `facemask`.
_INJECTED_VALUE: Final = re.compile(r"(tcp|udp|sctp)://\S+:\d+")
_INJECTED_NAME: Final = re.compile(
    r"\w+_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)"
    r"|FACEMASK_(\w+_)?(NAME|ENV_\w+)"  # docker --link
)
# Ignoring one of these would switch a protection off.
_NEVER_IGNORED: Final = {
    "FACEMASK_API_KEYS",
    "FACEMASK_TRUSTED_KEYS",
    "FACEMASK_ALLOWED_HOSTS",
    "FACEMASK_STUDIO_KEYS",
    "FACEMASK_STUDIO_KEYS_FILE",
}


def read_variable(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """Return the stripped value of a variable; None if it is unset.

    An empty variable, such as `NAME=` in an env file, counts as unset. So does one that a platform
    injects under the product's prefix.
    """
    value = environment.get(name, "").strip()
    return None if not value or _is_injected(name, value) else value


def unknown_variables(
    known: Collection[str], environment: Mapping[str, str] = os.environ, *, prefix: str = PREFIX
) -> dict[str, str | None]:
    """Return the variables that nothing reads, each with the most similar known name.

    Args:
        known: Names that are read.
        environment: The variables.
        prefix: Prefix of the names to look at; the studio's are looked at by its own only.
    """
    unknown = {}
    for name, value in sorted(environment.items()):
        if not name.startswith(prefix) or name in known:
            continue
        if prefix != STUDIO_PREFIX and name.startswith(STUDIO_PREFIX):
            continue
        if _INJECTED_NAME.fullmatch(name) or _INJECTED_VALUE.fullmatch(value.strip()):
            continue
        own = name.removeprefix(prefix)  # the prefix alone would make any two names similar
        names = [other.removeprefix(prefix) for other in known]
        likely = difflib.get_close_matches(own, names, n=1, cutoff=0.75)
        unknown[name] = f"{prefix}{likely[0]}" if likely else None
    return unknown


def warn_of_injected(names: Iterable[str], environment: Mapping[str, str] = os.environ) -> None:
    """Log the variables that a platform has set to the address of a Service."""
    for name in names:
        value = environment.get(name, "").strip()
        if _is_injected(name, value):
            log.warning(
                "%s=%s is ignored: it is the address that Kubernetes (or docker --link) gives a "
                "Service of that name. enableServiceLinks: false in the pod keeps it out",
                name,
                clean(value),
            )


def warn_of_unknown(known: Collection[str], environment: Mapping[str, str] = os.environ) -> None:
    """Log the FACEMASK_* variables that nothing reads."""
    for name, likely in unknown_variables(known, environment).items():
        hint = f": is {likely} meant?" if likely else ""
        log.warning("%s is set, and nothing reads it%s", clean(name), hint)


def warn_of_misspelt(known: Collection[str], environment: Mapping[str, str] = os.environ) -> None:
    """Log the FACEMASK_* variables that look like misspelt names of a command that reads few.

    Others may be meant for the service or the studio, which read far more names.
    """
    for name, likely in unknown_variables(known, environment).items():
        if likely:
            log.warning("%s is set, and nothing reads it: is %s meant?", clean(name), likely)


def _is_injected(name: str, value: str) -> bool:
    return name not in _NEVER_IGNORED and _INJECTED_VALUE.fullmatch(value) is not None
