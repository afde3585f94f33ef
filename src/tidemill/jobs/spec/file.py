"""Job files: the YAML form of a job, to and from the one `JobSpec`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast

import yaml
from pydantic import (
    BaseModel,
    Field,
    GetJsonSchemaHandler,
    SecretStr,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    create_model,
    field_validator,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.calls.limits import Budget
from tidemill.config.layers.document import Document
from tidemill.config.loading import apply_overrides, validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import raise_problems
from tidemill.config.secrets import is_secret_key
from tidemill.config.subschemas import take_one_key
from tidemill.config.suggest import find_near, list_names
from tidemill.config.types.functions import to_import_path
from tidemill.config.types.templates import Template
from tidemill.data.flow import show_source
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.table import DATA_NODES
from tidemill.data.sources.fitting import is_arrow_schema
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.joined import Joined
from tidemill.data.sources.read import Read
from tidemill.data.sources.storage import leave_out_secrets
from tidemill.data.tokenizing import TokenizerFile
from tidemill.errors import ConfigError
from tidemill.jobs.ledger.replay import Replay
from tidemill.jobs.spec.checks import find_problems
from tidemill.jobs.spec.draft import UNREADABLE, Draft, DraftStep
from tidemill.jobs.spec.job import JobSpec, MaxErrors, RunOptions, Sink
from tidemill.models.model import Model
from tidemill.models.steps.table import CALL_NODES
from tidemill.protocols import Source

NODES: tuple[type[Node], ...] = (*DATA_NODES, *CALL_NODES)
"""Every step a job file can name."""

C = TypeVar("C", bound=Config)


class _Step(Config):
    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return take_one_key(handler(schema))

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


_KINDS = {node.kind: node for node in NODES}
_Fields: dict[str, Any] = {kind: (node | None, None) for kind, node in _KINDS.items()}
Step: type[_Step] = create_model("Step", __base__=_Step, **_Fields)


class JobFile(Config):
    """A job file as it is written.

    Attributes:
        models: models by the names that steps give for them.
        source: where records come from.
        steps: what is done with each, in order; each is one key, its kind.
        sink: where they land.
        budget: the most that may be spent over the life of the run.
        max_errors: the quarantined records at which the run stops: below 1 a ratio of the records finished, else a
            count.
        run: where the run folder is, and how the run ends.
    """

    # `models` is validated first: the steps name them.
    models: dict[str, Model] = Field(default_factory=dict)
    source: Read
    steps: list[Step]
    sink: Sink
    budget: Budget | None = None
    max_errors: MaxErrors = 0.05
    run: RunOptions = RunOptions()

    @model_validator(mode="before")
    @classmethod
    def _find_mistyped_models(cls, value: Any, info: ValidationInfo) -> Any:
        """Models under a key that was to be `models`: told at that key, and not at every step that names one."""
        if isinstance(value, dict) and "models" not in value and info.context is not None:
            mistyped = value.get(find_near("models", map(str, value)))
            info.context["models"] = dict.fromkeys(mistyped, UNREADABLE) if isinstance(mistyped, dict) else {}
        return value

    @field_validator("models", mode="wrap")
    @classmethod
    def _offer_models(cls, value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> dict[str, Model]:
        """Let the steps name the models; one that cannot be read is told once, here, and not at every step."""
        context = info.context if info.context is not None else {}
        if isinstance(value, dict) and value:
            context["models"] = dict.fromkeys(value, UNREADABLE)
        models: dict[str, Model] = handler(value)
        if models:
            context["models"] = models
        return models


def load_job_file(path: str | Path, overrides: Sequence[str] = ()) -> JobSpec:
    """The job in a YAML file; its folder is importable and what relative paths start from.

    Args:
        path: the file.
        overrides: `key.path=value`, put in over what the file says.

    Raises:
        ConfigError: anything wrong in it, all at once, each with its place; of what can be read, also what `check`
            would find.
    """
    path = Path(path)
    document, problems = apply_overrides(Document.load(path), overrides)
    written, more = validate_document(JobFile, document, {"folder": path.parent})
    problems += more
    if written is None or problems:
        raise_problems([*problems, *find_problems(_read_draft(document, path.parent))])
    assert written is not None
    return JobSpec(
        source=written.source,
        steps=tuple(step.node for step in written.steps),
        sink=written.sink,
        budget=written.budget,
        max_errors=written.max_errors,
        run=written.run,
        folder=path.parent,
        file=path.absolute(),
        overrides=tuple(overrides),
    )


def _read_draft(document: Document, folder: Path) -> Draft:
    """What can be read of a job file that has faults."""
    written: Mapping[str, Any] = document.value if isinstance(document.value, dict) else {}
    context: dict[str, Any] = {"folder": folder, "models": {}}
    models = written.get("models") or written.get(find_near("models", map(str, written)) or "")
    steps = written.get("steps")
    if isinstance(models, dict):
        read = {name: _read(Model, value, context) for name, value in models.items()}
        context["models"] = {name: model or UNREADABLE for name, model in read.items()}
    return Draft(
        source=_read(Read, written.get("source"), context),
        steps=tuple(_read_step(each, context) for each in steps) if isinstance(steps, list) else (),
        sink=_read(Sink, written.get("sink"), context),
        budget=_read(Budget, written.get("budget"), context),
        run=_read(RunOptions, written.get("run"), context) or RunOptions(),
        folder=folder,
        document=document,
    )


def _read(kind: type[C], value: Any, context: Mapping[str, Any]) -> C | None:
    try:
        return kind.model_validate(value, context=dict(context))
    except ValidationError:
        return None


def _read_step(value: Any, context: Mapping[str, Any]) -> DraftStep:
    """A step as far as it can be read: without the fields that are wrong."""
    kind = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else ""
    if kind not in _KINDS:
        return DraftStep(str(kind), None, is_whole=False)
    fields = value[kind]
    is_whole = True
    for _ in range(2):
        try:
            return DraftStep(kind, _KINDS[kind].model_validate(fields, context=dict(context)), is_whole=is_whole)
        except ValidationError as error:
            wrong = {each["loc"][0] for each in error.errors() if each["loc"]}
            if not isinstance(fields, dict):
                break
            fields = {key: held for key, held in fields.items() if key not in wrong}
            if "model" in wrong and "model" in _KINDS[kind].model_fields:
                fields["model"] = UNREADABLE  # the rest of the step says as much with any model
            is_whole = wrong == {"model"}
    return DraftStep(kind, None, is_whole=False)


def dump_job(job: JobSpec) -> str:
    """The job as the text of a job file in its folder; credentials are left out, a file names none.

    Raises:
        ConfigError: something in it has no name a file could hold: an iterable source, a lambda.
    """
    if not isinstance(job.source, Read):
        raise ConfigError(
            f"a job file reads files, and this stream starts from {_name_source(job.source)}",
            hint='write it to a file first: stream.save("records.jsonl.gz")',
        )
    dumper = _Dumper(job.folder)
    text = {
        "source": dumper.dump(job.source),
        "steps": [{node.kind: dumper.dump_step(node)} for node in job.steps],
        "budget": dumper.dump(job.budget),
        "max_errors": job.max_errors if job.max_errors != JobSpec.model_fields["max_errors"].default else None,
        "sink": dumper.dump(job.sink),
        "run": dumper.dump(job.run) or None,
    }
    models = {name: {"model": model.model, **dumper.dump_fields(model)} for name, model in dumper.models.items()}
    named = {"models": models or None}
    whole = {key: value for key, value in {**named, **text}.items() if value is not None}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=120)


def _name_source(source: Source) -> str:
    if isinstance(source, FromIterable):
        return "an iterable"
    if isinstance(source, Replay):
        return "a quarantine"
    return f"streams joined by `{source.kind}`" if isinstance(source, Joined) else show_source(source)


class _Dumper:
    """Values as YAML can hold them: fields at their default left out, models under names of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: dict[str, Model] = {}

    def dump(self, value: Any) -> Any:
        if isinstance(value, Model):
            return self._name_model(value)
        if isinstance(value, Template):
            return {"file": os.path.relpath(value.file, self.folder)} if value.file else value.text
        if isinstance(value, TokenizerFile):
            return os.path.relpath(value.path, self.folder)
        if isinstance(value, BaseModel):
            return self.dump_fields(value)
        if isinstance(value, dict):
            return {key: self.dump(item) for key, item in value.items() if not is_secret_key(key)}
        if isinstance(value, (list, tuple)):
            return [self.dump(item) for item in value]
        return to_import_path(value) if callable(value) or is_arrow_schema(value) else value

    def dump_step(self, node: Node) -> Any:
        """A step, in its short form where it has one: a function alone, columns alone."""
        fields = self.dump_fields(node)
        if len(fields) == 1 and (short := {"fn", "columns", "count", "branches"}.intersection(fields)):
            alone = fields[short.pop()]
            return fields if isinstance(alone, dict) and "columns" in alone else alone
        return fields

    def dump_fields(self, value: BaseModel) -> dict[str, Any]:
        dumped = {}
        for name, field in type(value).model_fields.items():
            held = getattr(value, name)
            if held != field.get_default(call_default_factory=True) and not isinstance(held, SecretStr):
                held = leave_out_secrets(held) if name == "storage_options" else held
                dumped[field.alias or name] = self.dump(held)
        return dumped

    def _name_model(self, model: Model) -> str:
        """`provider/name` where that says it all, else a name under `models:`."""
        if self.dump_fields(model).keys() == {"model"}:
            return model.model
        stem = name = model.name.rpartition("/")[2].removesuffix(".gguf")
        number = 1
        while name in self.models and self.models[name] != model:
            number += 1
            name = f"{stem}-{number}"
        self.models[name] = model
        return name
