"""What a model gave for a batch, taken apart into what it gave for each record."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidemill.errors import WorkerError

_FORMS = "a tensor, an array or a list, or a mapping, a tuple or a dataclass of those"


def map_tensors(fn: Callable[[Any], Any], value: Any) -> Any:
    """`value` with `fn` of each tensor in it; mappings, tuples, lists and dataclasses are gone through.

    A mapping or a dataclass comes back as a dict.
    """
    torch = sys.modules.get("torch")
    return value if torch is None else _map(fn, value, torch.Tensor)


def _map(fn: Callable[[Any], Any], value: Any, kind: type) -> Any:
    if isinstance(value, kind):
        return fn(value)
    if isinstance(value, Mapping):
        return {key: _map(fn, item, kind) for key, item in value.items()}
    if isinstance(value, list):
        return [_map(fn, item, kind) for item in value]
    if isinstance(value, tuple):
        return tuple(_map(fn, item, kind) for item in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {each.name: _map(fn, getattr(value, each.name), kind) for each in dataclasses.fields(value)}
    return value


def split_outputs(outputs: Any, count: int, *, where: str = "output") -> Sequence[Any]:
    """What the model gave for each of `count` records, in their order.

    A tensor or an array has the batch as its first axis, a list one result for each record. A mapping, a tuple or a
    dataclass holds several such outputs, and so does then each record's result; what is None in a mapping is left out.

    Raises:
        WorkerError: it is none of these, or there are not as many results as records: the run's failure.
    """
    if hasattr(outputs, "shape"):
        shape = tuple(outputs.shape)
        if not shape or shape[0] != count:
            raise _misfit(f"{where} of the shape {shape}", count, f"expected {count} rows, as many as the records")
        return [outputs[index] for index in range(count)]
    if dataclasses.is_dataclass(outputs) and not isinstance(outputs, type):
        outputs = {each.name: getattr(outputs, each.name) for each in dataclasses.fields(outputs)}
    if isinstance(outputs, Mapping):
        named = {key: item for key, item in outputs.items() if item is not None}
        parts = [split_outputs(item, count, where=f"{where}[{key!r}]") for key, item in named.items()]
        return [dict(zip(named, row, strict=True)) for row in zip(*parts, strict=True)] or [{} for _ in range(count)]
    if isinstance(outputs, tuple):
        parts = [split_outputs(item, count, where=f"{where}[{place}]") for place, item in enumerate(outputs)]
        return list(zip(*parts, strict=True)) or [() for _ in range(count)]
    if isinstance(outputs, Sequence) and not isinstance(outputs, (str, bytes)):
        if len(outputs) != count:
            raise _misfit(f"{where} of {len(outputs)} results", count, f"expected {count}, one for each record")
        return outputs
    raise _misfit(f"{where} that is a {type(outputs).__name__}", count, f"expected {_FORMS}")


def _misfit(got: str, count: int, expected: str) -> WorkerError:
    error = WorkerError(
        f"the model gave an {got} for a batch of {count} records: {expected}",
        hint="wrap the model in a function that gives one result for each record, in their order",
    )
    error.of = "run"
    return error


def to_plain(result: Any) -> Any:
    """A record's result as plain Python: tensors, arrays and their numbers as lists and numbers."""
    if isinstance(result, Mapping):
        return {key: to_plain(item) for key, item in result.items()}
    if isinstance(result, (list, tuple)):
        return [to_plain(item) for item in result]
    return result.tolist() if hasattr(result, "tolist") else result
