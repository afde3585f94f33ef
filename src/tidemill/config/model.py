"""`Config`: the typed, frozen base of every description in Tidemill."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, PydanticUserError, ValidationError
from pydantic_core import CoreSchema

from tidemill.config.coercion.annotations import explain_annotation
from tidemill.config.coercion.conversions import to_int64
from tidemill.config.coercion.table import tighten
from tidemill.config.exports.dataclasses import fill_dataclass, make_dataclass
from tidemill.config.exports.entries import Exporter
from tidemill.config.exports.yaml import render_yaml, save_text
from tidemill.config.layers.origins import Origin
from tidemill.config.objects.descriptions import (
    conceal_description,
    describe_value,
    find_differences,
    fingerprint_json,
)
from tidemill.config.objects.display import iter_shown
from tidemill.config.objects.freezing import explain_frozen
from tidemill.config.objects.identity import are_equal, hash_model
from tidemill.config.objects.provenance import find_origin
from tidemill.config.objects.replacing import read_changes, replace_values
from tidemill.config.report.caller import raise_at_caller
from tidemill.config.report.validation import explain_errors
from tidemill.config.schemas.docstrings import describe_class
from tidemill.config.shapes.membership import choose_members
from tidemill.config.shapes.shape import Shape
from tidemill.errors import ConfigError

T = TypeVar("T")


class Config(BaseModel):
    """Frozen Pydantic; unknown keys are refused at every depth; NaN and infinity too; defaults are validated.

    Values are coerced only where nothing is lost and nothing else could be meant, by the table of
    `tidemill.config.coercion.table`: `"64"` and `64.0` become 64; a bool, a fraction or null never does.

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
        except PydanticUserError as error:
            if error.code != "class-not-fully-defined":
                raise
            message, hint = explain_annotation(type(self), error)
            raise ConfigError(message, hint=hint) from None
        else:
            return
        raise_at_caller(problems, choose_members(Shape.of(type(self).__pydantic_core_schema__), values), made=self)

    # What Pydantic marks its own `__init__` with: a nested value is then validated as it is, not made through this.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    if not TYPE_CHECKING:  # with one of its own, a type checker takes any name for one that can be set

        def __setattr__(self, name: str, value: Any) -> None:
            """Sets a private attribute.

            Raises:
                ConfigError: it is a field, or none: a configuration is frozen.
            """
            try:
                super().__setattr__(name, value)
            except ValidationError as error:
                problem = explain_frozen(self, name, error, value)
            else:
                return
            raise_at_caller([problem], Shape.of(type(self).__pydantic_core_schema__))

        def __delattr__(self, name: str) -> None:
            try:
                super().__delattr__(name)
            except ValidationError as error:
                problem = explain_frozen(self, name, error)
            else:
                return
            raise_at_caller([problem], Shape.of(type(self).__pydantic_core_schema__))

    @overload
    def replace(self, path: str, value: Any, /, *, context: Mapping[str, Any] | None = None) -> Self: ...

    @overload
    def replace(self, changes: Mapping[str, Any], /, *, context: Mapping[str, Any] | None = None) -> Self: ...

    def replace(self, *given: Any, context: Mapping[str, Any] | None = None, **keywords: Any) -> Self:
        """A copy with another value at a dotted path, or several: `cfg.replace({"optim.lr": 3e-4, "stages.0.lr": 1})`.

        New values are checked as if they were loaded, and the validators of each `Config` they stand in run with its
        other fields as they are, which stay the same objects. Private attributes are made anew.

        Args:
            context: what validators and `model_post_init` see.

        Raises:
            ConfigError: with every problem there is, each at the caller's line; or it was given keywords.
        """
        return replace_values(self, read_changes(self, given, keywords), context)

    def origin(self, path: str) -> Origin:
        """Where the value at a dotted path came from: `base.yaml:12:7`, and what it was laid over.

        It is `default` where no source gave it, and `Python` where it was given there; of a mapping or list, what gave
        it last.

        Raises:
            ConfigError: there is no such key.
        """
        return find_origin(self, path)

    def to_dict(self, *, secrets: bool = False, defaults: bool = True) -> dict[str, Any]:
        """The values as plain data that JSON has: enums by value, paths as text, durations as `90s`, sets as lists.

        Keys are those of a file, so that it loads again.

        Args:
            secrets: whether they are given as they are; `***` otherwise.
            defaults: whether fields at their default are given.

        Raises:
            ConfigError: a value has no form as plain data, such as a lambda.
        """
        plain: dict[str, Any] = Exporter(secrets=secrets).export(self).to_plain(defaults=defaults)
        return plain

    def to_yaml(self, *, comments: bool = True, defaults: bool = True, secrets: bool = False) -> str:
        """A text that loads as an equal configuration, read alike by YAML 1.1 and 1.2.

        Args:
            comments: whether what the docstrings say of each field stands beside it.
            defaults: whether fields at their default are written.
            secrets: whether they are written; otherwise they are left out, and a comment stands in their place.

        Raises:
            ConfigError: a value has no form as plain data, such as a lambda.
        """
        entry = Exporter(secrets=secrets, describe=comments).export(self)
        title = describe_class(type(self)) if comments else ""
        return render_yaml(entry, comments=comments, defaults=defaults, title=title)

    def save(self, path: str | os.PathLike[str], *, secrets: bool = False) -> None:
        """Write `to_yaml()` to a file, whole or not at all, and durably; missing folders are made.

        Raises:
            ConfigError: a value has no form as plain data, or the file would be read as another format.
            OSError: the file cannot be written.
        """
        save_text(Path(path), self.to_yaml(secrets=secrets))

    @overload
    def to_dataclass(self, cls: type[T]) -> T: ...

    @overload
    def to_dataclass(self, cls: None = None) -> Any: ...

    def to_dataclass(self, cls: type[T] | None = None) -> Any:
        """The same values in an instance of a dataclass; what is nested goes into those that its fields name.

        Args:
            cls: the dataclass; None makes a frozen one of the same name and fields, of what is nested too.

        Raises:
            ConfigError: the dataclass lacks a field, or has another one that is required, or takes other values.
        """
        return make_dataclass(self) if cls is None else fill_dataclass(self, cls)

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

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        return iter_shown(self, super().__repr_args__())

    def __eq__(self, other: object) -> bool:
        return are_equal(self, other) if isinstance(other, BaseModel) else NotImplemented

    def __hash__(self) -> int:
        return hash_model(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return tighten(source, handler)


class Settings(Config):
    """A `Config` of Tidemill's own, which a job is made of: whole numbers are of at most 64 bits, at every depth.

    Those beyond can neither be kept beside a run, sent, nor counted up to. The `Config` of a user takes any.
    """

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return tighten(source, handler, whole=to_int64)
