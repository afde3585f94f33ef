"""The rules of `Config` at every depth, in Pydantic models too: for values that a model, not a person, wrote."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema

from tidemill.config.coercion.adapters import DEEP, make_adapter
from tidemill.config.coercion.conversions import ToMember, to_choice
from tidemill.config.coercion.table import Tightening, wrap_schema
from tidemill.config.wording.words import TIGHT
from tidemill.errors import ConfigError


def deepen(target: Any) -> Any:
    """A type of what `target` takes, under the rules of `Config` throughout.

    `ConfigRules` leaves a nested Pydantic model to rules of its own, which take `true` for an integer and drop unknown
    keys. Here they hold in it as well: only what a model says itself stays, as `strict`, or `extra="allow"`. The model
    as it is used elsewhere does not change, and what is made is an instance of it. The rules hold where `adapt` makes
    what validates it, as `check_value` does.

    Raises:
        ConfigError: it is no type, or one whose annotations cannot be understood, or has a model with an `__init__` of
            its own, through which values would go unchecked.
    """
    adapter = make_adapter(target)
    tighten_schema(adapter.core_schema)
    return type(getattr(target, "__name__", "Deep"), (_Deep,), {"adapter": adapter, DEEP: True})


def tighten_schema(schema: Any) -> Any:
    """A copy of a finished core schema with the rules of `Config` at every depth.

    Raises:
        ConfigError: a model in it has an `__init__` of its own.
    """
    return _Deepening().tighten(schema)


class _Deep:
    """Stands for a type in an annotation; a class, of which Pydantic takes definitions along with the schema."""

    adapter: ClassVar[TypeAdapter[Any]]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema: CoreSchema = tighten_schema(cls.adapter.core_schema)
        return schema


class _Deepening(Tightening):
    """A pass over a schema that is finished: all it refers to is in it."""

    fills = False

    def __init__(self) -> None:
        super().__init__(None)

    def tighten(self, schema: Any) -> Any:
        if isinstance(schema, dict) and TIGHT in schema.get("metadata", {}) and "schema" in schema:
            # It is converted already; a model within may have been left as it was.
            tight: Any = {**schema, "schema": self._tighten_parts(schema["schema"])}
        else:
            tight = super().tighten(schema)
        if not isinstance(tight, dict):
            return tight
        if isinstance(tight.get("function", {}).get("function"), ToMember):
            return _offer_values(tight)
        return self._guard_choice(tight) if tight.get("type") == "literal" else tight

    def _guard_choice(self, literal: dict[str, Any]) -> dict[str, Any]:
        """A literal that takes no boolean for a number, a lone one too: tags are no longer read from it."""
        has_number = any(isinstance(each, (int, float)) for each in literal["expected"])
        return wrap_schema(literal, "function-before", to_choice(literal["expected"])) if has_number else literal

    def _tighten_parts(self, schema: dict[str, Any]) -> dict[str, Any]:
        if schema.get("type") == "model" and schema.get("custom_init"):
            name = schema["cls"].__qualname__
            raise ConfigError(
                f"`{name}` has an `__init__` of its own, which would be given values that are not checked",
                hint="make it a validator: `@model_validator(mode='before')`",
            )
        tight = super()._tighten_parts(schema)
        if tight.get("type") == "model":
            tight["config"] = {"allow_inf_nan": False} | tight.get("config", {})
            self._close(tight, tight["config"])
        elif tight.get("type") in ("dataclass", "typed-dict"):
            self._close(tight, tight["config"])
        return tight

    def _tighten_part(self, key: str, value: Any) -> Any:
        return (
            [self._tighten_definition(each) for each in value]
            if key == "definitions"
            else super()._tighten_part(key, value)
        )

    def _tighten_definition(self, definition: dict[str, Any]) -> dict[str, Any]:
        """What others refer to, as an enum: by the name of what is now around it."""
        tight: dict[str, Any] = self.tighten({name: part for name, part in definition.items() if name != "ref"})
        return {**tight, "ref": definition["ref"]}

    def _close(self, tight: dict[str, Any], config: dict[str, Any]) -> None:
        """Have unknown keys refused, where they are not asked for."""
        if "allow" not in (config.get("extra_fields_behavior"), tight.get("extra_behavior")):
            config["extra_fields_behavior"] = "forbid"
            if tight["type"] == "typed-dict":
                tight["extra_behavior"] = "forbid"

    def _tighten_reference(self, reference: dict[str, Any]) -> Any:
        return dict(reference)


def _offer_values(enum: dict[str, Any]) -> dict[str, Any]:
    """The schema of an enum whose names are taken, too, and not offered: to a model its values say enough."""
    convert = ToMember(enum["schema"]["cls"])
    convert.names = []
    return {**enum, "function": {**enum["function"], "function": convert}}
