"""Settings of the service."""

from service.settings.environment import faults_of, variables_of
from service.settings.fields import Settings, warn_of_variables
from service.settings.values import split_hashes, split_names

__all__ = [
    "Settings",
    "faults_of",
    "split_hashes",
    "split_names",
    "variables_of",
    "warn_of_variables",
]
