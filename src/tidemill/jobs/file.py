"""Job files: the YAML form of a job, to and from the one `JobSpec`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import yaml
from pydantic import BaseModel, Field, SecretStr, ValidationInfo, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.calls.limits import Budget
from tidemill.config.functions import to_import_path
from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.config.suggest import list_names
from tidemill.config.templates import Template
from tidemill.data.nodes import Filter, FlatMap, Map, Node, Select, Take, WithColumns
from tidemill.data.source import FromIterable, Read
from tidemill.errors import ConfigError
from tidemill.jobs.spec import JobSpec, MaxErrors, RunOptions, Sink
from tidemill.models.generate import Generate
from tidemill.models.model import Model

NODES: tuple[type[Node], ...] = (Map, WithColumns, Filter, FlatMap, Select, Take, Generate)
"""Every step a job file can name."""


class _Step(Config):
    @model_validator(mode="after")
    def _check_one(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise PydanticCustomError(
                "one_step",
                "expected one step, got {got}",
                {
                    "got": list_names(given) if given else "none",
                    "hint": "start each step with a dash of its own" if given else f"one of {list_names(_KINDS)}",
                },
            )
        return self

    @property
    def node(self) -> Node:
        """The step it is."""
        given = (getattr(self, name) for name in type(self).model_fields)
        return cast(Node, next(value for value in given if value is not None))


_KINDS = [node.kind for node in NODES]
_Fields: dict[str, Any] = {node.kind: (node | None, None) for node in NODES}
Step: type[_Step] = create_model("Step", __base__=_Step, **_Fields)


class JobFile(Config):
    """A job file as it is written. `models` stands first: the steps name them."""

    models: dict[str, Model] = Field(default_factory=dict)
    source: Read
    steps: list[Step]
    sink: Sink
    budget: Budget | None = None
    max_errors: MaxErrors = 0.05
    run: RunOptions = RunOptions()

    @field_validator("models", mode="after")
    @classmethod
    def _offer_models(cls, value: dict[str, Model], info: ValidationInfo) -> dict[str, Model]:
        if info.context is not None:
            info.context["models"] = value
        return value


def load_job_file(path: str | Path, overrides: Sequence[str] = ()) -> JobSpec:
    """The job in a YAML file; its folder is importable and what relative paths start from.

    Args:
        path: the file.
        overrides: `key.path=value`, put in over what the file says.

    Raises:
        ConfigError: anything wrong in it, all at once, each with its place.
    """
    path = Path(path)
    folder = path.parent
    written = load_config(JobFile, path, overrides=overrides, context={"folder": folder, "models": {}})
    return JobSpec(
        source=written.source,
        steps=tuple(step.node for step in written.steps),
        sink=written.sink,
        budget=written.budget,
        max_errors=written.max_errors,
        run=written.run,
        folder=folder,
        file=path.absolute(),
    )


def dump_job(job: JobSpec) -> str:
    """The job as the text of a job file; API keys are left out, a file names none.

    Raises:
        ConfigError: something in it has no name a file could hold: an iterable source, a lambda.
    """
    if isinstance(job.source, FromIterable):
        raise ConfigError(
            "a job file reads files, and this stream starts from an iterable",
            hint='write it to a file first: stream.save("records.jsonl.gz")',
        )
    dumper = _Dumper()
    text = {
        "source": dumper.dump(job.source),
        "steps": [{node.kind: dumper.dump_step(node)} for node in job.steps],
        "budget": dumper.dump(job.budget),
        "max_errors": job.max_errors if job.max_errors != JobSpec.model_fields["max_errors"].default else None,
        "sink": dumper.dump(job.sink),
        "run": dumper.dump(job.run),
    }
    named = {"models": {name: dumper.dump_fields(model) for name, model in dumper.models.items()}}
    whole = {key: value for key, value in {**named, **text}.items() if value}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True)


class _Dumper:
    """Values as YAML can hold them: fields at their default left out, models under names of their own."""

    def __init__(self) -> None:
        self.models: dict[str, Model] = {}

    def dump(self, value: Any) -> Any:
        if isinstance(value, Model):
            return self._name_model(value)
        if isinstance(value, Template):
            return {"file": value.file} if value.file else value.text
        if isinstance(value, BaseModel):
            return self.dump_fields(value)
        if isinstance(value, dict):
            return {key: self.dump(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.dump(item) for item in value]
        return to_import_path(value) if callable(value) else value

    def dump_step(self, node: Node) -> Any:
        """A step, in its short form where it has one: a function alone, columns alone."""
        fields = self.dump_fields(node)
        short = {"fn", "columns", "count"}.intersection(fields)
        return fields[short.pop()] if short and len(fields) == 1 else fields

    def dump_fields(self, value: BaseModel) -> dict[str, Any]:
        dumped = {}
        for name, field in type(value).model_fields.items():
            held = getattr(value, name)
            if held != field.get_default(call_default_factory=True) and not isinstance(held, SecretStr):
                dumped[field.alias or name] = self.dump(held)
        return dumped

    def _name_model(self, model: Model) -> str:
        """`provider/name` where that says it all, else a name under `models:`."""
        if model.model_fields_set <= {"model"}:
            return model.model
        stem = name = model.name.rpartition("/")[2].removesuffix(".gguf")
        number = 1
        while name in self.models and self.models[name] != model:
            number += 1
            name = f"{stem}-{number}"
        self.models[name] = model
        return name
