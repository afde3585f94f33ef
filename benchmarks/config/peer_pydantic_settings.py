"""pydantic-settings: `BaseSettings` with a YAML file as its only source."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ByteSize, Field, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from trials import PATTERN, run_trials


class FileSettings(BaseSettings):
    model_config = SettingsConfigDict(extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    @classmethod
    def settings_customise_sources(  # type: ignore[override]  # called with the sources by name
        cls, settings_cls: type[BaseSettings], **sources: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (YamlConfigSettingsSource(settings_cls),)


class Training(FileSettings):
    learning_rate: float = Field(default=0.001, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    epochs: int = Field(default=3, ge=1)
    run_name: str = Field(default="run", pattern=PATTERN)


class Numbers(FileSettings):
    count: int = Field(default=1, ge=0)
    rate: float = 1.0
    timeout: timedelta = timedelta(seconds=1)
    memory_bytes: ByteSize = ByteSize(1)


class Keyed(FileSettings):
    api_key: SecretStr = SecretStr("")
    epochs: int = Field(default=3, ge=1)


SCHEMAS: dict[str, type[FileSettings]] = {"training": Training, "numbers": Numbers, "keyed": Keyed}


def load(schema: str, path: str) -> object:
    settings = SCHEMAS[schema]
    settings.model_config["yaml_file"] = path
    return settings()


if __name__ == "__main__":
    run_trials("pydantic-settings", load)
