"""Every adapter over every source: the records of the stream, each once and in its order."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from registry import SOURCES, open_source
from resuming import outcomes

import tidemill.adapters
from tidemill.adapters.arrays import to_tensor
from tidemill.adapters.grain import to_grain
from tidemill.adapters.hugging_face import to_hf
from tidemill.adapters.tables import to_arrow, to_pandas, to_polars
from tidemill.adapters.torch import to_torch
from tidemill.data.iteration import iterate
from tidemill.stream.dataset import Dataset
from tidemill.stream.stream import Stream, make_stream

Give = Callable[[Stream[Any]], list[Any]]


def of_grain(stream: Stream[Any]) -> list[Any]:
    made = to_grain(stream)
    return [made[place] for place in range(len(made))] if isinstance(stream, Dataset) else list(made)


ADAPTERS: dict[Callable[..., Any], Give] = {
    to_torch: lambda stream: list(to_torch(stream, rank=0, world=1)),
    to_hf: lambda stream: list(to_hf(stream)),
    to_grain: of_grain,
    to_arrow: lambda stream: to_arrow(stream, batch=4).read_all().to_pylist(),
    to_pandas: lambda stream: [row for frame in to_pandas(stream, batch=4) for row in frame.to_dict("records")],
    to_polars: lambda stream: [row for frame in to_polars(stream, batch=4) for row in frame.to_dicts()],
}


def test_every_adapter_is_registered() -> None:
    """A way out of the package without an example here fails the build."""
    found = set()
    for module in pkgutil.iter_modules(tidemill.adapters.__path__, "tidemill.adapters."):
        loaded = importlib.import_module(module.name)
        for name, value in inspect.getmembers(loaded, inspect.isfunction):
            if name.startswith("to_") and value.__module__ == module.name:
                found.add(value)
    found.discard(to_tensor)  # of one column
    assert found == set(ADAPTERS)


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.__name__)
@pytest.mark.parametrize("name", SOURCES)
def test_an_adapter_gives_the_records_of_any_source(name: str, adapter: Any, tmp_path: Path) -> None:
    """Failures are caught in front of it, and of a tuple its first record is taken; its plain columns go through."""
    with open_source(name, tmp_path) as source:
        stream = make_stream(source)
        if not all(kind == "record" and isinstance(value, dict) for kind, value, *_ in outcomes(iterate(source, []))):
            stream = stream.catch().map(take_first)
        first = next(iter(stream))
        stream = stream.select(*(name for name, value in first.items() if isinstance(value, int | str)))
        expected = list(stream)
        assert expected
        assert ADAPTERS[adapter](stream) == expected


def take_first(record: Any) -> Any:
    return record[0] if isinstance(record, tuple) else record
