"""A job as the text of a job file."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import Any

import yaml
from pydantic import BaseModel, SecretStr

from tidemill.agents.agent import Agent
from tidemill.agents.calling.approver import write_approver
from tidemill.agents.toolbox import write_tools
from tidemill.config.secrets import is_secret_key, mask_value
from tidemill.config.types.functions import to_import_path
from tidemill.config.types.templates import Template
from tidemill.data.entering.resource import make_openers
from tidemill.data.files import show_path
from tidemill.data.files.storage import leave_out_secrets
from tidemill.data.flow import show_source
from tidemill.data.joined.joined import Joined
from tidemill.data.nodes.keeping import Other
from tidemill.data.nodes.node import Node
from tidemill.data.sources.fitting import is_arrow_schema
from tidemill.data.sources.iterable import FromIterable
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.data.sources.sql import SQL
from tidemill.data.sources.table import FILE_SOURCES
from tidemill.data.sql.connection import show_address
from tidemill.data.steps.providing import find_openers
from tidemill.data.texts.tokenizing import TokenizerFile
from tidemill.errors import ConfigError
from tidemill.jobs.ledger.replay import Replay
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.model import Model
from tidemill.models.structured.outputs import ReplyType, to_written
from tidemill.protocols import Source
from tidemill.stores.steps.provided import find_store
from tidemill.stores.store import Store
from tidemill.stores.table import name_store


def dump_job(job: JobSpec) -> str:
    """The job as the text of a job file in its folder; credentials are left out, a file names none.

    Raises:
        ConfigError: something in it has no name a file could hold: an iterable source, a lambda.
    """
    if not isinstance(job.source, FILE_SOURCES):
        raise ConfigError(
            f"a job file reads files, an output, a database or a dataset of the hub, and this stream starts from "
            f"{_name_source(job.source)}",
            hint='write it to a file first: stream.save("records.jsonl.gz")',
        )
    dumper = _Dumper(job.folder)
    resources = dumper.dump_resources(job)
    text = {
        "source": dumper.dump(job.source),
        "steps": [{node.kind: dumper.dump_step(node)} for node in job.steps],
        "budget": dumper.dump(job.budget),
        "max_errors": job.max_errors if job.max_errors != JobSpec.model_fields["max_errors"].default else None,
        "sink": dumper.dump(job.sink),
        "run": dumper.dump(job.run) or None,
    }
    models = {name: {"model": model.model, **dumper.dump_fields(model)} for name, model in dumper.models.items()}
    named = {"models": models or None, "stores": dumper.stores or None, "resources": resources or None}
    whole = {key: value for key, value in {**named, **text}.items() if value is not None}
    return yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=120)


def _name_source(source: Source) -> str:
    if isinstance(source, FromIterable):
        return "an iterable"
    if isinstance(source, Replay):
        return "a quarantine"
    return f"streams joined by `{source.kind}`" if isinstance(source, Joined) else show_source(source)


class _Dumper:
    """Values as YAML can hold them: fields at their default left out, models and stores under names of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.models: dict[str, Model] = {}
        self.stores: dict[str, Any] = {}

    def dump(self, value: Any) -> Any:
        if isinstance(value, Model):
            return self._name_model(value)
        if isinstance(value, Store):
            return self._name_store(value)
        if isinstance(value, PurePath):
            return str(value)
        if isinstance(value, Template):
            return {"file": os.path.relpath(value.file, self.folder)} if value.file else value.text
        if isinstance(value, ReplyType):
            return to_written(value, self.folder)
        if isinstance(value, TokenizerFile):
            return os.path.relpath(value.path, self.folder)
        if isinstance(value, Other):
            raise ConfigError(
                "a job file joins with files or an output, and this stream is joined with one with steps, or neither",
                hint='write that one to a file first: stream.save("records.jsonl.gz")',
            )
        if isinstance(value, Agent):
            return self._dump_agent(value)
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
        if node.alone is None or fields.keys() != {node.alone}:
            return fields
        return fields[node.alone] if node.is_short(fields[node.alone]) else fields

    def dump_resources(self, job: JobSpec) -> dict[str, Any]:
        """The resources by name, without credentials; stores that functions are given stand among the stores.

        Raises:
            ConfigError: steps take two of one name.
        """
        dumped: dict[str, Any] = {}
        for opener in [*make_openers(job.resources).values(), *find_openers(job.steps)]:
            if (store := find_store(opener)) is not None:
                self._keep(opener.name, self.stores, self._write_store(store))
                continue
            arguments = {
                name: each for name, each in opener.arguments.items() if mask_value({name: each}) == {name: each}
            }
            resource = {"use": to_import_path(opener.use), **self.dump(arguments)}
            self._keep(opener.name, dumped, resource)
        return dumped

    def _keep(self, name: str, dumped: dict[str, Any], resource: Any) -> None:
        if dumped.setdefault(name, resource) != resource:
            message = f"steps take two resources named `{name}`, and a job file gives all steps the same"
            raise ConfigError(message, hint="give the parameter another name in one of the functions")

    def _write_store(self, store: Store) -> dict[str, Any]:
        return {"type": name_store(store), **self.dump_fields(store)}

    def dump_fields(self, value: BaseModel) -> dict[str, Any]:
        dumped = {}
        for name, field in type(value).model_fields.items():
            held = getattr(value, name)
            if held != field.get_default(call_default_factory=True) and not isinstance(held, SecretStr):
                held = leave_out_secrets(held) if name in ("storage_options", "arguments") else held
                if isinstance(value, SQL) and name == "connect" and isinstance(held, str):
                    held = show_address(held)
                if isinstance(value, (Read, RowFiles)) and name in ("path", "dataset"):
                    held = show_path(held) if isinstance(held, str) else tuple(map(show_path, held))
                dumped[field.alias or name] = self.dump(held)
        return dumped

    def _dump_agent(self, agent: Agent) -> dict[str, Any]:
        """An agent, its tools as a file names them."""
        own = {"tools": (), "approve": None}
        dumped = self.dump_fields(agent.model_copy(update=own))
        if agent.tools:
            dumped["tools"] = write_tools(agent.tools)
        if agent.approve is not None:
            dumped["approve"] = write_approver(agent.approve)
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

    def _name_store(self, store: Store) -> str:
        """A name under `stores:`."""
        written = self._write_store(store)
        known = next((name for name, each in self.stores.items() if each == written), None)
        if known is not None:
            return known
        number, name = 1, "store"
        while name in self.stores and self.stores[name] != written:
            number += 1
            name = f"store-{number}"
        self.stores[name] = written
        return name
