"""Versions of the model in headers, for callers of several replicas.

While a new model goes live, one replica may serve it a second before another. A caller that names
the newest version that it has seen gets no answer of an older one.
"""

import re

from fastapi import Request

from models.bundle.manifest import VERSION_PATTERN
from service.http.openapi.parameters import MIN_VERSION_HEADER, VERSION_HEADER
from service.inference.engine import Engine
from service.problems import BadQuery, ModelBehind


def version_header(engine: Engine) -> dict[str, str]:
    """Return the header of an answer that an engine gave."""
    return {VERSION_HEADER: engine.manifest.version}


def require_min_version(request: Request, engine: Engine) -> None:
    """Raise if the caller has asked for a newer model than the engine's.

    Raises:
        BadQuery: The header names no version.
        ModelBehind: The engine serves an older version.
    """
    version = request.headers.get(MIN_VERSION_HEADER)
    if version is None:
        return
    if not re.fullmatch(VERSION_PATTERN, version):
        raise BadQuery(f"{MIN_VERSION_HEADER} must be the {VERSION_HEADER} of an earlier answer.")
    if engine.manifest.version < version:  # versions begin with the time of their publication
        raise ModelBehind
