"""`Pipeline`: steps without a source, as one callable."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Union, overload

from tidemill.config.objects.descriptions import fingerprint_json
from tidemill.config.wording.suggest import find_near
from tidemill.data.nodes.fingerprints import are_same_nodes, describe_node
from tidemill.data.nodes.hooks import After, Before, HookedStep, HookHandle, Hooks, StepHooks, bind_hooks, pad_hooks
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.nodes.single import Map
from tidemill.data.parallel.gradients import find_gradient_mode
from tidemill.data.steps.providing import provide
from tidemill.errors import ConfigError
from tidemill.jobs.live.single import SingleRun
from tidemill.resources.bridge import Bridge
from tidemill.stores.steps.provided import to_resources

Step = Union[Node, "Pipeline", Callable[..., Any]]
"""What a pipeline is made of."""


class Pipeline(Sequence[Node]):
    """Steps, in order: the one list of nodes that a chain, a job file and this hold.

    `pipe(record)` gives the record's result: None if it was dropped, a list behind a `flat_map`; `await
    pipe.acall(record)` the same; `pipe(stream)` a stream with the steps appended, a dataset where they keep its places.
    `len(pipe)`, `pipe[0]` and iteration give nodes, `pipe[1:3]` and `a | b` pipelines. Its steps are frozen; two
    pipelines are equal by description: a function is what its name and source say. Pickles hold the steps alone.

    A step that is a context manager is entered once per worker and left on every way out: an iteration, a thread, a
    process or a loop of a parallel `map`, a run of a job, a call of the pipeline or an `open`. Each worker enters a
    shallow copy of its own and calls that; the object that was given stays as it is. One that cannot be entered is a
    `ResourceError` before the worker's first record. An async one needs a step that is awaited.

    Args:
        steps: nodes, pipelines, which stand for their steps, and any other callables, which stand for `map`; one after
            the other, or as a list.

    Raises (constructor): ConfigError: a step is none of these, or a bound `forward` of a torch module.
    """

    __slots__ = ("_hooks", "_inner", "folder", "nodes")

    def __init__(self, *steps: Step | Iterable[Step], folder: Path = Path()) -> None:
        parts = [step if isinstance(step, Pipeline) else _to_node(step) for step in _iter_steps(steps)]
        self.nodes: tuple[Node, ...] = tuple(
            node for part in parts for node in (part.nodes if isinstance(part, Pipeline) else (part,))
        )
        self.folder = folder
        self._hooks = Hooks()
        self._inner: tuple[StepHooks, ...] = tuple(
            hooked for part in parts for hooked in (part.hooks if isinstance(part, Pipeline) else ((),))
        )

    def __call__(self, value: Any) -> Any:
        """The result of one record, or a stream with these steps behind it.

        Works inside a running event loop. Each call opens and closes its connections; hold them with `open()`. Plain
        functions are called in this thread, unless a step waits or is entered: then in this one's gradient mode.

        Raises:
            ConfigError: a step looks across records.
            ResourceError: a step cannot be entered.
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
        """A function of one record that keeps its connections, local models and entered steps between calls."""
        single = self._make_run()
        with Bridge() as bridge:
            bridge.run(single.__aenter__())
            error: BaseException | None = None
            try:
                yield single.run_here if single.is_plain else lambda record: bridge.run(_run_in_mode(single, record))
            except BaseException as exc:
                error = exc
                raise
            finally:
                bridge.run(single.__aexit__(type(error) if error else None, error, error and error.__traceback__))
                del error  # it has this frame in its traceback

    @asynccontextmanager
    async def aopen(self) -> AsyncIterator[Callable[[Any], Any]]:
        """As `open`, in the running loop: an awaitable function of one record."""
        async with self._make_run() as single:
            yield single.run

    def provide(self, **resources: Any) -> Pipeline:
        """Have its functions called with resources, by the names of their parameters, as of `Stream.provide`.

        Each iteration, run, call of the pipeline or `open` opens its own, and closes them at its end.

        Raises:
            ConfigError: one is no resource, or no step takes it.
        """
        return make_pipeline(provide(self.nodes, to_resources(resources)), self.hooks, folder=self.folder)

    def register_before(self, hook: Before, *, step: int | str | None = None, prepend: bool = False) -> HookHandle:
        """Call `hook(step, record)` in front of each step; what it gives replaces the record, None keeps it.

        After torch's `register_forward_pre_hook`. Hooks are bound when an iteration begins, or a call of the pipeline
        or `open`: what is registered or removed later is for the next one, and without hooks the steps' functions are
        called as they are. They belong to this object and go along where it goes: into streams piped through it,
        slices, and pipelines made of it, there called with the names that steps have here. They are no part of
        description, fingerprint, state and pickle, and a job (`write`, `preview`) runs without them.

        Around a parallel `map` they are called in the consumer's thread. One that raises fails its record at the step.
        A step that looks across records has none.

        Args:
            hook: gets the step's name and the record as the step would.
            step: the place or the name of the one step; None for all.
            prepend: call it in front of those registered before.

        Returns: a handle whose `remove()` removes the hook, as leaving `with` the handle does.

        Raises:
            ConfigError: there is no such step, or it looks across records.
        """
        return self._hooks.add(hook, self._find_place(step), is_after=False, prepend=prepend)

    def register_after(self, hook: After, *, step: int | str | None = None, prepend: bool = False) -> HookHandle:
        """Call `hook(step, record, result)` behind each step; what it gives replaces the result, None keeps it.

        After torch's `register_forward_hook`. The record is as the step got it; the result is what the step's function
        gave: of a `filter` the verdict, of a `flat_map` the children. All else as `register_before` says.

        Args:
            hook: gets the step's name, the record and the result, an awaited one when it is there.
            step: the place or the name of the one step; None for all.
            prepend: call it in front of those registered before.

        Returns: a handle whose `remove()` removes the hook, as leaving `with` the handle does.

        Raises:
            ConfigError: there is no such step, or it looks across records.
        """
        return self._hooks.add(hook, self._find_place(step), is_after=True, prepend=prepend)

    @property
    def hooks(self) -> tuple[StepHooks, ...]:
        """Where the hooks around each step are kept: those of the pipelines it is made of, then its own."""
        own = [HookedStep(self._hooks, place, name) for place, name in enumerate(self.step_names)]
        return tuple((*inner, step) for inner, step in zip(self._inner, own, strict=True))

    @property
    def step_names(self) -> tuple[str, ...]:
        """The name of each step."""
        return step_names(self.nodes)

    @property
    def fingerprint(self) -> str:
        """A hex digest of what the steps do."""
        return fingerprint_json([describe_node(node) for node in self.nodes])

    def __or__(self, other: Pipeline) -> Pipeline:
        if not isinstance(other, Pipeline):
            return NotImplemented
        return Pipeline([self, other], folder=self.folder)

    def __len__(self) -> int:
        return len(self.nodes)

    @overload
    def __getitem__(self, index: int) -> Node: ...
    @overload
    def __getitem__(self, index: slice) -> Pipeline: ...
    def __getitem__(self, index: int | slice) -> Node | Pipeline:
        if isinstance(index, slice):
            return make_pipeline(self.nodes[index], self.hooks[index], folder=self.folder)
        return self.nodes[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and are_same_nodes(self.nodes, other.nodes)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __getstate__(self) -> Any:
        return self.nodes, self.folder

    def __setstate__(self, state: Any) -> None:
        self.nodes, self.folder = state
        self._hooks = Hooks()
        self._inner = pad_hooks((), len(self.nodes))

    def __repr__(self) -> str:
        return f"<Pipeline: {' | '.join(self.step_names) or 'no steps'}>"

    def _make_run(self) -> SingleRun:
        return SingleRun(bind_hooks(self.nodes, self.hooks), folder=self.folder)

    def _find_place(self, step: int | str | None) -> int | None:
        if step is None:
            return None
        names = self.step_names
        if isinstance(step, str):
            if step not in names:
                near = find_near(step, names)
                hint = f"did you mean `{near}`?" if near else f"its steps: {', '.join(names)}"
                raise ConfigError(f"the pipeline has no step `{step}`", hint=hint)
            place = names.index(step)
        elif -len(names) <= step < len(names):
            place = step % len(names)
        else:
            raise ConfigError(f"the pipeline has {len(names)} steps, and none at place {step}")
        if not self.nodes[place].record_wise:
            raise ConfigError(
                f"step `{names[place]}` looks across records, and hooks are called around one",
                hint="register the hook at the step in front of it or behind it",
            )
        return place


def make_pipeline(nodes: Sequence[Node], hooks: Sequence[StepHooks], *, folder: Path = Path()) -> Pipeline:
    """The pipeline of `nodes` with the hooks that other pipelines keep around them."""
    pipeline = Pipeline(nodes, folder=folder)
    pipeline._inner = pad_hooks(hooks, len(nodes))
    return pipeline


def _run_in_mode(single: SingleRun, record: Any) -> Coroutine[Any, Any, Any]:
    """One record's run in another thread, with this one's gradient mode."""
    return single.run(record, mode=find_gradient_mode())


def _iter_steps(steps: Sequence[Any]) -> Iterator[Any]:
    """Those given one after the other, or within one list."""
    if len(steps) != 1 or isinstance(steps[0], Node) or callable(steps[0]) or not isinstance(steps[0], Iterable):
        yield from steps
    else:
        yield from steps[0]


def _to_node(step: Any) -> Node:
    if isinstance(step, Node):
        return step
    if not callable(step):
        raise ConfigError(f"expected a step (a node or a function), got a {type(step).__name__}")
    return Map(fn=step)


def _is_stream(value: Any) -> bool:
    return hasattr(value, "iterate") and hasattr(value, "pipeline")
