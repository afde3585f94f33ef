"""What Pydantic found wrong, each with where its `loc` leads; of a union's members those the value comes nearest to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import core_schema

from tidemill.config.paths import KeyPath
from tidemill.config.shapes.shape import Shape, Walk
from tidemill.config.wording.suggest import find_near

SELF_SAID = frozenset({"value_error", "assertion_error"})
"""The kinds whose message is the author's of the type."""

MISSING = frozenset(
    {"missing", "missing_argument", "missing_keyword_only_argument", "missing_positional_only_argument"}
)
"""The kinds of a key that is not there."""

UNKNOWN_KEY = frozenset({"extra_forbidden", "unexpected_keyword_argument", "invalid_key"})
"""The kinds of a key that there is none of."""

_KINDS = frozenset(get_args(core_schema.ErrorType)) - SELF_SAID
# Those of Pydantic's own types that its core does not know, and that of a union as a whole.
_OF_TYPES = frozenset({
    "union", "path_type", "path_not_file", "path_not_directory", "path_not_socket", "path_exists",
    "parent_does_not_exist", "pattern_type", "pattern_regex", "pattern_str_type", "pattern_bytes_type", "import_error",
    "base64_decode", "byte_size", "byte_size_unit", "ip_v4_address", "ip_v6_address", "ip_v4_network", "ip_v6_network",
    "ip_v4_interface", "ip_v6_interface", "ip_any_address", "ip_any_network", "ip_any_interface",
})  # fmt: skip
_FOLLOWING = frozenset({"default_factory_not_called"})
"""Kinds that only follow from another error."""


@dataclass(frozen=True)
class Failure:
    """One of Pydantic's errors.

    Attributes:
        kind: its type, as `greater_than`.
        text: Pydantic's own message.
        value: what was given.
    """

    kind: str
    text: str
    value: Any
    context: Mapping[str, Any]
    walk: Walk

    @property
    def path(self) -> KeyPath:
        return self.walk.path

    @property
    def words(self) -> str:
        """What is expected at its path; empty where nothing is known."""
        return self.walk.shape.describe() if self.walk.shape else ""

    @property
    def is_custom(self) -> bool:
        """Whether its kind is none of Pydantic's: its message is then a validator's own."""
        return self.kind not in _KINDS and self.kind not in _OF_TYPES


def find_failures(error: ValidationError, shape: Shape) -> list[Failure]:
    """Every error once, those that only follow from another left out."""
    failures = [
        Failure(each["type"], each["msg"], each["input"], each.get("ctx", {}), shape.walk(tuple(each["loc"])))
        for each in error.errors(include_url=False)
        if each["type"] not in _FOLLOWING
    ]
    return settle_unions(failures, 0)


def settle_unions(errors: list[Failure], level: int) -> list[Failure]:
    """Of each union's members keep the one the value comes nearest to, or one error that stands for all."""
    settled: list[Failure] = []
    groups: dict[KeyPath, list[Failure]] = {}
    for error in errors:
        if len(error.walk.unions) <= level:
            settled.append(error)
        else:
            point = error.walk.unions[level][0]
            if point not in groups:
                groups[point] = []
            groups[point].append(error)
    for point, group in groups.items():
        settled += _settle_union(point, group, level)
    return settled


def _settle_union(point: KeyPath, group: list[Failure], level: int) -> list[Failure]:
    members: dict[str, list[Failure]] = {}
    for error in group:
        members.setdefault(error.walk.unions[level][2], []).append(error)
    told = [each for each in members.values() if any(error.path != point or _says_more(error) for error in each)]
    if told:
        return settle_unions(min(told, key=lambda each: _distance(each, point)), level + 1)
    shape = group[0].walk.unions[level][1]
    walk = Walk(point, shape, None)
    kind = "literal_error" if shape.choices else "union"
    words = shape.describe()
    whole = Failure(kind, "Input should be " + words, group[0].value, {"expected": words}, walk)
    return [whole]


def _distance(errors: list[Failure], point: KeyPath) -> tuple[int, int]:
    """How far the value is from a union's member: a wrong `kind: …` of its own weighs more than any other error.

    A key that is missing because it was mistyped is one error with the other that it stands as.
    """
    own = [each for each in errors if len(each.path) == len(point) + 1]
    kinds = sum(each.kind == "literal_error" and _is_tag(each) for each in own)
    unknown = [str(each.path[-1]) for each in own if each.kind in UNKNOWN_KEY]
    mistyped = sum(find_near(str(each.path[-1]), unknown) is not None for each in own if each.kind in MISSING)
    return kinds, len(errors) - mistyped


def _is_tag(error: Failure) -> bool:
    """Whether what failed can be one thing alone: what a union's member says it is by, not a setting with choices."""
    return error.walk.shape is not None and len(error.walk.shape.choices) == 1


def _says_more(error: Failure) -> bool:
    return error.is_custom
