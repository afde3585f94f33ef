"""The one contract: every source behind every step, and random pipelines of up to six steps."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pdfs import make_pdf
from registry import ROW_STEPS, SOURCES, STEPS, add_one, make_records, open_source, repeat_some, steps_for
from resuming import check_resumes_everywhere, next_outcome, outcomes, through_json

import tidemill
from tidemill.data.formats.saving import save_records
from tidemill.data.formats.table import find_format
from tidemill.data.iteration import Records, iterate
from tidemill.data.joined.joined import Joined
from tidemill.data.nodes.across import Batch, Pack, Pick, Prefetch, Shard, Shuffle, Sliding, Take
from tidemill.data.nodes.node import Node
from tidemill.data.nodes.single import Catch, FlatMap, Map
from tidemill.data.sources.read import Read
from tidemill.data.sources.rows import ObjectSource, RowSource
from tidemill.data.sources.sharing import place_shard
from tidemill.data.stages import anchored
from tidemill.protocols import Source
from tidemill.stream.dataset import Dataset
from tidemill.stream.stream import make_stream

ABSTRACT = {Joined, RowSource}
ELSEWHERE = {
    "LiveSource": "tests/jobs/test_live.py: it makes calls",
    "Hub": "tests/adapters/test_hub.py: the same pipelines, by their name",
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
    with open_source(request.param, tmp_path) as made:
        yield made


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


MOST_OUTCOMES = 60

EXAMPLES = settings(
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@EXAMPLES
@given(data=st.data())
def test_random_pipelines_hold_the_contract(source: Source, data: st.DataObject) -> None:
    """Up to six steps: resumed at every position, gone through in a loop, pickled, sharded, stopped early."""
    nodes = keep_fitting(source, data.draw(st.lists(st.sampled_from(steps_for(source)), max_size=6)))
    assume(len(outcomes(iterate(source, nodes), MOST_OUTCOMES)) < MOST_OUTCOMES)  # each position goes to the end
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


@pytest.mark.parametrize("world", [1, 3])
def test_shards_share_out_what_every_step_over_every_source_gives(source: Source, world: int) -> None:
    """Taken as near to the source as the steps allow: together the ranks give each record once."""
    for node in [None, *steps_for(source)]:
        nodes = [] if node is None or isinstance(node, Catch) else [node]
        whole = count_records(iterate(source, nodes))
        shared: Counter[str] = Counter()
        for rank in range(world):
            shared += count_records(iterate(source, place_shard(nodes, Shard(rank=rank, world=world))))
        assert shared == whole, node


def count_records(records: Records) -> Counter[str]:
    return Counter(repr(value) for kind, value, *_ in outcomes(records) if kind == "record")


class Counted(list[dict[str, Any]]):
    """A list that counts what is read of it."""

    reads = 0

    def __getitem__(self, place: Any) -> Any:
        self.reads += 1
        return super().__getitem__(place)


BUFFER_RECORDS = 60
GATHERING: list[Node] = [
    Batch(size=BUFFER_RECORDS),
    Batch(tokens=BUFFER_RECORDS),
    Sliding(size=BUFFER_RECORDS, step=7),
    Pack(max_tokens=BUFFER_RECORDS, buffer=8),
    Shuffle(seed=1, buffer=BUFFER_RECORDS),
    Shard(rank=1, world=BUFFER_RECORDS, even="pad"),
    Map(fn=add_one, concurrency=4),
    Prefetch(count=BUFFER_RECORDS),
    FlatMap(fn=repeat_some),
    Take(count=5000),
]


@pytest.mark.parametrize("node", GATHERING, ids=lambda node: f"{node.kind}")
def test_a_resume_reads_one_buffer_again(node: Node) -> None:
    """At most the records between two anchors, those the step holds, and one block of the reader."""
    held = Counted(make_records(0, 6000))
    walking = iterate(ObjectSource(held), [node])
    for _ in range(60 if isinstance(node, (Batch, Shard, Pack)) else 3000):
        next_outcome(walking)
    state = through_json(walking.state())
    walking.close()
    held.reads = 0
    again = iterate(ObjectSource(held), [node], state)
    next_outcome(again)
    again.close()
    bound = anchored.ANCHOR_RECORDS + 2 * BUFFER_RECORDS * BUFFER_RECORDS // 7 + 256
    assert held.reads <= bound < 3000


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="only Linux counts what a process reads")
@pytest.mark.parametrize(
    "suffix", [".jsonl", ".csv", ".txt", ".parquet", ".arrow", ".arrows", ".tar", ".npy", ".npz", ".pdf"]
)
def test_a_resume_reads_no_file_from_its_start(tmp_path: Path, suffix: str) -> None:
    """Of some 9 MB, what the state stands in: a block, a row group, a batch or a page."""
    path = tmp_path / f"a{suffix}"
    count = write_long(path)
    source = Read(path=str(path))
    walking = iterate(source, [])
    for _ in range(count * 3 // 4):
        next(walking)
    state = through_json(walking.state())
    expected = repr(next(walking))
    walking.close()
    before = count_bytes_read()
    again = iterate(source, [], state)
    assert repr(next(again)) == expected
    again.close()
    assert count_bytes_read() - before < 3_000_000


def write_long(path: Path) -> int:
    """A file of some 9 MB; returns how many records it has."""
    if path.suffix == ".pdf":
        path.write_bytes(make_pdf([f"{n} {'x' * 9_000}" for n in range(1_000)]))
        return 1_000
    file_format = find_format(path.name)
    assert file_format is not None
    records: list[dict[str, Any]] = [{"text": f"{n} " * 150} for n in range(20_000)]
    if path.suffix == ".tar":
        records = [{"__key__": f"{n}", **record} for n, record in enumerate(records)]
    elif path.suffix in (".npy", ".npz"):
        records = [{"vector": [float(n)] * 60} for n in range(20_000)]
    return save_records(records, path, file_format)


def count_bytes_read() -> int:
    """Bytes that this process asked the system to read; what is mapped is not among them."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar")))
