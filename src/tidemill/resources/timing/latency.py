"""`latency`: how long the parts of a program take, by name, wherever they run.

The block entered last is a context variable, so that tasks and threads never see each other's. A block that ends leaves
it alone, since a generator may be closed in another context than it began in, and since to set it costs a tenth of a
block (docs/lab-notes.md): the next one passes over those that have ended when it looks for what it is within.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from tidemill.errors import ConfigError, ResourceError
from tidemill.resources.timing.timed import time_calls
from tidemill.resources.timing.timings import MAX_TIMINGS, OTHERS, SETTLED_AT, Timing, Timings, render_timings

F = TypeVar("F", bound=Callable[..., Any])


class Block:
    """What `latency(name)` gives: hold it with `with`, also across `await` and `yield`, or decorate a function with it.

    One is held once at a time, by one task or thread; each may hold its own of the same name.

    Attributes:
        name: of the block, within those around it.
        is_open: whether it is held; None before it ever was.
        parent: the block it was entered within, held or ended by now.
        timing: where its duration is counted.
    """

    __slots__ = ("_inner", "_started", "is_open", "name", "parent", "timing")

    is_off: ClassVar[bool] = False

    is_open: bool | None
    parent: Block
    timing: Timing
    _started: float
    _inner: Block

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_open = None

    def __call__(self, fn: F) -> F:
        """`fn`, each call of which is a block of this name: awaited and iterated to the end, where it is such a one.

        Raises:
            ConfigError: `fn` is no function.
        """
        return time_calls(fn, self.name, latency)

    def __enter__(self) -> Self:
        if self.is_open is not None:
            self._prepare_again()
        parent = _current.get()
        while not parent.is_open:
            parent = parent.parent
        try:
            timing = parent.timing.children[self.name]
        except KeyError:
            timing = _find_new(parent, self.name)
        self.parent = parent
        self.timing = timing
        self.is_open = True
        _current.set(self)
        self._started = timing.clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            timing = self.timing
        except AttributeError:
            raise _never_held(self.name) from None
        took_s = timing.clock() - self._started
        self.is_open = False
        if kind is not None and kind is not GeneratorExit:  # a generator that is left early has not failed
            timing.failing.append(took_s)
        pending = timing.pending
        pending.append(took_s)
        if len(pending) >= SETTLED_AT:
            timing.settle()
        if not self.parent.is_open:
            self.parent = _find_open(self.parent)  # else a chain of those that have ended could grow

    def _prepare_again(self) -> None:
        """Be entered once more: what is held here and was entered within this block is so no longer.

        Raises:
            ResourceError: it is held.
        """
        if self.is_open:
            raise ResourceError(
                "the block is held already, here or in another task or thread",
                where=f'tm.latency("{self.name}")',
                hint="make one for each: `with tm.latency(…):`",
            )
        _straighten(_current.get())

    def step_out(self) -> None:
        """Let whoever goes on meanwhile be within what is around this block, which stays held."""
        self._inner = _current.get()
        _current.set(_find_open(self.parent))

    def step_in(self) -> None:
        """Be the current block again, within what is now."""
        self.parent = _find_open(_current.get())
        _current.set(self._inner)


class _Idle(Block):
    """A block that measures nothing; one for each name is enough."""

    __slots__ = ()

    is_off = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def step_out(self) -> None:
        pass

    def step_in(self) -> None:
        pass


class Latency:
    """What `tm.latency` is: `with tm.latency("retrieve"):` or `@tm.latency("retrieve")`.

    Blocks of a run are counted in that run's report, all others here. A block within another is counted by their names,
    `answer/retrieve`, also where the inner one is in a task or a thread that was started within the outer one.

    Memory: 500 paths of up to 16 names, a few kB each; blocks beyond are counted together, as `(others)`.
    Failure: a block that is left with an error is counted, and as failed.
    Threads, tasks: any; no two see each other's blocks, and no count is lost.
    """

    __slots__ = ("_is_off", "_timings")

    def __init__(self, timings: Timings) -> None:
        self._timings = timings
        self._is_off = False

    def __call__(self, name: str) -> Block:
        """A block called `name`, or a decorator.

        Raises:
            ConfigError: it is no name: not a text, empty, or with a `/` in it. Of the latter two the block says so.
        """
        if type(name) is not str:
            _check_name(name)
        if self._is_off or _current.get().is_off:
            return _idle.get(name) or _make_idle(name)
        return Block(name)

    @property
    def is_on(self) -> bool:
        """Whether a block that is entered here and now is timed."""
        return not (self._is_off or _current.get().is_off)

    def on(self) -> None:
        """Time blocks from now on, in the whole process: runs that are off stay so."""
        self._is_off = False

    def off(self) -> None:
        """Time no block from now on, in the whole process; those that are held are counted when they end."""
        self._is_off = True

    def report(self) -> str:
        """A table of the blocks outside of runs, to be printed; what `to_dict` gives."""
        return "\n".join(render_timings(self.to_dict())) or "no block has ended yet"

    def to_dict(self) -> dict[str, dict[str, float]]:
        """JSON of the blocks outside of runs: `{"answer/retrieve": {"count", "failed", "total_s", "p50_s", …}}`.

        `p50_s`, `p95_s` and `p99_s` are at most 12 % above the exact percentiles, `max_s` is exact.
        """
        return self._timings.to_dict()

    def reset(self) -> None:
        """Count the blocks outside of runs from zero again; those that are held now are counted when they end."""
        self._timings.reset()


@contextmanager
def collecting(timings: Timings, *, is_on: bool = True) -> Iterator[Timings]:
    """For the length of the block, count the latency blocks of this context, and of those copied from it, in `timings`.

    Off, none of them is timed.
    """
    before = _current.get()
    _current.set(_make_outermost(timings) if is_on else _OFF)
    try:
        yield timings
    finally:
        _current.set(before)


def find_timing(context: Context) -> Timing | None:
    """Where blocks entered in `context` would be counted within; None where they are off."""
    block = _find_open(context.get(_current, _PROCESS))
    return None if latency._is_off or block.is_off else block.timing


def _make_outermost(timings: Timings, kind: type[Block] = Block) -> Block:
    """Stands around all blocks that are counted in `timings`; always held, and its own parent."""
    block = kind("")
    block.parent, block.timing, block.is_open = block, timings.outermost, True
    return block


def _make_idle(name: str) -> Block:
    block = _Idle(name)
    return _idle.setdefault(name, block) if len(_idle) < MAX_TIMINGS else block


def _find_open(block: Block) -> Block:
    """The innermost that is held, of `block` and those around it."""
    while not block.is_open:
        block = block.parent
    return block


def _find_new(parent: Block, name: str) -> Timing:
    """Where a block within `parent` is counted whose path was not met before."""
    if parent.timing.path != (OTHERS,):
        _straighten(parent)
    return parent.timing.find_child(name)


def _straighten(block: Block) -> None:
    """Let `block` and those around it that are held be within each other, and within none that has ended.

    Generators that overlap, each begun before the last has ended, would else make a path longer and longer.
    """
    chain = []
    while block is not block.parent:
        if block.is_open:
            chain.append(block)
        block = block.parent
    is_moved = False
    for inner in reversed(chain):
        is_moved = is_moved or inner.parent is not block
        if is_moved:
            inner.parent, inner.timing = block, block.timing.find_child(inner.name)
        block = inner


def _never_held(name: str) -> ResourceError:
    return ResourceError(
        "the block is left, and was never entered", where=f'tm.latency("{name}")', hint="hold it: `with tm.latency(…):`"
    )


def _check_name(name: Any) -> None:
    if isinstance(name, str):
        return
    raise ConfigError(
        f"expected a name, got a {type(name).__name__}", where="tm.latency", hint='@tm.latency("retrieve")'
    )


_TIMINGS = Timings()
_PROCESS, _OFF = _make_outermost(_TIMINGS), _make_outermost(Timings(), _Idle)
_current: ContextVar[Block] = ContextVar("tidemill_latency", default=_PROCESS)
_idle: dict[str, Block] = {}

latency = Latency(_TIMINGS)
