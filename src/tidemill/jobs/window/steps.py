"""The steps of a record half as a window runs them: functions of the record, and steps that call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Protocol

from tidemill.calls.gather import name_failure, run_together
from tidemill.calls.lane import Lane
from tidemill.calls.outgoing import Reply, Send
from tidemill.calls.wire import Request, Response
from tidemill.data.failures import exit_error
from tidemill.data.hooks import BoundHooks
from tidemill.errors import TidemillError
from tidemill.jobs.records.step import RecordStep, Shape
from tidemill.models.steps.batching import Batching
from tidemill.models.steps.calling import Ask, Runner, hook_run
from tidemill.models.torch.running.predicting import Predictor
from tidemill.models.torch.texts.embedding import EmbeddingPredictor


class Kept(Reply, Protocol):
    """A reply that the ledger and the call archive can keep."""

    def to_row(self) -> list[Any]:
        """The reply as a JSON list."""
        ...


class Way(Protocol):
    """How requests get out: a lane, or what stands in front of one."""

    async def call(
        self,
        request: Request,
        decode: Callable[[Response], Any],
        commit: Callable[[Any, int], Awaitable[object]] | None = None,
        *,
        send: Send | None = None,
    ) -> Any:
        """As `Lane.call`."""
        ...


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
class Line:
    """How the calls of one step go out and what their replies are.

    Attributes:
        way: what sends the requests, by way of `lane`.
        decode: makes a reply of each response, or what the way takes apart.
        load: makes a reply of the row that one is kept as.
        is_keyed: whether a request is told the key of its call.
        batching: the way, where it sends requests of several records together.
        label: what tells it from the other lines of its step, empty where it is the only one.
        first: what its call numbers begin at.
    """

    way: Way
    lane: Lane
    decode: Callable[[Response], Any]
    load: Callable[[list[Any]], Kept]
    is_keyed: bool = False
    batching: Batching[Any] | None = None
    label: str = ""
    first: int = 0


StepAsk = Callable[..., Awaitable[Any]]
"""An `Ask` that is still to be told the line."""


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
    def lines(self) -> tuple[Line, ...]:
        """How its calls go out."""
        return (self.line,)

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
    def lines(self) -> tuple[Line, ...]:
        """How its calls go out."""
        return tuple(line for _, line in self.branches)

    def run(self, record: Any, ask: StepAsk) -> Awaitable[Any]:
        """What the step makes of `record`, its calls made by `ask`; the step's hooks are called around it."""
        return hook_run(self._run, self.hooks)(record, ask)

    async def _run(self, record: Any, ask: StepAsk) -> Any:
        columns = [line.label for line in self.lines]
        runs = (name_failure(line.label, _await(runner, record, partial(ask, line))) for runner, line in self.branches)
        results = await run_together(runs)
        return {**record, **{name: result[name] for name, result in zip(columns, results, strict=True)}}

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a validator or a function of the user's may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)

    def find_branch(self, error: BaseException) -> str:
        """The branch that failed with `error`, as `name_failure` says; empty for a hook around the step."""
        told = [error.where] if isinstance(error, TidemillError) else getattr(error, "__notes__", [])[-1:]
        names = (line.label for line in self.lines)
        return next((name for name in names if any(each.startswith(f"branch `{name}`") for each in told)), "")


@dataclass(frozen=True, slots=True)
class PredictStep:
    """A step whose records go through a model of this process; `index` is its place in the counts."""

    index: int
    name: str
    predictor: Predictor | EmbeddingPredictor

    function: ClassVar[None] = None
    lines: ClassVar[tuple[Line, ...]] = ()
    shape: ClassVar[Shape] = Shape.ONE

    @property
    def gathering(self) -> Gathering:
        """Where its records meet."""
        return self.predictor.gathering

    def run(self, record: Any, ask: StepAsk) -> Awaitable[Any]:
        """What the step makes of `record`."""
        return self.predictor.run(record, ask)

    def explain(self, error: BaseException) -> BaseException:
        """The failure as it is; a model may raise anything."""
        return error if isinstance(error, Exception) else exit_error(error, self.name)

    def find_branch(self, error: BaseException) -> str:
        """No branch: it has none."""
        return ""


async def _await(runner: Runner, record: Any, ask: Ask) -> Any:
    return await runner.run(record, ask)


WindowStep = FunctionStep | CallStep | GatherStep | PredictStep
