"""What a step does to one record: the function behind each node that has one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import GeneratorType
from typing import Any

from tidemill.data.chunking.sizes import Sizes
from tidemill.data.entering.beside import BesideFunction
from tidemill.data.entering.entered import Entered, EnteredInLoop, check_plain, needs_entering
from tidemill.data.entering.injection import Injected, inject, unwrap
from tidemill.data.gathered.batches import iter_batch
from tidemill.data.nodes.hooks import hook_function
from tidemill.data.nodes.images import DecodeImage
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import (
    Chunk,
    Drop,
    Filter,
    FlatMap,
    Map,
    Observe,
    Rename,
    Select,
    Split,
    Tokenize,
    Unbatch,
    WithColumns,
)
from tidemill.data.order import find_share
from tidemill.data.records.columns import missing_column, no_columns
from tidemill.data.steps.images import ImageDecoding
from tidemill.data.texts.tokenizing import Tokenization, find_eos
from tidemill.errors import ConfigError, DataError, WorkerError
from tidemill.resources.scope import Scope
from tidemill.resources.worker import WorkerThread

RecordFunction = Callable[[Any], Any]


def is_async(node: Node) -> bool:
    """Whether what the step's function gives must be awaited: it is a coroutine function, or one of its columns'."""
    return not isinstance(node, (Tokenize, Chunk)) and any(map(_is_coroutine_function, find_functions(node)))


def _is_coroutine_function(fn: Any) -> bool:
    fn = unwrap(fn)
    call = getattr(type(fn), "__call__", None)  # noqa: B004 - the method is looked at, not called
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(call)


def find_functions(node: Node) -> tuple[Any, ...]:
    """The user's functions in a step, and in those it is made of, each with the resources that it takes."""
    if node.inner:
        return tuple(fn for each in node.inner for fn in find_functions(each))
    return tuple(inject(fn, node.openers) for fn in list_functions(node))


def list_functions(node: Node) -> tuple[Any, ...]:
    """The same as they were given."""
    if node.inner:
        return tuple(fn for each in node.inner for fn in list_functions(each))
    return tuple(fn for held in _held_functions(node).values() for fn in _each_of(held))


def _held_functions(node: Node) -> dict[str, Any]:
    """The fields of a step that hold functions."""
    return {field: held for field in node.functions if (held := getattr(node, field)) is not None}


def _each_of(held: Any) -> tuple[Any, ...]:
    return tuple(held.values()) if isinstance(held, Mapping) else (held,)


def has_managers(node: Node) -> bool:
    """Whether each worker enters something for the step: a function that is a context manager, or resources."""
    return any(map(needs_entering, find_functions(node)))


def enter_step(node: Node, name: str, entered: Entered) -> Node:
    """The step with what a worker without a loop has `entered` for it.

    Raises:
        ResourceError: a function cannot be entered, or a resource cannot be opened.
    """
    if not has_managers(node):
        return node
    return _with_functions(node, iter([entered.enter(fn, name) for fn in find_functions(node)]))


def check_entering(node: Node, name: str) -> None:
    """Check that a worker without a loop can enter the step.

    Raises:
        ConfigError: a function is an async context manager only, or takes one.
    """
    for fn in find_functions(node):
        check_plain(fn, name)


async def enter_steps(
    nodes: Sequence[Node], names: Sequence[str], scope: Scope, thread: WorkerThread | None = None
) -> list[Node]:
    """The steps with what is entered for them in a loop, each object once, until `scope` ends.

    Args:
        thread: where plain functions are called beside the loop, if they are: what they alone take is entered there.

    Raises:
        ResourceError: a function cannot be entered, or a resource cannot be opened.
    """
    awaited = [fn for node in nodes if is_async(node) for fn in find_functions(node)]
    shared = [(each.fn, *each.openers) if isinstance(each, Injected) else (each,) for each in awaited]
    entered = EnteredInLoop(scope, thread, {id(each) for parts in shared for each in parts})
    own = [
        [await entered.enter(fn, name) for fn in find_functions(node)] for node, name in zip(nodes, names, strict=True)
    ]
    return [
        _with_functions(node, iter(functions)) if has_managers(node) else node
        for node, functions in zip(nodes, own, strict=True)
    ]


def _with_functions(node: Node, entered: Iterator[Any]) -> Node:
    """The step with the functions that a worker has entered, in the order of `find_functions`."""
    if node.inner:
        return node.with_inner([_with_functions(each, entered) for each in node.inner])
    placed = {
        field: {name: next(entered) for name in held} if isinstance(held, Mapping) else next(entered)
        for field, held in _held_functions(node).items()
    }
    return node.with_openers({}).model_copy(update=placed) if placed else node


def is_beside(node: Node) -> bool:
    """Whether a function of the step, as it was entered, must be called in the thread beside the loop."""
    return any(isinstance(fn, BesideFunction) for fn in list_functions(node))


def record_function(node: Node, step: str = "") -> RecordFunction:
    """The function of a `map`, `filter`, `flat_map`, `with_columns` or `select` step, of one record; hooks around it.

    What it gives is awaited where `is_async` says so. Without hooks a function is the very object the step was given.

    Args:
        step: the step's name, for errors.

    Raises:
        ConfigError: the step is not one function of one record.
    """
    return hook_function(_find_function(node, step), node.bound_hooks, awaits=is_async(node))


def _find_function(node: Node, step: str) -> RecordFunction:
    if isinstance(node, (Map, Filter, FlatMap)):
        return node.fn
    if isinstance(node, WithColumns):
        add = _await_columns if is_async(node) else _add_columns
        return functools.partial(add, tuple(node.columns.items()))
    if isinstance(node, Select):
        return functools.partial(_select_columns, node.columns)
    if isinstance(node, Rename):
        return functools.partial(_rename_columns, node.columns)
    if isinstance(node, Drop):
        return functools.partial(_drop_columns, frozenset(node.columns))
    if isinstance(node, Observe):
        return functools.partial(_observe, node.fn)
    if isinstance(node, Split):
        return functools.partial(_is_in_share, node.by, node.ratios, node.seed, node.share)
    if isinstance(node, Tokenize):
        eos = find_eos(node.tokenizer, node.append_eos)
        return Tokenization(node.tokenizer, node.column, node.into, eos=eos, max_tokens=node.max_tokens, step=step)
    if isinstance(node, Chunk):
        return _make_chunking(node, step)
    if isinstance(node, DecodeImage):
        return ImageDecoding(node, step)
    if isinstance(node, Unbatch):
        return iter_batch
    raise ConfigError(f"expected a step that is a function of one record, got `{node.kind}`")


def _make_chunking(node: Chunk, step: str) -> RecordFunction:
    from tidemill.data.chunking.chunking import Chunking  # what it cuts by takes 20 ms to load

    return Chunking(
        node.column,
        node.into,
        by=node.by,
        unit=node.unit,
        sizes=Sizes(node.limit, node.overlap, node.min_size),
        language=node.language,
        tokenizer=node.tokenizer,
        step=step,
    )


def copy_record(record: Any) -> Any:
    """What a user's function is given, so that the record stays as it came: a copy, one level deep."""
    return record.copy() if type(record) is dict else record


def iter_children(result: Any, step: str) -> Iterator[Any]:
    """The children that the function of the `flat_map` named `step` gave for one record.

    An error raised while they are made ends them.

    Raises:
        WorkerError: `result` is not an iterable of records.
    """
    if isinstance(result, (list, tuple)):
        return iter(result)
    if isinstance(result, GeneratorType):
        return result
    if isinstance(result, (dict, str, bytes)) or not isinstance(result, Iterable):
        raise WorkerError(
            f"expected an iterable of records from the function, got {_name_kind(result)}",
            where=f"step `{step}`",
            hint="return a list: [record] for one, [] to drop it",
        )
    return _each(result)


def _add_columns(columns: tuple[tuple[str, RecordFunction], ...], record: Any) -> Any:
    added = {name: fn(record) for name, fn in columns}
    try:
        return {**record, **added}
    except TypeError:
        raise no_columns(record) from None


async def _await_columns(columns: tuple[tuple[str, RecordFunction], ...], record: Any) -> Any:
    values = {name: fn(record) for name, fn in columns}
    added = {name: await value if inspect.isawaitable(value) else value for name, value in values.items()}
    try:
        return {**record, **added}
    except TypeError:
        raise no_columns(record) from None


def _select_columns(columns: tuple[str, ...], record: Any) -> Any:
    try:
        return {name: record[name] for name in columns}
    except KeyError as error:
        raise missing_column(str(error.args[0]), record) from None
    except TypeError:
        raise no_columns(record) from None


def _rename_columns(columns: dict[str, str], record: Any) -> Any:
    try:
        renamed = {columns.get(name, name): value for name, value in record.items()}
    except AttributeError:
        raise no_columns(record) from None
    for name in columns:
        if name not in record:
            raise missing_column(name, record)
    if len(renamed) < len(record):
        raise DataError(f"two columns would be one: {', '.join(f'`{columns.get(name, name)}`' for name in record)}")
    return renamed


def _drop_columns(columns: frozenset[str], record: Any) -> Any:
    try:
        kept = {name: value for name, value in record.items() if name not in columns}
    except AttributeError:
        raise no_columns(record) from None
    if len(kept) + len(columns) > len(record):
        raise missing_column(next(name for name in columns if name not in record), record)
    return kept


def _observe(fn: RecordFunction, record: Any) -> Any:
    fn(record)
    return record


def _is_in_share(by: str | None, ratios: tuple[float, ...], seed: int, share: int, record: Any) -> bool:
    try:
        value = record if by is None else record[by]
    except (KeyError, TypeError):
        raise missing_column(str(by), record) from None
    try:
        return find_share(value, ratios, seed) == share
    except TypeError as error:
        raise DataError(f"the value that decides the share is not JSON: {error}") from error


def _each(items: Iterable[Any]) -> Iterator[Any]:
    yield from items


def _name_kind(value: Any) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
