"""What can be known of a job before anything is called or written: every problem at once, each at its place."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import islice
from typing import Any

from tidemill.config.document import Document
from tidemill.config.report import raise_problems
from tidemill.config.suggest import find_near, list_names
from tidemill.config.templates import Template
from tidemill.data.iteration import iterate
from tidemill.data.nodes import FunctionNode, Node, Select, WithColumns, step_names
from tidemill.data.source import Read
from tidemill.errors import ConfigError, DataError, Problem, TidemillError
from tidemill.jobs.columns import arrow_schema
from tidemill.jobs.spec import JobSpec
from tidemill.models.endpoints import find_headers
from tidemill.models.generate import Generate
from tidemill.models.local import check_local_model

SAMPLED = 8
"""Records read to learn the columns that templates may name."""

Path = tuple[str | int, ...]


def check_job(job: JobSpec) -> None:
    """Check that `job` can run.

    Raises:
        ConfigError: it cannot; `problems` holds everything found.
    """
    problems = find_problems(job)
    if problems:
        raise_problems(problems)


def find_problems(job: JobSpec) -> list[Problem]:
    """Everything that would stop `job`, or fail each of its records."""
    document = Document.load(job.file) if job.file is not None else None
    found = [*_check_halves(job), *_check_models(job), *_check_budget(job), *_check_outputs(job), *_check_sink(job)]
    columns, source_problems = _sample_columns(job)
    found += source_problems
    if columns is not None:
        found += _check_columns(job, columns)
    return [_place(problem, document) for problem in found]


def _place(problem: Problem, document: Document | None) -> Problem:
    if document is None or problem.place is not None:
        return problem
    return Problem(problem.message, document.place(problem.path), problem.path, problem.hint)


def _path(index: int, node: Node, *fields: str | int) -> Path:
    return ("steps", index, node.kind, *fields)


def _check_halves(job: JobSpec) -> Iterator[Problem]:
    """Steps that stand in the half where they cannot run."""
    before, _ = job.halves
    for index, node in enumerate(job.steps):
        name = step_names(job.steps)[index]
        if index >= len(before) and not node.record_wise:
            yield Problem(
                f"step `{name}` looks across records, which a job cannot do after a call",
                path=_path(index, node),
                hint="move it before the first call, or run it in a second job over this one's output",
            )
        if index < len(before) and any(inspect.iscoroutinefunction(fn) for fn in _functions(node)):
            yield Problem(
                f"step `{name}` is a coroutine function, and nothing awaits it before the first call",
                path=_path(index, node),
                hint="make it a plain function, or move it behind the first call",
            )


def _functions(node: Node) -> list[Any]:
    if isinstance(node, FunctionNode):
        return [node.fn]
    return list(node.columns.values()) if isinstance(node, WithColumns) else []


def _check_models(job: JobSpec) -> Iterator[Problem]:
    for index, node in enumerate(job.steps):
        if not isinstance(node, Generate):
            continue
        try:
            if node.model.is_local:
                check_local_model(node.model.model, folder=job.folder)
                if find_spec("xllamacpp") is None:
                    raise ConfigError(
                        f"`{node.model.model}` runs in process, which needs an extra package",
                        hint='pip install "tidemill[local]"',
                    )
            else:
                find_headers(node.model, job.folder)
        except TidemillError as exc:
            yield Problem(exc.message, path=_path(index, node, "model"), hint=exc.hint)


def _check_budget(job: JobSpec) -> Iterator[Problem]:
    budget = job.budget
    if budget is None or (budget.usd is None and budget.tokens is None):
        return
    for index, node in enumerate(job.steps):
        if not isinstance(node, Generate):
            continue
        kind = "usd" if budget.usd is not None else "tokens"
        if node.max_tokens is None and not {"max_tokens", "max_completion_tokens"} & node.options().keys():
            yield Problem(
                f"budget.{kind} needs a ceiling for every call, and this step has no max_tokens",
                path=_path(index, node),
                hint="set max_tokens: the most tokens a reply may have",
            )
        if budget.usd is not None and node.model.price is None:
            yield Problem(
                f"budget.usd needs the price of `{node.model.model}`",
                path=_path(index, node, "model"),
                hint="set price: {input: …, output: …}, in USD per million tokens",
            )


def _check_outputs(job: JobSpec) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    for index, (node, name) in enumerate(zip(job.steps, step_names(job.steps), strict=True)):
        if not isinstance(node, Generate):
            continue
        if node.into in seen:
            yield Problem(
                f"step `{name}` would overwrite the column `{node.into}` of step `{seen[node.into]}`",
                path=_path(index, node, "into"),
                hint="give each step an `into` of its own",
            )
        seen[node.into] = name
        if node.output is not None and job.sink.format == "parquet" and job.sink.record_schema is None:
            try:
                arrow_schema(node.output)
            except ConfigError as exc:
                yield Problem(exc.message, path=_path(index, node, "output"), hint=exc.hint)


def _check_sink(job: JobSpec) -> Iterator[Problem]:
    output = job.folders.output
    if output.exists() and not output.is_dir():
        yield Problem(f"expected a folder, `{output}` is a file", path=("sink", "path"))
    if job.sink.record_schema is not None and job.sink.format == "parquet":
        try:
            arrow_schema(job.sink.record_schema)
        except ConfigError as exc:
            yield Problem(exc.message, path=("sink", "schema"), hint=exc.hint)


def _sample_columns(job: JobSpec) -> tuple[list[str] | None, list[Problem]]:
    """The columns of the first records after the source half; None when they cannot be known."""
    try:
        job.source.parts()
    except (DataError, ConfigError) as exc:
        return None, [Problem(f"{exc.where}: {exc.message}" if exc.where else exc.message, None, ("source",), exc.hint)]
    before, _ = job.halves
    if not isinstance(job.source, Read):
        return None, []  # an iterable may be one that can be gone through only once
    columns: dict[str, None] = {}
    records = iterate(job.source, before)
    try:
        for record in islice(records, SAMPLED):
            if isinstance(record, dict):
                columns |= dict.fromkeys(record)
    except Exception:  # noqa: BLE001 - a record that fails here fails in the run too, and is quarantined there
        return None, []
    finally:
        records.close()
    return (list(columns) or None), []


def _check_columns(job: JobSpec, columns: list[str]) -> Iterator[Problem]:
    """Template variables and selected columns that no record has, as far as the columns can be followed."""
    before, after = job.halves
    known = list(columns)
    for index, node in enumerate(after, len(before)):
        if isinstance(node, Generate):
            for field in ("prompt", "system"):
                template = getattr(node, field)
                if template is not None:
                    yield from _check_template(template, known, _path(index, node, field), job)
            known.append(node.into)
        elif isinstance(node, WithColumns):
            known += list(node.columns)
        elif isinstance(node, Select):
            for position, name in enumerate(node.columns):
                if name not in known:
                    path = _path(index, node, position)
                    yield Problem(f"no record has a column `{name}`", path=path, hint=_suggest(name, known))
            known = list(node.columns)
        elif isinstance(node, FunctionNode) and node.kind != "filter":
            return  # what a function gives cannot be known


def _check_template(template: Template, known: list[str], path: Path, job: JobSpec) -> Iterator[Problem]:
    for name, offset in template.variables.items():
        if name in known or re.search(rf"\b{name}\s*(is\s+(not\s+)?defined|\|\s*default)", template.text):
            continue
        place = template.place(offset, len(name))
        if place is None and job.file is not None:
            place = Document.load(job.file).place(path, offset=offset, length=len(name))
        yield Problem(f"no record has a column `{name}`", place, path, _suggest(name, known))


def _suggest(name: str, known: list[str]) -> str:
    near = find_near(name, known)
    return f"did you mean `{near}`?" if near else f"columns: {list_names(known)}"
