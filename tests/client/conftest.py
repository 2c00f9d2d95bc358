"""Without the service installed, only the tests against a stub are collected."""

import importlib.util

collect_ignore = (
    [] if importlib.util.find_spec("fastapi") else ["test_against_service.py", "test_faces.py"]
)
