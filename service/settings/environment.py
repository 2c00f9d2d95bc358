"""Environment variables of the settings: their names, their values, and sentences on bad ones."""

import os
from typing import Any, Final

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from models.environment import PREFIX, read_variable
from models.text import clean

_SECRETS: Final = {"api_keys", "trusted_keys"}


class Environment(PydanticBaseSettingsSource):
    """The environment, by the rules of `models.environment`; names are case-insensitive."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings)
        self._variables = {name.upper(): value for name, value in os.environ.items()} | os.environ

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        values = (read_variable(name, self._variables) for name in variables_of(field_name))
        return next((value for value in values if value is not None), None), field_name, False

    def __call__(self) -> dict[str, Any]:
        values = {
            name: self.get_field_value(field, name)[0]
            for name, field in self.settings_cls.model_fields.items()
        }
        return {name: value for name, value in values.items() if value is not None}


def variables_of(setting: str) -> tuple[str, ...]:
    """Return the environment variables of a setting; the first one that is set counts."""
    variable = f"{PREFIX}{setting.upper()}"
    return (variable, "PORT") if setting == "port" else (variable,)


def faults_of(error: ValidationError) -> list[str]:
    """Return a sentence for each invalid setting, without the values of secrets."""
    sentences = []
    for fault in error.errors():
        setting = str(fault["loc"][0])
        names = variables_of(setting)
        name = next((name for name in names if read_variable(name) is not None), names[0])
        value = "" if setting in _SECRETS else f"={fault['input']!r}"
        sentences.append(clean(f"{name}{value}: {fault['msg'].removeprefix('Value error, ')}"))
    return sentences
