"""Values that stand in no file: a tool's arguments, a model's reply. Their places are JSON paths."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, overload

from pydantic import ValidationError

from tidemill.config.coercion.adapters import adapt, shape_of
from tidemill.config.layers.document import Document, OpenDocument
from tidemill.config.layers.layer import Layer
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.report.rendering import describe_problem, show_place
from tidemill.config.report.validation import problems_from_validation
from tidemill.config.shapes.membership import choose_members
from tidemill.config.shapes.shape import Shape
from tidemill.config.text.json import compose_json
from tidemill.config.text.nodes import Fault, Text
from tidemill.errors import Place, Problem

T = TypeVar("T")

MAX_LINES = 20
"""Problems that a text for a model tells before it says how many more there are."""


@dataclass(frozen=True, slots=True)
class Checked(Generic[T]):
    """What a check found: the value, or every problem.

    Attributes:
        value: None when there are problems.
        problems: each with its JSON path as its place; of a text that is no JSON with line and column.
    """

    value: T | None
    problems: tuple[Problem, ...] = ()

    def render(self) -> str:
        """The problems for a model to read, as `render_lines`, at most 20; empty when there is none."""
        lines = render_lines(self.problems)
        more = [f"and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
        return "\n".join([*lines[:MAX_LINES], *more])


@overload
def check_value(
    target: type[T], value: Any, *, name: str = "$", parsed: bool = False, shows_all: bool = False
) -> Checked[T]: ...


@overload
def check_value(
    target: Any, value: Any, *, name: str = "$", parsed: bool = False, shows_all: bool = False
) -> Checked[Any]: ...


def check_value(
    target: Any, value: Any, *, name: str = "$", parsed: bool = False, shows_all: bool = False
) -> Checked[Any]:
    """`value` as `target` under the rules of `Config`, or every problem there is, secrets masked.

    ```
    >>> from tidemill.config.model import Config
    >>> class Search(Config):
    ...     query: str
    ...     limit: int = 10
    >>> check_value(Search, '{"query": "tide", "limit": "5"}').value
    Search(query='tide', limit=5)
    >>> print(check_value(Search, '{"qery": "tide", "limit": 2.5}').render())
    $.limit: expected an integer, got 2.5
    $.qery: unknown key; did you mean `query`?  (text, required)

    ```

    Args:
        target: a model, a dataclass, a TypedDict or any other annotation.
        value: JSON as a `str` or `bytes`; anything else is taken as the value itself.
        name: what the paths begin with.
        parsed: take a `str` or `bytes` as the value itself, too.
        shows_all: show what stands under a secret's name as well: it is told to whoever wrote it, a model.
    """
    is_text = isinstance(value, (str, bytes, bytearray)) and not parsed
    kind = OpenDocument if shows_all else Document
    document = _read_json(value, name, kind) if is_text else kind.from_value(value)
    shape = choose_members(shape_of(target), document.value)
    document.hide(shape.iter_secrets(document.value), shape.secret_names)
    if document.root is None or document.root.broken:
        return Checked(None, document.problems)
    try:
        made = adapt(target).validate_python(document.value)
    except ValidationError as error:
        found = _explain(error, shape, document, name)  # which hides more in the document
        return Checked(None, (*document.problems, *found))
    return Checked(None if document.problems else made, document.problems)


def explain_value(
    error: ValidationError, target: Any, value: Any, *, name: str = "$", shows_all: bool = False
) -> list[Problem]:
    """What Pydantic found wrong with a `value` of `target`, whatever rules it went by; all else as of `check_value`."""
    document = (OpenDocument if shows_all else Document).from_value(value)
    shape = choose_members(shape_of(target), value)
    document.hide(shape.iter_secrets(value), shape.secret_names)
    return _explain(error, shape, document, name)


def render_lines(problems: Iterable[Problem]) -> list[str]:
    """One line for each problem, secrets masked: `$.steps[2].prompt: expected text, got 5; put it in quotes`."""
    lines = []
    for problem in problems:
        label = f"{show_place(problem.place)}: " if problem.place else ""
        lines.append(" ".join(f"{label}{describe_problem(problem)}".splitlines()))
    return lines


def to_json_path(path: KeyPath, name: str = "$") -> str:
    """The path as JSONPath (RFC 9535) has it.

    >>> to_json_path(("steps", 2, "on error"))
    '$.steps[2]["on error"]'
    """
    return name + "".join(map(_to_step, path))


def _to_step(item: str | int) -> str:
    if isinstance(item, int):
        return f"[{item}]"
    return f".{item}" if re.fullmatch(r"[A-Za-z_][\w-]*", item) else f"[{json.dumps(item, ensure_ascii=False)}]"


_FENCE = re.compile(r"\s*(```)")
"""What a model puts around its reply as if it were shown in Markdown."""


def _read_json(text: str | bytes | bytearray, name: str, kind: type[Document]) -> Document:
    content = text if isinstance(text, str) else bytes(text).decode("utf-8-sig", "replace")
    source = Text(name, content)
    if fence := _FENCE.match(content):
        fault = Fault("the JSON stands between lines of ```", "leave them out", fence.start(1), fence.end(1))
        return kind([Layer(source, None, (fault,))], None)
    root, faults = compose_json(source)
    return kind([Layer(source, root, tuple(faults))], root)


def _explain(error: ValidationError, shape: Shape, document: Document, name: str) -> list[Problem]:
    return [_put(each, document, name) for each in problems_from_validation(error, document, shape)]


def _put(problem: Problem, document: Document, name: str) -> Problem:
    """The problem with its JSON path as its place, which its sentence need not say again."""
    path = problem.path
    message = problem.message.removeprefix(f"`{join_path(document.resolve(path))}`: ")
    message = message.removeprefix(f"`{join_path(path)}`: ")  # of a default, which the document does not have
    hint = problem.hint
    if path:
        message = re.sub(f"^(missing|unknown) key `{re.escape(join_path(path))}`", r"\1 key", message)
        message = re.sub(f"^(missing|unknown) key `{re.escape(str(path[-1]))}`", r"\1 key", message)
        hint = hint.replace(f"`{join_path(path[:-1])}.", "`")
    return replace(problem, message=message, hint=hint, place=Place(to_json_path(path, name)))
