"""What can be known of a job before anything is called or written: every problem at once, each at its place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from tidemill.config.document import Document, KeyPath
from tidemill.config.loading import apply_overrides
from tidemill.config.report import raise_problems
from tidemill.config.suggest import suggest
from tidemill.config.templates import Template
from tidemill.data.nodes import Filter, Select, Take, WithColumns
from tidemill.data.source import Read
from tidemill.data.steps import is_async
from tidemill.errors import ConfigError, DataError, Problem, TidemillError
from tidemill.jobs.landing.arrow import arrow_schema
from tidemill.jobs.ledger.folder import RUN_FOLDER
from tidemill.jobs.spec.columns import Columns
from tidemill.jobs.spec.draft import UNREADABLE, Draft, DraftStep
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.endpoints import find_headers
from tidemill.models.generate import Generate
from tidemill.models.local import check_local_model
from tidemill.models.model import Model

_KEEPING = (Filter.kind, Take.kind)
"""Steps behind which a record has the columns it had."""


def check_job(job: JobSpec) -> None:
    """Check that `job` can run.

    Raises:
        ConfigError: it cannot; `problems` holds everything found.
    """
    document = None
    if job.file is not None:
        document, _ = apply_overrides(Document.load(job.file), job.overrides)
    steps = tuple(DraftStep(node.kind, node) for node in job.steps)
    raise_problems(find_problems(Draft(job.source, steps, job.sink, job.budget, job.run, job.folder, document)))


def find_problems(draft: Draft) -> list[Problem]:
    """Everything that would stop the job, or fail each of its records."""
    checks = (_check_names, _check_halves, _check_models, _check_budget, _check_outputs, _check_sink, _check_records)
    return [problem for check in checks for problem in check(draft)]


def _check_names(draft: Draft) -> Iterator[Problem]:
    """Names are what calls, counts and failures are kept by."""
    seen = {"source", "sink"}
    for index, (step, name) in enumerate(zip(draft.steps, draft.step_names, strict=True)):
        if step.node is not None and name in seen:
            yield draft.problem(
                draft.path(index, "name"), f"two steps are named `{name}`", "give each a `name` of its own"
            )
        seen.add(name)


def _check_halves(draft: Draft) -> Iterator[Problem]:
    """Steps that stand in the half where they cannot run."""
    for index, step in enumerate(draft.steps):
        node = step.node
        if node is None:
            continue
        if index >= draft.halves_at and not node.record_wise:
            yield draft.problem(
                draft.path(index),
                f"`{node.kind}` looks across records, which a job cannot do after a call",
                "move it before the first call, or run it in a second job over this one's output",
            )
        if index < draft.halves_at and is_async(node):
            yield draft.problem(
                draft.path(index),
                "the function is a coroutine function, and nothing awaits it before the first call",
                "make it a plain function, or move the step behind the first call",
            )


def _check_models(draft: Draft) -> Iterator[Problem]:
    seen = [UNREADABLE]
    for index, node in draft.find_generates():
        if node.model in seen:
            continue
        seen.append(node.model)
        try:
            _check_model(node.model, draft.folder)
        except TidemillError as exc:
            yield draft.problem(draft.path(index, "model"), exc.message, exc.hint)


def _check_model(model: Model, folder: Path) -> None:
    if not model.is_local:
        find_headers(model, folder)
        return
    check_local_model(model.model, folder=folder)


def _check_budget(draft: Draft) -> Iterator[Problem]:
    budget = draft.budget
    if budget is None or (budget.usd is None and budget.tokens is None):
        return
    kind = "usd" if budget.usd is not None else "tokens"
    priced: list[Model] = []
    for index, node in draft.find_generates():
        if not draft.steps[index].is_whole or node.model == UNREADABLE:
            continue
        if not {"max_tokens", "max_completion_tokens"} & node.options().keys():
            yield draft.problem(
                draft.path(index),
                f"budget.{kind} needs a ceiling for every call, and this step has no max_tokens",
                "set max_tokens: the most tokens a reply may have",
            )
        if budget.usd is not None and node.model.price is None and node.model not in priced:
            priced.append(node.model)
            yield draft.problem(
                draft.path(index, "model"),
                f"budget.usd needs the price of `{node.model.model}`",
                "set price: {input: …, output: …}, in USD per million tokens",
            )


def _check_outputs(draft: Draft) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    sink = draft.sink
    for index, node in draft.find_generates():
        if not draft.steps[index].is_whole:
            continue
        if node.into in seen:
            yield draft.problem(
                draft.path(index, "into"),
                f"the column `{node.into}` is written by step `{seen[node.into]}` already",
                "give each step an `into` of its own",
            )
        seen.setdefault(node.into, draft.step_names[index])
        if node.output is not None and sink is not None and sink.format == "parquet" and sink.record_schema is None:
            yield from _check_arrow(draft, node.output, draft.path(index, "output"))


def _check_arrow(draft: Draft, model: Any, path: KeyPath) -> Iterator[Problem]:
    try:
        arrow_schema(model)
    except ConfigError as exc:
        yield draft.problem(path, exc.message, exc.hint)


def _check_sink(draft: Draft) -> Iterator[Problem]:
    sink = draft.sink
    if sink is None:
        return
    output = draft.folder / sink.path
    run = draft.folder / draft.run.dir if draft.run.dir else output / RUN_FOLDER
    for folder, path in ((output, ("sink", "path")), (run, ("run", "dir"))):
        if folder.exists() and not folder.is_dir():
            yield draft.problem(path, f"expected a folder, `{folder}` is a file")
    if isinstance(draft.source, Read) and draft.source.would_read(output / f"part-00001.{sink.format}"):
        yield draft.problem(
            ("sink", "path"),
            f"the source would read what the sink writes into `{output}`",
            "write to a folder that the source's pattern does not match",
        )
    if sink.record_schema is not None and sink.format == "parquet":
        yield from _check_arrow(draft, sink.record_schema, ("sink", "schema"))


def _check_records(draft: Draft) -> Iterator[Problem]:
    """The source's files, and the columns that the record half names, as far as they can be followed."""
    if draft.source is None:
        return
    try:
        draft.source.parts()
    except (DataError, ConfigError) as exc:
        yield draft.problem(("source",), f"{exc.where}: {exc.message}" if exc.where else exc.message, exc.hint)
        return
    before = draft.steps[: draft.halves_at]
    nodes = [step.node for step in before if step.node is not None]
    # An iterable may be one that can be gone through only once; a step that cannot be read may give any columns.
    if not isinstance(draft.source, Read) or any(map(is_async, nodes)):
        return
    if any(step.node is None and step.kind not in _KEEPING for step in before):
        return
    columns = Columns(draft.source, nodes)
    try:
        if columns.are_known:
            yield from _check_columns(draft, columns)
    finally:
        columns.close()


def _check_columns(draft: Draft, columns: Columns) -> Iterator[Problem]:
    outputs: dict[str, type[BaseModel] | None] = {}
    for index, step in enumerate(draft.steps[draft.halves_at :], draft.halves_at):
        node = step.node
        if isinstance(node, Generate):
            for field in ("prompt", "system"):
                template = getattr(node, field)
                if template is not None:
                    yield from _check_template(draft, template, columns, draft.path(index, field))
                    yield from _check_attributes(draft, template, outputs, draft.path(index, field))
            columns.add([node.into])
            outputs[node.into] = node.output
        elif isinstance(node, WithColumns):
            columns.add(list(node.columns))
        elif isinstance(node, Select):
            for position, name in enumerate(node.columns):
                if name not in columns:
                    path = draft.path(index, "columns", position)
                    yield draft.problem(path, f"no record has a column `{name}`", columns.suggest(name))
            columns.keep(node.columns)
        elif step.kind not in _KEEPING:
            return  # what a function gives cannot be known
        if not step.is_whole and step.kind not in _KEEPING:
            return  # nor what a step gives that cannot be read whole


def _check_template(draft: Draft, template: Template, columns: Columns, path: KeyPath) -> Iterator[Problem]:
    for name, offset in template.variables.items():
        guarded = rf"\b{name}\s*(is\s+(not\s+)?defined|\|\s*default)"
        if name not in columns and not re.search(guarded, template.text):
            where: dict[str, Any] = {"place": template.place(offset, len(name))}
            if where["place"] is None:
                where = {"offset": offset, "length": len(name)}
            yield draft.problem(path, f"no record has a column `{name}`", columns.suggest(name), **where)


def _check_attributes(
    draft: Draft, template: Template, outputs: Mapping[str, type[BaseModel] | None], path: KeyPath
) -> Iterator[Problem]:
    """Fields of an earlier step's output that its model does not have: `{{ label.topik }}`."""
    for expression in re.finditer(r"\{\{.*?\}\}|\{%.*?%\}", template.text, re.DOTALL):
        for found in re.finditer(r"(?<![\w.])(\w+)\.(\w+)(?!\s*\()", expression.group()):
            model = outputs.get(found[1])
            if model is None or found[2] in model.model_fields or model.model_config.get("extra") == "allow":
                continue
            offset = expression.start() + found.start(2)
            where: dict[str, Any] = {"place": template.place(offset, len(found[2]))}
            if where["place"] is None:
                where = {"offset": offset, "length": len(found[2])}
            message = f"`{found[1]}` has no field `{found[2]}`"
            yield draft.problem(path, message, suggest(found[2], model.model_fields), **where)
