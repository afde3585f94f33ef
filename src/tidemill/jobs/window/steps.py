"""The steps of a record half as a window runs them: functions of the record, and steps that call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from tidemill.agents.runner import AgentRunner
from tidemill.calls.gather import name_failure, run_together
from tidemill.calls.lane import Lane
from tidemill.data.failing.failures import exit_error
from tidemill.data.nodes.hooks import BoundHooks
from tidemill.errors import TidemillError
from tidemill.jobs.records.step import RecordStep, Shape
from tidemill.models.steps.batching import Batching
from tidemill.models.steps.calling import Ask, Runner, hook_run
from tidemill.models.steps.lines import Line, StepAsk
from tidemill.models.torch.running.predicting import Predictor
from tidemill.models.torch.texts.embedding import EmbeddingPredictor
from tidemill.protocols import Upserted
from tidemill.stores.steps.indexer import Indexer
from tidemill.stores.steps.marks import Order
from tidemill.stores.steps.upserts import Build, Upserts, parse_upserted


class Gathering(Protocol):
    """Where records meet, so that several of them are one request, or one batch of a model.

    Attributes:
        may_join: asked while there is room for more: whether a record that is on its way may still come.
        held: records that wait there.
    """

    may_join: Callable[[], bool]
    held: int

    def look_soon(self) -> None:
        """Let what has gathered go if nothing is left to wait for."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionStep:
    """A step of the record half that is a function of the record; `index` is its place in the counts."""

    index: int
    function: RecordStep
    shape: Shape

    @property
    def name(self) -> str:
        """The step's name."""
        return self.function.name

    def explain(self, error: BaseException) -> BaseException:
        """What a failure of the function means."""
        return self.function.explain(error)

    def find_branch(self, error: BaseException) -> str:
        """No branch: it has none."""
        return ""


@dataclass(frozen=True, slots=True)
class CallStep:
    """A step that calls, by one line; `index` is its place in the counts."""

    index: int
    name: str
    runner: Runner
    line: Line

    function: ClassVar[None] = None
    shape: ClassVar[Shape] = Shape.ONE

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Where its calls go out."""
        return (self.line.lane,)

    @property
    def gathering(self) -> Gathering | None:
        """Where its records meet, if they share requests."""
        return self.line.batching

    def run(self, record: Any, ask: StepAsk) -> Awaitable[Any]:
        """What the step makes of `record`, its calls made by `ask`."""
        return self.runner.run(record, partial(ask, self.line))

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a validator or a function of the user's may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)

    def find_branch(self, error: BaseException) -> str:
        """No branch: it has none."""
        return ""


@dataclass(frozen=True, slots=True)
class GatherStep:
    """A step that makes several calls of a record at once, each by a line of its own.

    Attributes:
        index: its place in the counts.
        hooks: those around it.
        branches: what makes each call, and the column it writes.
    """

    index: int
    name: str
    hooks: BoundHooks | None
    branches: tuple[tuple[Runner, Line], ...]

    function: ClassVar[None] = None
    gathering: ClassVar[None] = None
    shape: ClassVar[Shape] = Shape.ONE

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Where its calls go out."""
        return tuple(line.lane for _, line in self.branches)

    def run(self, record: Any, ask: StepAsk) -> Awaitable[Any]:
        """What the step makes of `record`, its calls made by `ask`; the step's hooks are called around it."""
        return hook_run(self._run, self.hooks)(record, ask)

    async def _run(self, record: Any, ask: StepAsk) -> Any:
        columns = [line.label for _, line in self.branches]
        runs = (name_failure(line.label, _await(runner, record, partial(ask, line))) for runner, line in self.branches)
        results = await run_together(runs)
        return {**record, **{name: result[name] for name, result in zip(columns, results, strict=True)}}

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a validator or a function of the user's may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)

    def find_branch(self, error: BaseException) -> str:
        """The branch that failed with `error`, as `name_failure` says; empty for a hook around the step."""
        told = [error.where] if isinstance(error, TidemillError) else getattr(error, "__notes__", [])[-1:]
        names = (line.label for _, line in self.branches)
        return next((name for name in names if any(each.startswith(f"branch `{name}`") for each in told)), "")


@dataclass(frozen=True, slots=True)
class AgentStep:
    """A step whose agent answers each record, by many calls; `index` is its place in the counts."""

    index: int
    name: str
    runner: AgentRunner

    function: ClassVar[None] = None
    gathering: ClassVar[None] = None
    shape: ClassVar[Shape] = Shape.ONE

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Where its calls go out, as far as that is known: those of a server's tools once that is open."""
        return tuple(line.lane for line in self.runner.opened.iter_lines())

    def run(self, record: Any, ask: StepAsk) -> Awaitable[Any]:
        """What the step makes of `record`, its calls made by `ask`."""
        return self.runner.run(record, ask)

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a tool may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)

    def find_branch(self, error: BaseException) -> str:
        """No branch: it has none."""
        return ""


@dataclass(frozen=True, slots=True)
class PredictStep:
    """A step whose records go through a model of this process; `index` is its place in the counts."""

    index: int
    name: str
    predictor: Predictor | EmbeddingPredictor

    function: ClassVar[None] = None
    lanes: ClassVar[tuple[Lane, ...]] = ()
    shape: ClassVar[Shape] = Shape.ONE

    @property
    def gathering(self) -> Gathering:
        """Where its records meet."""
        return self.predictor.gathering

    def run(self, record: Any, ask: Any) -> Awaitable[Any]:
        """What the step makes of `record`."""
        return self.predictor.run(record, ask)

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a model may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)

    def find_branch(self, error: BaseException) -> str:
        """No branch: it has none."""
        return ""


@dataclass(frozen=True, slots=True)
class IndexStep:
    """A step that puts its records into a store, several together; `index` is its place in the counts.

    It is no call of the record's: it has no row in the ledger, and what was not sealed is put in again.
    """

    index: int
    name: str
    indexer: Indexer
    batching: Batching[Upserted]
    upserts: Upserts
    lane: Lane

    function: ClassVar[None] = None
    shape: ClassVar[Shape] = Shape.ONE

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """Where its upserts go out."""
        return (self.lane,)

    @property
    def gathering(self) -> Gathering:
        """Where its records meet."""
        return self.batching

    def run(self, record: Any, order: Order) -> Awaitable[Any]:
        """`record`, once it is in the store; `order` is where it stands in its source."""
        return self.indexer.run(record, (self.batching, order))

    async def build(self) -> None:
        """Have what was put in found at full speed; nothing where nothing was.

        Raises:
            TidemillError: the store's, until no attempt was left.
            LaneStopped: the run was stopped before it was done.
        """
        if not self.upserts.is_due:
            return
        try:
            await self.lane.call(Build(self.indexer.url, {}, b"", 0, 0), parse_upserted)
        except TidemillError as error:
            error.step = error.step or self.name
            error.where = error.where or f"the indexes that step `{self.name}` builds at the end"
            error.hint = error.hint or "its records are in the store: run it again, and what is left is to build them"
            raise

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a hook may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)

    def find_branch(self, error: BaseException) -> str:
        """No branch: it has none."""
        return ""


async def _await(runner: Runner, record: Any, ask: Ask) -> Any:
    return await runner.run(record, ask)


WindowStep = FunctionStep | CallStep | GatherStep | AgentStep | PredictStep | IndexStep
