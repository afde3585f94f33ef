"""`Tool`: a function that a model may ask to have called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import msgspec

from tidemill.agents.tools.context import Context
from tidemill.agents.tools.options import ToolOptions
from tidemill.config.report.values import Checked
from tidemill.config.types.functions import fingerprint_function
from tidemill.errors import Problem

if TYPE_CHECKING:
    from tidemill.agents.tools.ways import ToolWays
    from tidemill.models.model import Model

OpenSession = Callable[[Context[Any]], AbstractAsyncContextManager[Callable[..., Any]]]
"""Opens what lives as long as one run of an agent: the function that its calls of the tool go to."""


class Arguments(msgspec.Struct, frozen=True):
    """What a check of a call's arguments found.

    Attributes:
        values: the keyword arguments for the function; None when there are problems.
        given: them as JSON values, as the model meant them: what a call is told from others by, and a report shows.
        problems: one for each failing path, as `config.report.values.check_value` words them.
        repairs: what was mended in the text first, in words; empty when it was JSON as it came.
    """

    values: Mapping[str, Any] | None
    given: Any
    problems: tuple[Problem, ...] = ()
    repairs: tuple[str, ...] = ()

    def render(self) -> str:
        """What the model is told of the problems: a line for each; empty when there is none."""
        return Checked(None, self.problems).render()


class Signature(Protocol):
    """What a tool takes.

    Attributes:
        schema: the JSON Schema of the arguments: a closed object, descriptions and bounds kept.
    """

    @property
    def schema(self) -> Mapping[str, Any]: ...

    def check(self, arguments: Any) -> Arguments:
        """The arguments of a call: JSON text as a model wrote it, or the object itself. Raises nothing."""
        ...

    def write(self, arguments: Arguments, *, reveals: bool = False) -> Mapping[str, Any]:
        """What the tool gets of arguments that fit, as JSON values: `64` where `"64"` came, defaults filled in.

        A secret is a mask, unless it `reveals` them: then `check` takes what is written again.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Tool:
    """A function that a model may ask to have called; make it with `tm.tool`.

    Attributes:
        name, description: what the model is told.
        signature: what it takes.
        function: called with the checked arguments; may be a coroutine function.
        options: how it is called.
        context: the parameter that takes the `Context`, empty where none does.
        is_async: whether the function is awaited; a plain one is called in a thread.
        open_session: in place of the function's own state, opens what one run of an agent has of the tool by its first
            call, and is left when the run ends; calls go to what it gives.
        identity: what its fingerprint is made of, where not its function: a server's address, say.
        runs_here: whether its coroutine function is awaited in the loop that agents run in, and not in its caller's.
        stamp: what tells its calls from those of another tool that has its name, where anything does.
        written: how a file names it with its settings, where one did.
        gives_images: whether what it gives is known to have pictures, which not every model can be shown.
        meters: whether it asks a model itself: its function gets a `Meter` in front.
    """

    name: str
    description: str
    signature: Signature
    function: Callable[..., Any]
    options: ToolOptions = field(default_factory=ToolOptions)
    context: str = ""
    is_async: bool = False
    open_session: OpenSession | None = None
    identity: Mapping[str, Any] | None = None
    runs_here: bool = False
    stamp: str = ""
    written: Mapping[str, Any] | None = None
    gives_images: bool = False
    meters: bool = False

    def describe_result(self) -> dict[str, Any]:
        """What a job's fingerprint has of it: what the model is told, and the function; not how fast it is called."""
        function = {"function": fingerprint_function(self.function)} if self.identity is None else dict(self.identity)
        told = {"shows_errors": self.options.shows_errors, "max_result": int(self.options.max_result)}
        schema = dict(self.signature.schema)
        return {"tool": self.name, "description": self.description, "schema": schema, **function, **told}

    def __repr__(self) -> str:
        return f"<tool {self.name}({', '.join(self.signature.schema.get('properties', ()))})>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function gives, called as if it were no tool: nothing is checked."""
        return self.function(*args, **kwargs)


@runtime_checkable
class ToolSource(Protocol):
    """Tools that are known once something is open: a server's."""

    def open(self, ways: ToolWays) -> AbstractAsyncContextManager[list[Tool]]:
        """The tools, for as long as the context lasts; entered and left in one task of one loop.

        Args:
            ways: how they get out, where they ask models.
        """
        ...

    def list_models(self) -> Sequence[Model]:
        """The models that its tools ask elsewhere."""
        ...

    def describe_result(self) -> Mapping[str, Any]:
        """The source as JSON without credentials: what a job's fingerprint has of it."""
        ...
