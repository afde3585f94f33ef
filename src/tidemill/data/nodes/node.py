"""What every step's description is made of.

A node says what a step does and knows nothing of how it runs; `data/iteration.py` interprets the source half's
nodes, `jobs/` the record half's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import GetJsonSchemaHandler, PrivateAttr, model_validator
from pydantic_core import CoreSchema

from tidemill.config.model import Settings
from tidemill.config.roles import Runtime
from tidemill.config.subschemas import JsonSchema, add_short_form
from tidemill.config.types.functions import Function
from tidemill.config.wording.words import ChoicesElsewhere
from tidemill.data.entering.opener import Opener
from tidemill.data.nodes.hooks import BoundHooks

OnError = Literal["raise", "quarantine", "skip"]

ON_ERROR_ELSEWHERE = ChoicesElsewhere(
    {
        "fail": "raise",
        "stop": "raise",
        "ignore": "skip",
        "drop": "skip",
        "continue": "skip",
        "dead_letter": "quarantine",
    }
)


class Node(Settings):
    """A step's frozen description.

    Attributes:
        name: the step's name; by default its kind, numbered from the second of that kind.
        on_error: what a failing record gets; None takes the run's default (`quarantine`; iteration raises).
    """

    kind: ClassVar[str]
    record_wise: ClassVar[bool] = True
    """True when the step turns one record into 0..n and looks at no other."""
    calls: ClassVar[bool] = False
    """True when the step starts a job's record half: it makes outside calls or runs a model."""
    keeps: ClassVar[bool] = False
    """True when the step's function says whether the record is kept."""
    gives_many: ClassVar[bool] = False
    """True when the step's function gives any number of records for one."""

    functions: ClassVar[tuple[str, ...]] = ()
    """The fields that hold a user's function of one record, or several by name; such a function may take resources."""
    one_to_one: ClassVar[bool] = False
    """True when the step gives just one record for each."""

    alone: ClassVar[str | None] = None
    """The field that alone is short for the step, if one is."""

    name: Annotated[str | None, Runtime()] = None  # what a job calls a step counts, and stands beside it
    on_error: Annotated[OnError | None, ON_ERROR_ELSEWHERE] = None
    _hooks: BoundHooks | None = PrivateAttr(default=None)
    _openers: Mapping[str, Opener] = PrivateAttr(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_alone(cls, value: Any) -> Any:
        return {cls.alone: value} if cls.alone is not None and cls.is_short(value) else value

    @classmethod
    def is_short(cls, value: Any) -> bool:
        """Whether what stands for the step is its field `alone`, and neither all its fields nor a step."""
        return not isinstance(value, (dict, Node))

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        written = handler(schema)
        return written if cls.alone is None else add_short_form(written, cls.alone)

    @property
    def bound_hooks(self) -> BoundHooks | None:
        """The hooks around the step, in the copy that an iteration has of it; no part of the description."""
        return self._hooks

    @property
    def compared(self) -> str | None:
        """How it compares keys, where it does: in its description, so that no state of another way is gone on from."""
        return None

    @property
    def inner(self) -> tuple[Node, ...]:
        """The steps that it is made of, where it is made of steps."""
        return ()

    def with_inner(self, nodes: Sequence[Node]) -> Self:
        """The step made of others in their places."""
        return self

    def with_hooks(self, hooks: BoundHooks) -> Self:
        """A copy for one iteration, with `hooks` around it."""
        copy = self.model_copy()
        copy._hooks = hooks
        return copy

    @property
    def openers(self) -> Mapping[str, Opener]:
        """How each worker opens the resources that the step's functions take, by name; no part of the description."""
        return self._openers

    def with_openers(self, openers: Mapping[str, Opener]) -> Self:
        """A copy whose functions may take other resources."""
        copy = self.model_copy()
        copy._openers = openers
        return copy

    @property
    def is_parallel(self) -> bool:
        """Whether records are in flight, rather than looked at one after the other."""
        return False

    @property
    def keeps_places(self) -> bool:
        """Whether what it gives for a record stands where the record stood: none is dropped, skipped or added."""
        return self.one_to_one and self.on_error != "skip"


class FunctionNode(Node):
    """A step that is one function; `fn` alone is short for `{fn: …}`.

    In a job the function is given a copy of a dict, one level deep, so that a record which fails stands in quarantine
    as it came. Lists and dicts inside it are the record's own: a function must not change those in place.
    """

    functions = ("fn",)
    alone = "fn"
    fn: Function


class MappingNode(Node):
    """A step whose `columns` are a mapping by name; the mapping alone is short for it."""

    alone = "columns"

    @classmethod
    def is_short(cls, value: Any) -> bool:
        return isinstance(value, dict) and cls.alone not in value


class ColumnsNode(Node):
    """A step over named columns; the list of their names is short for it."""

    alone = "columns"
    columns: tuple[str, ...]


def step_names(nodes: tuple[Node, ...]) -> tuple[str, ...]:
    """The name of each step: `name`, else its kind, numbered from the second (`generate`, `generate_2`)."""
    return number_names([(node.kind, node.name) for node in nodes])


def number_names(steps: Sequence[tuple[str, str | None]]) -> tuple[str, ...]:
    """The names of steps given as kind and own name."""
    seen: dict[str, int] = {}
    names = []
    for kind, name in steps:
        number = seen[kind] = seen.get(kind, 0) + 1
        names.append(name or (kind if number == 1 else f"{kind}_{number}"))
    return tuple(names)


def split_halves(nodes: tuple[Node, ...]) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """The source half and the record half: the record half starts at the first step that calls."""
    start = next((i for i, node in enumerate(nodes) if node.calls), len(nodes))
    return nodes[:start], nodes[start:]
