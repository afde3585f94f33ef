"""`Policy`: a file of rules that decides on calls."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, JsonValue, field_validator, model_validator

from tidemill.agents.calling.approval import ApprovalRequest, Approve, Decision, Modify, Reject, Stop
from tidemill.config.loading import load_config
from tidemill.config.model import Settings
from tidemill.config.wording.words import Says
from tidemill.errors import ConfigError

Ask = Callable[[ApprovalRequest], Any | Awaitable[Any]]
"""Asks a person, say; gives a `Decision`."""

NO_RULE = "no rule of the policy allows it"

_STEP = re.compile(r"[^.\[\]]+|\[(\d+)\]")
_PATH = re.compile(r"(\[\d+\]|[^.\[\]]+)((\.[^.\[\]]+)|(\[\d+\]))*")

_ABSENT: Any = object()


def _check_path(path: str) -> str:
    if not _PATH.fullmatch(path):
        raise ValueError(f"expected a path such as `items[0].price`, got `{path}`")
    return path


def _check_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None
    return pattern


ArgumentPath = Annotated[str, AfterValidator(_check_path), Says("a path such as `items[0].price`")]
"""Where a value stands in a call's arguments: `query`, `to.address`, `items[0].price`."""


class Condition(Settings):
    """What an argument has to be; all that is given must hold. One that is not there fits nothing but `present: false`.

    Attributes:
        equals: the value itself, of the same JSON type; in short, the value alone in the condition's place.
        one_of: the values that it may have.
        pattern: a regular expression that the whole text fits.
        min, max: bounds of a number, both included.
        max_length: characters of a text, or items of a list, at most.
        present: whether it is there at all.
    """

    equals: JsonValue = None
    one_of: tuple[JsonValue, ...] | None = None
    pattern: Annotated[str, AfterValidator(_check_pattern)] | None = None
    min: float | None = None
    max: float | None = None
    max_length: int | None = Field(default=None, ge=0)
    present: bool | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> Condition:
        if not self.model_fields_set:
            raise ValueError("a condition needs at least one of equals, one_of, pattern, min, max, max_length, present")
        return self

    def fits(self, value: Any) -> bool:
        """Whether `value` is so; an argument that is not there is given as the result of `find_argument`."""
        is_there = value is not _ABSENT
        if self.present is not None and self.present != is_there:
            return False
        if not is_there:
            return self.model_fields_set == {"present"}
        return (
            ("equals" not in self.model_fields_set or _is_same(value, self.equals))
            and (self.one_of is None or any(_is_same(value, each) for each in self.one_of))
            and (self.pattern is None or (isinstance(value, str) and re.fullmatch(self.pattern, value) is not None))
            and _is_within(value, self.min, self.max)
            and (self.max_length is None or (isinstance(value, (str, list)) and len(value) <= self.max_length))
        )


class Rule(Settings):
    """What is decided on calls of some tools with some arguments.

    Attributes:
        tool: the tool's name, or a pattern of names: `*`, `?`, `[seq]`, `[!seq]`; case counts.
        arguments: conditions on arguments, by their paths; all must hold.
        decision: `approve`, `reject` (the model is told the reason), `stop` (the run ends), or `ask` whoever approves.
        reason: told with a refusal.
        set: arguments that an approved call gets in place of the model's, by their paths.
    """

    tool: str = Field(min_length=1)
    arguments: Mapping[ArgumentPath, Condition] = Field(default_factory=dict)
    decision: Literal["approve", "reject", "stop", "ask"]
    reason: str = ""
    set: Mapping[ArgumentPath, JsonValue] = Field(default_factory=dict)

    @field_validator("arguments", mode="before")
    @classmethod
    def _from_values(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {
            path: each if isinstance(each, (Mapping, Condition)) else {"equals": each} for path, each in given.items()
        }

    @model_validator(mode="after")
    def _goes_together(self) -> Rule:
        if self.set and self.decision != "approve":
            raise ValueError(f"only a call that is approved is changed by `set`, and decision is `{self.decision}`")
        if self.reason and self.decision in ("approve", "ask"):
            raise ValueError(f"only a refusal is told with a `reason`, and decision is `{self.decision}`")
        return self

    def fits(self, request: ApprovalRequest) -> bool:
        """Whether the rule is about this call."""
        return fnmatchcase(request.tool, self.tool) and all(
            condition.fits(find_argument(request.arguments, path)) for path, condition in self.arguments.items()
        )


class Rules(Settings):
    """A policy's file.

    Attributes:
        rules: the first that fits decides; where none does, the call is rejected.
    """

    rules: tuple[Rule, ...]


class Policy:
    """Decides on calls by rules: what `approve` of an agent may be. Holds no state; threads: any.

    Args:
        rules: the first that fits decides; where none does, the call is rejected.
        ask: asked where a rule says `ask`.
        path: the file they are from.

    Raises:
        ConfigError: a rule says `ask`, and there is nobody to ask.
    """

    def __init__(self, rules: Rules, *, ask: Ask | None = None, path: Path | None = None) -> None:
        self.rules = rules
        self.path = path
        self._ask = ask
        if ask is None and (asking := next((rule for rule in rules.rules if rule.decision == "ask"), None)) is not None:
            raise ConfigError(
                f"the policy asks about calls of `{asking.tool}`, and there is nobody to ask",
                hint="give a function: load_policy(path, ask=…), or decide approve, reject or stop",
            )

    @property
    def asker(self) -> Ask | None:
        """Who is asked."""
        return self._ask

    def __call__(self, request: ApprovalRequest) -> Decision | Any:
        """The decision on one call, or what whoever is asked gives: a decision, or something to await."""
        rule = next((rule for rule in self.rules.rules if rule.fits(request)), None)
        if rule is None:
            return Reject(NO_RULE)
        if rule.decision == "reject":
            return Reject(rule.reason)
        if rule.decision == "stop":
            return Stop(rule.reason)
        if rule.decision == "ask":
            assert self._ask is not None
            return self._ask(request)
        if not rule.set:
            return Approve()
        try:
            return Modify(change_arguments(request.arguments, rule.set))
        except ValueError as error:
            return Reject(str(error))


def load_policy(path: str | Path, *, ask: Ask | None = None) -> Policy:
    """The policy in a YAML, TOML or JSON file.

    Args:
        ask: asked where a rule says `ask`.

    Raises:
        ConfigError: with every problem of the file, or a rule says `ask` and there is nobody to ask.
    """
    return Policy(load_config(Rules, path), ask=ask, path=Path(path))


def find_argument(arguments: Any, path: str) -> Any:
    """The value at `path`, or a mark of its own that no value is the same as where there is none.

    >>> find_argument({"to": [{"name": "Ada"}]}, "to[0].name")
    'Ada'
    """
    found = arguments
    for step in _iter_steps(path):
        if isinstance(step, str):
            found = found.get(step, _ABSENT) if isinstance(found, Mapping) else _ABSENT
        else:
            found = found[step] if isinstance(found, list) and step < len(found) else _ABSENT
    return found


def change_arguments(arguments: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `arguments` with `changes`, by their paths; objects on the way to one are made where there are none.

    Raises:
        ValueError: a path leads through something else, or behind a list's end.
    """
    changed: Any = orjson.loads(orjson.dumps(arguments))
    for path, value in changes.items():
        *way, last = _iter_steps(path)
        inner = changed
        try:
            for step in way:
                inner = inner.setdefault(step, {}) if isinstance(inner, dict) else inner[step]
            inner[last] = value
        except (LookupError, TypeError, AttributeError):
            raise ValueError(f"the policy sets `{path}`, and the arguments have no such place") from None
    return dict(changed)


def _iter_steps(path: str) -> list[str | int]:
    return [match.group() if match.group(1) is None else int(match.group(1)) for match in _STEP.finditer(path)]


def _is_same(value: Any, other: Any) -> bool:
    """Whether two JSON values are: a boolean is no number, and 64 is 64.0."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    if isinstance(value, list) and isinstance(other, list):
        return len(value) == len(other) and all(map(_is_same, value, other))
    if isinstance(value, Mapping) and isinstance(other, Mapping):
        return value.keys() == other.keys() and all(_is_same(value[key], other[key]) for key in value)
    return bool(value == other)


def _is_within(value: Any, least: float | None, most: float | None) -> bool:
    if least is None and most is None:
        return True
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return (least is None or value >= least) and (most is None or value <= most)
