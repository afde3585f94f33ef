"""`Pipeline`: steps without a source, as one callable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tidemill.data.fingerprints import describe_node, fingerprint_json
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.nodes.single import Map
from tidemill.errors import ConfigError
from tidemill.jobs.live.single import SingleRun
from tidemill.resources.bridge import Bridge


class Pipeline:
    """Steps, in order: the one list of nodes that a chain, a job file and this hold.

    `pipe(record)` gives the record's result: None if it was dropped, a list behind a `flat_map`; `await
    pipe.acall(record)` the same; `pipe(stream)` a stream with the steps appended. Frozen, equal by description.

    Args:
        steps: nodes, or plain functions, which stand for `map`.
    """

    __slots__ = ("folder", "nodes")

    def __init__(self, steps: Sequence[Node | Callable[[Any], Any]] = (), *, folder: Path = Path()) -> None:
        self.nodes: tuple[Node, ...] = tuple(step if isinstance(step, Node) else _to_node(step) for step in steps)
        self.folder = folder

    def __call__(self, value: Any) -> Any:
        """The result of one record, or a stream with these steps behind it.

        Works inside a running event loop. Each call opens and closes its connections; hold them with `open()`.

        Raises:
            ConfigError: a step looks across records.
            CallError, DataError: as the steps fail; nothing is quarantined here.
        """
        if _is_stream(value):
            return value | self
        with self.open() as run:
            return run(value)

    async def acall(self, record: Any) -> Any:
        """As calling it, in the running loop."""
        async with self.aopen() as run:
            return await run(record)

    @contextmanager
    def open(self) -> Iterator[Callable[[Any], Any]]:
        """A function of one record that keeps its connections and local models between calls."""
        single = SingleRun(self.nodes, folder=self.folder)
        with Bridge() as bridge:
            bridge.run(single.__aenter__())
            try:
                yield lambda record: bridge.run(single.run(record))
            finally:
                bridge.run(single.__aexit__(None, None, None))

    @asynccontextmanager
    async def aopen(self) -> AsyncIterator[Callable[[Any], Any]]:
        """As `open`, in the running loop: an awaitable function of one record."""
        async with SingleRun(self.nodes, folder=self.folder) as single:
            yield single.run

    @property
    def step_names(self) -> tuple[str, ...]:
        """The name of each step."""
        return step_names(self.nodes)

    @property
    def fingerprint(self) -> str:
        """A hex digest of what the steps do."""
        return fingerprint_json([describe_node(node) for node in self.nodes])

    def __or__(self, other: Pipeline) -> Pipeline:
        return Pipeline((*self.nodes, *other.nodes), folder=self.folder)

    def __len__(self) -> int:
        return len(self.nodes)

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.nodes == other.nodes

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __repr__(self) -> str:
        return f"<Pipeline: {' | '.join(self.step_names) or 'no steps'}>"


def _to_node(step: Any) -> Node:
    if not callable(step):
        raise ConfigError(f"expected a step (a node or a function), got a {type(step).__name__}")
    return Map(fn=step)


def _is_stream(value: Any) -> bool:
    return hasattr(value, "iterate") and hasattr(value, "pipeline")
