"""What can be known of a job before anything is called or written: every problem at once, each at its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tidemill.agents.step import AskAgent
from tidemill.config.paths import KeyPath
from tidemill.config.report.rendering import raise_problems
from tidemill.config.types.functions import fingerprint_schema
from tidemill.data.nodes.node import Node
from tidemill.data.steps.providing import find_openers
from tidemill.errors import ConfigError, Problem, TidemillError
from tidemill.jobs.spec.dimensions import check_dimensions
from tidemill.jobs.spec.draft import NAMED, UNREADABLE, Draft, DraftStep
from tidemill.jobs.spec.flow import check_records
from tidemill.jobs.spec.folders import check_folders
from tidemill.jobs.spec.halves import check_halves
from tidemill.jobs.spec.job import JobSpec
from tidemill.jobs.spec.resources import check_resources
from tidemill.models.endpoints import find_headers, list_misfits
from tidemill.models.local.command import check_command
from tidemill.models.local.server import check_local_model
from tidemill.models.model import Model
from tidemill.models.options import Misfit
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.embed import Embed
from tidemill.models.steps.generate import Generate
from tidemill.models.structured.outputs import ReplyType
from tidemill.models.torch.texts.location import find_text_model
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.provided import find_store
from tidemill.stores.steps.search import Search
from tidemill.stores.store import Store


def check_job(job: JobSpec, *, call: bool = True, read: bool = True) -> None:
    """Check that `job` can run.

    Args:
        call: whether its models are to be called; a look at its requests needs neither their keys nor their weights.
        read: whether its source is to be read; a retry reads nothing of it, and it may be gone.

    Raises:
        ConfigError: it cannot; `problems` holds everything found.
    """
    raise_problems(find_problems(draft_job(job), call=call, read=read))


def draft_job(job: JobSpec) -> Draft:
    """The whole of a job, with the document it was read from."""
    steps = tuple(DraftStep(node.kind, node) for node in job.steps)
    return Draft(job.source, steps, job.sink, tuple(job.resources), job.budget, job.run, job.folder, job.document)


def find_problems(draft: Draft, *, call: bool = True, read: bool = True) -> list[Problem]:
    """Everything that would stop the job, or fail each of its records."""
    models = [_check_models, _check_stores] if call else []
    asked = (_check_formats, _check_budget, _check_outputs)
    records = [check_records] if read else []
    checks = (_check_names, check_halves, check_resources, *models, *asked, check_folders, *records, check_dimensions)
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


def _check_models(draft: Draft) -> Iterator[Problem]:
    seen: list[tuple[Model, bool]] = []
    for index, path, node in [*draft.find_outputs(), *draft.find_beside()]:
        model, embeds = node.find_model(), isinstance(node, Embed)
        if model is None or model == UNREADABLE or (model, embeds) in seen:
            continue
        seen.append((model, embeds))
        try:
            _check_model(model, draft.folder, embeds=embeds)
        except TidemillError as exc:
            yield draft.problem(draft.path(index, *path, "model"), exc.message, exc.hint)


def _check_stores(draft: Draft) -> Iterator[Problem]:
    """Packages that stores take; nothing is opened, and each store is told once."""
    seen: list[Model | Store] = [NAMED["stores"]]
    for index, step in enumerate(draft.steps):
        for path, store in _iter_stores(step.node):
            if store not in seen:
                seen.append(store)
                try:
                    store.within(draft.folder).open()
                except TidemillError as exc:
                    yield draft.problem(draft.path(index, *path), exc.message, exc.hint)


def _iter_stores(node: Node | None) -> Iterator[tuple[KeyPath, Store]]:
    """The stores that a step uses, or its functions are given, each with its key in the step."""
    if isinstance(node, (Index, Search)):
        yield ("store",), node.store
    given = map(find_store, find_openers([node] if node is not None else []))
    yield from (((), store) for store in given if store is not None)


def _check_model(model: Model, folder: Path, *, embeds: bool) -> None:
    if embeds and model.makes_vectors_here:
        find_text_model(model.model, folder)
    elif model.is_local:
        check_local_model(model.model, folder=folder)
    else:
        find_headers(model, folder)
    if model.serve is not None:
        check_command(model.serve, folder)


def _check_formats(draft: Draft) -> Iterator[Problem]:
    """What a wire format does not have, or needs: the first request of each record would fail."""
    for index, path, node in draft.find_calls():
        if not draft.steps[index].is_whole:
            continue
        for option, message, hint in _list_misfits(node):
            asked = node.asked if isinstance(node, AskAgent) else node
            fields = (option,) if getattr(asked, option) is not None else ()
            yield draft.problem(draft.path(index, *path, *fields), message, hint)


def _list_misfits(node: CallNode) -> list[Misfit]:
    """Those of its options; one that each record sets itself counts as set."""
    if isinstance(node, AskAgent):
        return list_misfits(node.asked.model, node.asked.options((), stream=False))
    if not isinstance(node, Generate):
        return []
    try:
        options = node.options()
    except ConfigError:  # an output without a schema, which is told as such
        return []
    return list_misfits(node.model, options.override(dict.fromkeys(node.parameter_columns(), 1)))


def _check_budget(draft: Draft) -> Iterator[Problem]:
    budget = draft.budget
    if budget is None or (budget.usd is None and budget.tokens is None):
        return
    kind = "usd" if budget.usd is not None else "tokens"
    calls = draft.find_calls()
    if calls and all(node.find_model() is None and draft.steps[index].is_whole for index, _, node in calls):
        hint = "what a function of a `call` step spends by itself is not seen: give its client a budget of its own"
        yield draft.problem(("budget", kind), "it bounds nothing: no step asks a model", hint)
    for index, path, node in calls:
        if not draft.steps[index].is_whole:
            continue
        if not node.has_ceiling and not any(each.option == "max_tokens" for each in _list_misfits(node)):
            yield draft.problem(
                draft.path(index, *path),
                f"budget.{kind} needs a ceiling for every call, and this step has no max_tokens",
                "set max_tokens: the most tokens a reply may have",
            )
    priced: list[Model] = [UNREADABLE]
    for index, path, node in [*calls, *draft.find_beside()] if budget.usd is not None else ():
        model = node.find_model()
        if model is None or model in priced or not draft.steps[index].is_whole or node.find_price() is not None:
            continue
        needed, fields = f"budget.usd needs the price of `{model.model}`", ("model",)
        if model.lane_price is not None:
            needed, fields = f"{needed}, and these may change the known one", ("params",)
        else:
            priced.append(model)
        hint = "set price: {input: …, output: …}, in USD per million tokens"
        yield draft.problem(draft.path(index, *path, *fields), needed, hint)


def _check_outputs(draft: Draft) -> Iterator[Problem]:
    seen: dict[str, str] = {}
    sink = draft.sink
    for index, path, node in draft.find_outputs():
        if not draft.steps[index].is_whole:
            continue
        for column in node.column_types():
            if column in seen:
                yield draft.problem(
                    draft.path(index, *path, "into"),
                    f"the column `{column}` is written by step `{seen[column]}` already",
                    "give each step an `into` of its own",
                )
            seen.setdefault(column, draft.step_names[index])
        if isinstance(node, Generate) and node.output is not None:
            in_columns = sink is not None and sink.format == "parquet" and sink.record_schema is None
            yield from _check_output(draft, node, draft.path(index, *path, "output"), in_columns=in_columns)
    if sink is not None and sink.record_schema is not None:
        in_columns = sink.format == "parquet"
        yield from _check_schema(draft, sink.record_schema, ("sink", "schema"), in_columns=in_columns)


def _check_output(draft: Draft, node: Generate, path: KeyPath, *, in_columns: bool) -> Iterator[Problem]:
    """As `_check_schema`, of what a step's replies are of."""
    if isinstance(node.output, ReplyType):
        if in_columns:
            from tidemill.jobs.landing.arrow_types import find_type

            try:
                find_type(node.output.annotation, node.into)
            except ConfigError as exc:
                yield draft.problem(path, exc.message, exc.hint)
        return
    yield from _check_schema(draft, node.output, path, in_columns=in_columns)


def _check_schema(draft: Draft, model: Any, path: KeyPath, *, in_columns: bool) -> Iterator[Problem]:
    """A model is told from others by its JSON schema; in Parquet its fields need a type as well."""
    try:
        fingerprint_schema(model)
        if in_columns:
            from tidemill.jobs.landing.arrow import arrow_schema

            arrow_schema(model)
    except ConfigError as exc:
        yield draft.problem(path, exc.message, exc.hint)
