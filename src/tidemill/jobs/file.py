"""Job files: the YAML form of a job, to and from the one `JobSpec`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, cast

import yaml
from pydantic import BaseModel, Field, ValidationInfo, create_model, field_validator, model_validator
from pydantic_core import PydanticCustomError

from tidemill.calls.limits import Budget
from tidemill.config.functions import to_import_path
from tidemill.config.loading import load_config
from tidemill.config.model import Config
from tidemill.config.suggest import list_names
from tidemill.config.templates import Template
from tidemill.data.nodes import Filter, FlatMap, Map, Node, Select, Take, WithColumns
from tidemill.data.source import FromIterable, Read
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
    steps: list[Step]  # type: ignore[valid-type]
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
    """The job as the text of a job file.

    Raises:
        ConfigError: something in it has no name a file could hold: an iterable source, a lambda.
    """
    if isinstance(job.source, FromIterable):
        raise_unnamed = "an iterable source cannot be written to a job file; save it first: stream.save(path)"
        raise ValueError(raise_unnamed)
    models: dict[str, Model] = {}
    steps = [{node.kind: _dump(node, models)} for node in job.steps]
    text = {
        "source": _dump(job.source, models),
        "models": {name: _dump(model, {}) for name, model in models.items()},
        "steps": steps,
        "budget": job.budget and _dump(job.budget, models),
        "max_errors": job.max_errors if job.max_errors != JobSpec.model_fields["max_errors"].default else None,
        "sink": _dump(job.sink, models),
        "run": _dump(job.run, models) or None,
    }
    return yaml.safe_dump({key: value for key, value in text.items() if value}, sort_keys=False, allow_unicode=True)


def _dump(value: Any, models: dict[str, Model]) -> Any:
    """`value` as YAML can hold it: fields at their default left out, models by a name of their own."""
    if isinstance(value, Model) and models is not None and not _is_named_by_itself(value):
        for name, model in models.items():
            if model == value:
                return name
        name = value.name.rpartition("/")[2]
        models[name] = value
        return name
    if isinstance(value, Model):
        return value.model
    if isinstance(value, Template):
        return {"file": value.file} if value.file else value.text
    if isinstance(value, BaseModel):
        return _dump_fields(value, models)
    if isinstance(value, dict):
        return {key: _dump(item, models) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_dump(item, models) for item in value]
    if callable(value):
        return to_import_path(value)
    return value


def _dump_fields(value: BaseModel, models: dict[str, Model]) -> dict[str, Any]:
    dumped = {}
    for name, field in type(value).model_fields.items():
        held = getattr(value, name)
        if held != field.get_default(call_default_factory=True):
            dumped[field.alias or name] = _dump(held, models)
    return dumped


def _is_named_by_itself(model: Model) -> bool:
    return model == Model(model=model.model) if model.is_local or model.base_url is None else False
