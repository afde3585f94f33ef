"""`Config`: the typed, frozen base of every description in Tidemill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, overload

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema

from tidemill.config.coercion import tighten
from tidemill.config.descriptions import (
    conceal_description,
    describe_value,
    find_differences,
    fingerprint_json,
)
from tidemill.config.identity import are_equal, hash_model
from tidemill.config.replacing import replace_values
from tidemill.config.report.caller import raise_at_caller
from tidemill.config.report.validation import explain_errors
from tidemill.config.shape import Shape


class Config(BaseModel):
    """Frozen Pydantic; unknown keys are refused at every depth; NaN and infinity too; defaults are validated.

    Numbers are coerced only where nothing is lost: `"64"` and `64.0` become 64; a bool, a fraction or null never does.

    Two are equal, and have one hash, when they are of one class and their fields are equal; fields may hold lists,
    dicts and sets. Private attributes make no difference; they are pickled and copied along.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    def __init__(self, /, **values: Any) -> None:
        """Made from Python.

        Raises:
            ConfigError: with every problem there is, each at the caller's line, and their report as its message;
                within the validation of another model it stays Pydantic's error.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = explain_errors(error, type(self), values)
        else:
            return
        raise_at_caller(problems, Shape.of(type(self).__pydantic_core_schema__), made=self)

    # What Pydantic marks its own `__init__` with: a nested value is then validated as it is, not made through this.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    @overload
    def replace(self, path: str, value: Any, /, *, context: Mapping[str, Any] | None = None) -> Self: ...

    @overload
    def replace(self, changes: Mapping[str, Any], /, *, context: Mapping[str, Any] | None = None) -> Self: ...

    def replace(self, changes: Any, /, *value: Any, context: Mapping[str, Any] | None = None) -> Self:
        """A copy with another value at a dotted path, or several: `cfg.replace({"optim.lr": 3e-4, "stages.0.lr": 1})`.

        New values are checked as if they were loaded, and the validators of each `Config` they stand in run with its
        other fields as they are, which stay the same objects. Private attributes are made anew.

        Args:
            context: what validators and `model_post_init` see.

        Raises:
            ConfigError: with every problem there is, each at the caller's line.
        """
        return replace_values(self, {changes: value[0]} if value else changes, context)

    @property
    def fingerprint(self) -> str:
        """A hex digest of what decides the result: all fields but those that are `Runtime`, and secrets."""
        return fingerprint_json(describe_value(self, defaults=True))

    def find_differences(self, other: Self) -> list[str]:
        """Where the other decides another result, one line a field: `optim.lr: was 0.0001, is 0.0003`."""
        old, new = (conceal_description(describe_value(each, defaults=True)) for each in (self, other))
        return find_differences(old, new)

    @classmethod
    def __pydantic_init_subclass__(cls, **arguments: Any) -> None:
        super().__pydantic_init_subclass__(**arguments)
        made = vars(cls).get("__hash__")  # Pydantic makes one that takes no lists, where a mixin comes before Config
        if getattr(made, "__module__", "").startswith("pydantic."):
            cls.__hash__ = Config.__hash__  # type: ignore[method-assign]

    def __eq__(self, other: object) -> bool:
        return are_equal(self, other) if isinstance(other, BaseModel) else NotImplemented

    def __hash__(self) -> int:
        return hash_model(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return tighten(source, handler)
