"""The one contract: every source behind every step, and random pipelines of up to six steps."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from registry import ROW_STEPS, SOURCES, STEPS, is_row_source
from resuming import check_resumes_everywhere, next_outcome, outcomes, through_json

import tidemill
from tidemill.data.iteration import iterate
from tidemill.data.nodes.across import Pick
from tidemill.data.nodes.node import Node
from tidemill.data.sources.joined import Joined
from tidemill.data.sources.rows import RowSource
from tidemill.data.stages import anchored
from tidemill.protocols import Source
from tidemill.stream.dataset import Dataset
from tidemill.stream.stream import make_stream

ABSTRACT = {Joined, RowSource}
ELSEWHERE = {
    "LiveSource": "tests/jobs/test_live.py: it makes calls",
    "HuggingFaceSource": "tests/adapters/test_hugging_face.py: its own library's pipelines",
}


def load_classes() -> set[type]:
    """Every class of the package."""
    found: set[type] = set()
    for module in pkgutil.walk_packages(tidemill.__path__, "tidemill."):
        if module.name.endswith("__main__"):
            continue
        loaded = importlib.import_module(module.name)
        found |= {value for _, value in inspect.getmembers(loaded, inspect.isclass) if value.__module__ == module.name}
    return found


def test_everything_is_registered() -> None:
    """A source or a step without an example here fails the build."""
    classes = load_classes()
    sources = (
        {cls for cls in classes if hasattr(cls, "open_part") and hasattr(cls, "parts") and not inspect.isabstract(cls)}
        - ABSTRACT
        - {Source}
    )
    named = {cls for cls, _ in SOURCES.values()}
    assert {cls.__name__ for cls in sources if not cls.__name__.startswith("_")} - set(ELSEWHERE) == {
        cls.__name__ for cls in named
    }
    steps = {cls for cls in classes if issubclass(cls, Node) and "kind" in vars(cls) and not cls.calls}
    assert steps == {type(node) for node in (*STEPS, *ROW_STEPS)}


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    made = SOURCES[request.param][1](tmp_path)
    yield made
    if isinstance(made, RowSource):
        made.rows.release()  # a dataset that is kept keeps a few files open


def steps_for(source: Source) -> list[Node]:
    return [*STEPS, *ROW_STEPS] if is_row_source(source) else STEPS


@pytest.mark.parametrize("every", [1, 4])
def test_every_step_over_every_source_resumes_everywhere(
    source: Source, every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the state at every position the tail is the uninterrupted one, twice in a row."""
    monkeypatch.setattr(anchored, "ANCHOR_RECORDS", every)
    check_resumes_everywhere(partial(iterate, source, []))
    for node in steps_for(source):
        check_resumes_everywhere(partial(iterate, source, [node]))


def keep_fitting(source: Source, drawn: list[Node]) -> list[Node]:
    """The steps without those by number that stand where records have none, or that name places there are not."""
    nodes: list[Node] = []
    for node in drawn:
        stream = make_stream(source, nodes)
        if node in ROW_STEPS and not (isinstance(stream, Dataset) and (not isinstance(node, Pick) or len(stream) > 1)):
            continue
        nodes.append(node)
    return nodes


EXAMPLES = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@EXAMPLES
@given(data=st.data())
def test_random_pipelines_hold_the_contract(source: Source, data: st.DataObject) -> None:
    """Up to six steps: resumed at every position, gone through in a loop, pickled, sharded, stopped early."""
    nodes = keep_fitting(source, data.draw(st.lists(st.sampled_from(steps_for(source)), max_size=6)))
    whole = check_resumes_everywhere(partial(iterate, source, nodes))
    check_pickles(source, nodes, whole)
    check_stops_early(source, nodes)


def check_pickles(source: Source, nodes: list[Node], whole: list[Any]) -> None:
    """A stream comes out of pickling the same, and gives the same."""
    stream = make_stream(source, nodes)
    carried = pickle.loads(pickle.dumps(stream))
    assert carried == stream
    assert hash(carried) == hash(stream)
    assert outcomes(carried.iterate()) == whole


def check_stops_early(source: Source, nodes: list[Node]) -> None:
    """An iterator that is left or closed half-way holds nothing open; closing twice is allowed."""
    left = iterate(source, nodes)
    next_outcome(left)
    closed = iterate(source, nodes)
    next_outcome(closed)
    state = through_json(closed.state())
    closed.close()
    closed.close()
    assert through_json(closed.state()) == state
