"""The records of a job as far as a sample tells: whether any comes through, and the columns that each step names."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from pydantic import AliasChoices, AliasPath, RootModel
from pydantic.fields import FieldInfo

from tidemill.config.types.references import Reference
from tidemill.config.wording.suggest import list_names, suggest
from tidemill.data.failing.policy import SOURCE
from tidemill.data.nodes.across import Every, Pick, Prefetch, Repeat, Sample, Shard, Shuffle, Skip, Take
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.nodes.keeping import Dedupe, Join, Other, Sort, find_other, iter_streams
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Chunk, Drop, Filter, Observe, Rename, Select, Split, Tokenize, WithColumns
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.data.sources.sql import SQL
from tidemill.data.sql.connection import LateQueryError
from tidemill.data.steps.functions import is_async
from tidemill.errors import ConfigError, DataError, Problem, ResourceError, StateError, TidemillError
from tidemill.jobs.live.glance import Glance
from tidemill.jobs.records.outcomes import explain_error
from tidemill.jobs.spec.columns import FEWEST, READ_S, SAMPLED, Columns
from tidemill.jobs.spec.draft import Draft
from tidemill.jobs.spec.resources import takes_more
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.embed import Vector
from tidemill.models.structured.fields import find_fields
from tidemill.protocols import Source

Outputs = dict[str, Any]
"""The columns that calls have written, with the annotation of what stands in them, None where that is not known."""

Failures = Counter[tuple[str, str]]
"""How often records fail with each message and hint."""

KEEPING = tuple(
    node.kind
    for node in (Filter, Split, Observe, Take, Skip, Every, Sample, Shard, Shuffle, Repeat, Prefetch, Dedupe, Sort)
)
"""Steps behind which a record has the columns it had."""

_CHECKED_FILES = 10_000
"""Files whose names are looked at: ten pages of an object store, some seconds."""

_GLANCE_S = 1.0
"""Seconds that a query may take until the rows are there that are looked at."""

_MAX_ERROR = 300
"""Characters of a record's error that are shown."""


def check_records(draft: Draft) -> Iterator[Problem]:
    """The source's files, and the records and columns that steps find, as far as they can be followed."""
    if draft.source is None:
        return
    try:
        deque(islice(draft.source.parts(), _CHECKED_FILES), maxlen=0)  # each file's name is looked at
    except (DataError, ConfigError, ResourceError, StateError) as exc:
        yield draft.problem(("source",), f"{exc.where}: {exc.message}" if exc.where else exc.message, exc.hint)
        return
    before = draft.steps[: draft.halves_at]
    nodes = [(index, step.node) for index, step in enumerate(before) if step.node is not None]
    streams = iter_streams(draft.source, [node for _, node in nodes])
    if any(_glance(source) is None or any(map(has_workers, steps)) for source, steps in streams):
        return
    if any(step.node is None and step.kind not in KEEPING for step in before):
        return  # it may give any columns
    glanced = [(index, _glance_beside(node)) for index, node in nodes]
    with suppress(LateQueryError):  # what such a query gives, the run tells
        yield from list(_check_sample(draft, _glance(draft.source) or draft.source, glanced))


def _glance(source: Source) -> Source | None:
    """The source as it is looked at; None of an iterable, which may be gone through only once, and where it costs."""
    if isinstance(source, SQL):
        return source.glance(_GLANCE_S)
    return source if isinstance(source, (Read, RowFiles)) else None


def _glance_beside(node: Node) -> Node:
    """The step; what it joins with as it is looked at."""
    if not isinstance(node, Join):
        return node
    source, nodes = find_other(node)
    return node.model_copy(update={"other": Other(_glance(source) or source, tuple(map(_glance_beside, nodes)))})


def _check_sample(draft: Draft, source: Source, nodes: Sequence[tuple[int, Node]]) -> Iterator[Problem]:
    glance = Glance(READ_S, fewest=FEWEST, most=SAMPLED, beside_s=READ_S)
    try:
        columns = Columns(source, [node for _, node in nodes], glance)
    except LateQueryError:
        raise
    except (DataError, ResourceError, StateError) as exc:  # a file of a dataset, or a place in it
        picking = (draft.path(index) for index, node in nodes if isinstance(node, Pick))
        yield draft.problem(next(picking, ("source",)), *_explain(exc))
        return
    except ConfigError:  # of a step that cannot stand there, which the check of halves tells
        return
    try:
        if columns.errors and not columns.passed:
            yield from _find_dead_end(draft, source, nodes, _count_again(glance, columns, [node for _, node in nodes]))
        elif columns.are_known:
            yield from _check_columns(draft, columns)
    finally:
        columns.close()


def has_workers(node: Node) -> bool:
    """Whether the step needs a loop, threads, processes, or resources, none of which a check opens."""
    return is_async(node) or node.is_parallel or takes_more(node)


def find_added(node: Node) -> Sequence[str] | None:
    """The columns that a step writes; None where it may write any."""
    if isinstance(node, CallNode):
        return list(node.column_types())
    if isinstance(node, WithColumns):
        return list(node.columns)
    if isinstance(node, Rename):
        return list(node.columns.values())
    if isinstance(node, (Tokenize, Chunk, DecodeImage)):
        return node.added
    return () if node.kind in KEEPING or isinstance(node, (Select, Drop)) else None


def _count_again(glance: Glance, columns: Columns, nodes: Sequence[Node]) -> int:
    """How many of the records that were read can be read again for each step in the time that a look may take.

    Where steps hold records, more were read than have gone through them: no more than came out are counted.
    """
    needed = (len(nodes) + 1) * glance.took_s
    if needed <= READ_S:
        return max(FEWEST, glance.asked)
    came_out = columns.passed + len(columns.errors)
    gone = glance.asked if all(node.record_wise for node in nodes) else min(glance.asked, came_out)
    return max(FEWEST, int(gone * READ_S / needed))


def _find_dead_end(draft: Draft, source: Source, nodes: Sequence[tuple[int, Node]], most: int) -> Iterator[Problem]:
    """The step of the source half at which every record that comes to it fails, if there is one.

    Args:
        most: records of the source that are gone by.
    """
    before, told = _sample(source, [], most)
    if not before.passed:
        whole = next((error for error in before.errors if isinstance(error, TidemillError) and error.of == "run"), None)
        yield draft.problem(("source",), *(_explain_all(told) if whole is None else _explain(whole)))
        return
    for place, (index, node) in enumerate(nodes, 1):
        after, all_told = _sample(source, [node for _, node in nodes[:place]], most)
        here = all_told - told
        fails = here.total() == before.passed or (here and not node.record_wise)  # a batch fails for all of its records
        if before.passed and not after.passed and fails:
            missing = list(_check_named(draft, node, before, index)) if isinstance(node, (Select, Drop, Rename)) else []
            yield from missing or [draft.problem(draft.path(index), *_explain_all(here))]
            return
        before, told = after, all_told


def _sample(source: Source, nodes: Sequence[Node], most: int) -> tuple[Columns, Failures]:
    """A sample of so many records behind these steps, and what it fails with up to there."""
    columns = Columns(source, nodes, Glance(math.inf, most=most, beside_s=READ_S))
    try:
        columns.read_all()
    finally:
        columns.close()
    return columns, Counter(map(_explain, columns.errors))


def _explain(error: BaseException) -> tuple[str, str]:
    if isinstance(error, TidemillError):
        of_step = error.step not in ("", SOURCE)  # the step is told beside it, and each record stands elsewhere
        text = error.message if of_step or not error.where else f"{error.where}: {error.message}"
        return text[:_MAX_ERROR], error.hint
    return f"{type(error).__name__}: {explain_error(error)}"[:_MAX_ERROR], ""


def _explain_all(failures: Failures) -> tuple[str, str]:
    """What most of them say, as message and hint."""
    text, hint = failures.most_common(1)[0][0]
    count = failures.total()
    records = "the one record read fails" if count == 1 else f"all {count:,} records read fail"
    return f"{records} here{', most of them' if len(failures) > 1 else ''}: {text}", hint


def _check_columns(draft: Draft, columns: Columns) -> Iterator[Problem]:
    outputs: Outputs = {}
    for index, step in enumerate(draft.steps[draft.halves_at :], draft.halves_at):
        node = step.node
        if isinstance(node, CallNode):
            yield from _check_templates(draft, node, columns, outputs, index)
            for path, name in node.iter_columns():
                if name not in columns:
                    message = f"no record has a column `{name}`"
                    yield draft.problem(draft.path(index, *path), message, columns.suggest(name))
            outputs |= node.column_types()
            columns.add(list(node.column_types()))
        elif isinstance(node, WithColumns):
            columns.add(list(node.columns))
            outputs = {name: model for name, model in outputs.items() if name not in node.columns}
        elif isinstance(node, (Tokenize, Chunk, DecodeImage)):
            if node.column not in columns:
                message = f"no record has a column `{node.column}`"
                yield draft.problem(draft.path(index, "column"), message, columns.suggest(node.column))
            columns.drop([node.column] if isinstance(node, Chunk) else [])
            columns.add(node.added)
            outputs = {name: model for name, model in outputs.items() if name not in node.added and name in columns}
        elif isinstance(node, Select):
            yield from _check_named(draft, node, columns, index)
            columns.keep(node.columns)
        elif isinstance(node, (Drop, Rename)):
            yield from _check_named(draft, node, columns, index)
            columns.drop(node.columns)
            columns.add(list(node.columns.values()) if isinstance(node, Rename) else [])
            outputs = {name: model for name, model in outputs.items() if name in columns}
        elif step.kind not in KEEPING:
            return  # what a function gives cannot be known
        if not step.is_whole and step.kind not in KEEPING:
            return  # nor what a step gives that cannot be read whole
    yield from _check_schema(draft, columns)


def _check_named(draft: Draft, node: Select | Drop | Rename, columns: Columns, index: int) -> Iterator[Problem]:
    """The columns that the step names and no record has."""
    for position, name in enumerate(node.columns):
        if name not in columns:
            path = draft.path(index, "columns", name if isinstance(node, Rename) else position)
            yield draft.problem(path, f"no record has a column `{name}`", columns.suggest(name))


def _check_templates(draft: Draft, node: CallNode, columns: Columns, outputs: Outputs, index: int) -> Iterator[Problem]:
    for path, template in node.iter_templates():
        for need in template.needs:
            wrong = _check_need(need, columns, outputs)
            if wrong is not None:
                where: dict[str, Any] = {"place": template.place(need.offset, need.length)}
                if where["place"] is None:
                    where = {"offset": need.offset, "length": need.length}
                yield draft.problem(draft.path(index, *path), *wrong, **where)


def _check_need(need: Reference, columns: Columns, outputs: Outputs) -> tuple[str, str] | None:
    """What is wrong with what a template asks for, as message and hint."""
    if need.field is None:
        if need.column in columns:
            return None
        return f"no record has a column `{need.column}`", columns.suggest(need.column)
    annotation = outputs.get(need.column)
    fields = None if annotation is None or annotation is str or annotation is Vector else find_fields(annotation)
    if fields is None or need.field in fields or (need.is_called and hasattr(dict, need.field)):
        return None
    return f"`{need.column}` has no field `{need.field}`", suggest(need.field, fields)


def _check_schema(draft: Draft, columns: Columns) -> Iterator[Problem]:
    """Columns that every record has and `sink.schema` lacks, and those it requires and no record has."""
    schema = draft.sink.record_schema if draft.sink is not None else None
    if schema is None or issubclass(schema, RootModel):
        return
    path = ("sink", "schema")
    named = {name: _names_of(name, field) for name, field in schema.model_fields.items()}
    known = set().union(*named.values())
    if extra := [name for name in columns.list_common() if name not in known]:
        message = f"every record has {list_names(extra, ' and ')}, which `{schema.__name__}` lacks"
        yield draft.problem(path, message, "add what is lacking to the schema, or leave it out with a `select`")
    for name, field in schema.model_fields.items():
        if field.is_required() and not any(each in columns for each in named[name]):
            message = f"no record has a column `{name}`, which `{schema.__name__}` requires"
            yield draft.problem(path, message, columns.suggest(name))


def _names_of(name: str, field: FieldInfo) -> set[str]:
    """The columns that may hold a field."""
    choices = field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else ()
    paths = [each.path[0] if isinstance(each, AliasPath) else each for each in (field.validation_alias, *choices)]
    return {each for each in (name, field.alias, field.serialization_alias, *paths) if isinstance(each, str)}
