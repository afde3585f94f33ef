"""Job files: the YAML form of a job, read into the one `JobSpec`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from tidemill.calls.limits import Budget
from tidemill.config.layers.document import Document
from tidemill.config.layers.overrides import anchor_override
from tidemill.config.loading import validate_document
from tidemill.config.model import Config
from tidemill.config.report.rendering import raise_problems
from tidemill.config.wording.suggest import find_near
from tidemill.data.entering.opener import Opener
from tidemill.data.entering.resource import Resource, make_openers
from tidemill.data.sources.table import find_source_kind
from tidemill.data.steps.providing import bind_openers
from tidemill.jobs.spec.checks import find_problems
from tidemill.jobs.spec.draft import NAMED, Draft, DraftStep
from tidemill.jobs.spec.job import JobSpec, RunOptions, Sink
from tidemill.jobs.spec.written import KINDS, JobFile, load_job_document
from tidemill.models.model import Model
from tidemill.stores.steps.provided import make_store_openers
from tidemill.stores.store import Store
from tidemill.stores.table import AnyStore

C = TypeVar("C", bound=Config)

_ANY = {"model": NAMED["models"], "store": NAMED["stores"]}
_STORE: TypeAdapter[Store] = TypeAdapter(AnyStore)


def load_job_file(path: str | Path, overrides: Sequence[str] = ()) -> JobSpec:
    """The job in a YAML file; its folder is importable and what relative paths start from.

    Args:
        path: the file.
        overrides: `key.path=value` or `@file`, put in over what the file says.

    Raises:
        ConfigError: anything wrong in it, all at once, each with its place; of what can be read, also what `check`
            would find.
    """
    path = Path(path)
    document = load_job_document(path, overrides)
    written, problems = validate_document(JobFile, document, {"folder": path.parent})
    if written is None or problems:
        raise_problems([*problems, *find_problems(_read_draft(document, path.parent))])
    assert written is not None
    job = JobSpec(
        source=written.source,
        steps=bind_openers(
            [step.node for step in written.steps],
            {**make_store_openers(written.stores, path.parent), **make_openers(written.resources)},
        ),
        sink=written.sink,
        resources=written.resources,
        budget=written.budget,
        max_errors=written.max_errors,
        run=written.run,
        folder=path.parent,
        file=path.absolute(),
        overrides=tuple(map(anchor_override, overrides)),
    )
    job._document = document
    return job


def _read_draft(document: Document, folder: Path) -> Draft:
    """What can be read of a job file that has faults."""
    written: Mapping[str, Any] = document.value if isinstance(document.value, dict) else {}
    context: dict[str, Any] = {"folder": folder, **{key: {} for key in NAMED}}
    steps = written.get("steps")
    for key, read in (("models", partial(_read, Model)), ("stores", _read_store)):
        named = written.get(key) or written.get(find_near(key, map(str, written)) or "")
        if isinstance(named, dict):
            context[key] = {name: read(value, context) or NAMED[key] for name, value in named.items()}
    resources = _read_resources(written.get("resources"), context)
    openers = {**make_store_openers(context["stores"], folder), **make_openers(resources)}
    read_steps = [_read_step(each, context) for each in steps] if isinstance(steps, list) else []
    return Draft(
        source=_read(find_source_kind(written.get("source")), written.get("source"), context),
        steps=tuple(_bind(each, openers) for each in read_steps),
        sink=_read(Sink, written.get("sink"), context),
        resources=tuple(resources),
        budget=_read(Budget, written.get("budget"), context),
        run=_read(RunOptions, written.get("run"), context) or RunOptions(),
        folder=folder,
        document=document,
    )


def _read_resources(written: Any, context: Mapping[str, Any]) -> dict[str, Resource]:
    """The resources; what stands for one that cannot be read is taken by the steps that would take it."""
    given = written if isinstance(written, dict) else {}
    return {str(name): _read(Resource, each, context) or Resource(use=nullcontext) for name, each in given.items()}


def _bind(step: DraftStep, openers: Mapping[str, Opener]) -> DraftStep:
    return step if step.node is None else replace(step, node=bind_openers([step.node], openers)[0])


def _read(kind: type[C], value: Any, context: Mapping[str, Any]) -> C | None:
    try:
        return kind.model_validate(value, context=dict(context))
    except ValidationError:
        return None


def _read_store(value: Any, context: Mapping[str, Any]) -> Store | None:
    try:
        return _STORE.validate_python(value, context=dict(context))
    except ValidationError:
        return None


def _read_step(value: Any, context: Mapping[str, Any]) -> DraftStep:
    """A step as far as it can be read: without the fields that are wrong."""
    kind = next(iter(value)) if isinstance(value, dict) and len(value) == 1 else ""
    if kind not in KINDS:
        return DraftStep(str(kind), None, is_whole=False)
    fields = value[kind]
    is_whole = True
    for _ in range(2):
        try:
            return DraftStep(kind, KINDS[kind].model_validate(fields, context=dict(context)), is_whole=is_whole)
        except ValidationError as error:
            wrong = {each["loc"][0] for each in error.errors() if each["loc"]}
            if not isinstance(fields, dict):
                break
            fields = {key: held for key, held in fields.items() if key not in wrong}
            for field, any_one in _ANY.items():
                if field in wrong and field in KINDS[kind].model_fields:
                    fields[field] = any_one  # the rest of the step says as much with any
            is_whole = wrong <= _ANY.keys()
    return DraftStep(kind, None, is_whole=False)
