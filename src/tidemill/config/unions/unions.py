"""A union whose members a key tells apart: validates a mapping as the member it names, and dumps it with its name."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast, get_args

from pydantic import SerializationInfo, SerializerFunctionWrapHandler, ValidationError, ValidationInfo
from pydantic import ValidatorFunctionWrapHandler as Validate
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    SchemaSerializer,
    SchemaValidator,
)
from pydantic_core import core_schema as core

from tidemill.config.shapes.tags import HAS_FIELD, TAG, Finder, Tag
from tidemill.config.unions.members import Member, pass_tag, to_tag
from tidemill.config.wording.suggest import MAX_LISTED, find_near
from tidemill.config.wording.words import WORDS, describe_choices, describe_value

MORE = "plug-in or its import path `module:name`"


class Plugs(Finder, Protocol):
    """Where a union finds members that it does not have itself."""

    @property
    def base(self) -> type:
        """The class that all are of."""

    def load(self, name: Any, folder: Path | None) -> SchemaValidator:
        """What validates the member with this name.

        Raises:
            PydanticCustomError: there is none, or it cannot be loaded.
        """

    def name_class(self, cls: type) -> str:
        """The name under which a member is found again."""

    def find_serializer(self, cls: type) -> SchemaSerializer:
        """What dumps an instance of a member, with its tag."""


class TaggedUnion:
    """The classes of a union by their tags, and what of it runs while values are validated and dumped.

    Thread safety: holds no state.
    """

    def __init__(self, key: str, default: Any, members: Mapping[Any, Member], plugs: Plugs | None = None) -> None:
        self.key = key
        self.default = default
        self.members = members
        self.plugs = plugs
        self.tag = Tag(key, default, self._describe_tag(), self._name, plugs)

    @property
    def schema(self) -> CoreSchema:
        inner = None if self.members else core.any_schema()  # pydantic-core dumps no union without members
        return core.with_info_wrap_validator_function(
            self._validate,
            core.tagged_union_schema(
                {name: self._wrap(member) for name, member in self.members.items()}, discriminator=self._discriminate
            ),
            serialization=core.wrap_serializer_function_ser_schema(self._dump, info_arg=True, schema=inner),
            metadata={TAG: self.tag},
        )

    def _wrap(self, member: Member) -> CoreSchema:
        take = partial(pass_tag, self.key, member.own)
        metadata = {TAG: self.tag, HAS_FIELD: member.own is not None}
        return core.no_info_before_validator_function(take, member.schema, metadata=metadata)

    def _describe_tag(self) -> Mapping[str, Any]:
        names = list(self.members)
        if self.plugs is None:
            schema: Mapping[str, Any] = core.literal_schema(names)
        else:
            words = ", ".join([f"`{name}`" for name in names[:MAX_LISTED]] + [f"{'another' if names else 'a'} {MORE}"])
            schema = core.str_schema(metadata={WORDS: words})
        return schema if self.default is None else {"type": "default", "schema": schema, "default": self.default}

    def _validate(self, value: Any, handler: Validate, info: ValidationInfo) -> Any:
        if not isinstance(value, Mapping):
            return self._take_made(value, handler)
        if self.key in value:
            return self._validate_as(value[self.key], value, handler, info)
        problem: Exception = PydanticKnownError("union_tag_not_found", {"discriminator": repr(self.key)})
        if self.default is not None:
            try:
                return self._validate_as(self.default, value, handler, info)
            except ValidationError as error:
                problem = error
        if (meant := self._find_mistyped(value)) is not None:
            self._validate_as(meant, value, handler, info)  # its errors are what is wrong, the mistyped key among them
        raise problem

    def _take_made(self, value: Any, handler: Validate) -> Any:
        """An instance of a member."""
        if self._name_of(value) is not None:
            return handler(value)
        if self.plugs is not None and isinstance(value, self.plugs.base):
            return value
        if isinstance(value, str) and self._find_name(value) is not None:
            raise _tag_error(f'expected a mapping, got "{value}"', f"write `{{{self.key}: {value}}}`")
        raise PydanticKnownError("dict_type")

    def _validate_as(self, name: Any, value: Mapping[Any, Any], handler: Validate, info: ValidationInfo) -> Any:
        name = to_tag(name)
        named = {**value, self.key: name}
        if self._find_name(name) is not None:
            return handler(named)
        folder = (info.context or {}).get("folder")
        try:
            if self.plugs is None:
                raise self._unknown(name)
            validator = self.plugs.load(name, None if folder is None else Path(folder))
        except PydanticCustomError as error:
            beside = self._find_beside(name, value, handler, info)
            raise ValidationError.from_exception_data("union", [_to_line(error, self.key), *beside]) from None
        return validator.validate_python(named, context=info.context)

    def _find_beside(
        self, name: Any, value: Mapping[Any, Any], handler: Validate, info: ValidationInfo
    ) -> list[InitErrorDetails]:
        """What else is wrong with a mapping whose tag is not known, if another one was meant that is."""
        meant = (
            find_near(name, [each for each in self.members if isinstance(each, str)]) if isinstance(name, str) else None
        )
        if meant is None:
            return []
        try:
            handler({**value, self.key: meant})
        except ValidationError as error:
            return [_keep_line(each) for each in error.errors(include_url=False)]
        return []

    def _find_name(self, name: Any) -> Any:
        """The tag that is equal to `name` and of its type, which True is not to 1."""
        return next((each for each in self.members if each == name and type(each) is type(name)), None)

    def _find_mistyped(self, value: Mapping[Any, Any]) -> Any:
        """The tag under a key that the tag's own was mistyped as, None when there is none."""
        near = find_near(self.key, (key for key in value if isinstance(key, str)))
        name = None if near is None else value[near]
        known = self.plugs is not None and isinstance(name, str) and name in self.plugs.iter_names()
        return name if known else self._find_name(name)

    def _unknown(self, name: Any) -> PydanticCustomError:
        names = list(self.members)
        near = find_near(name, map(str, names)) if isinstance(name, str) else None
        message = f"expected {describe_choices(names)}, got {describe_value(name)}"
        return _tag_error(message, f"did you mean `{near}`?" if near else "")

    def _discriminate(self, value: Any) -> Any:
        return to_tag(value.get(self.key)) if isinstance(value, Mapping) else self._name_of(value)

    def _name_of(self, value: Any) -> Any:
        """The tag of an instance: its own where it has several; None when it is of no member.

        An instance of a member's subclass is of that member, too, unless the subclass is a plug-in itself.
        """
        for cls in type(value).__mro__ if self.plugs is None else (type(value),):
            names = [name for name, member in self.members.items() if member.cls is cls]
            if names:
                own = to_tag(getattr(value, self.key, None))
                return own if own in names else names[0]
        return None

    def _name(self, value: Any) -> Any:
        """As `_name_of`, for an instance of a plug-in, too."""
        if self.plugs is None or not isinstance(value, self.plugs.base):
            return self._name_of(value)
        return self._name_of(value) or self.plugs.name_class(type(value))

    def _dump(self, value: Any, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> Any:
        name = self._discriminate(value)
        if name is None and self.plugs is not None and isinstance(value, self.plugs.base):
            return _dump_as(self.plugs.find_serializer(type(value)), value, info)
        dumped = handler(value)
        if name is None or not isinstance(dumped, Mapping):
            return dumped
        return {self.key: name, **{key: each for key, each in dumped.items() if key != self.key}}


def _dump_as(serializer: SchemaSerializer, value: Any, info: SerializationInfo) -> Any:
    return serializer.to_python(
        value,
        mode=info.mode,
        include=cast(Any, info.include),
        exclude=cast(Any, info.exclude),
        by_alias=info.by_alias,
        exclude_unset=info.exclude_unset,
        exclude_defaults=info.exclude_defaults,
        exclude_none=info.exclude_none,
        round_trip=info.round_trip,
        serialize_as_any=info.serialize_as_any,
        context=info.context,
    )


def _tag_error(message: str, hint: str = "") -> PydanticCustomError:
    return PydanticCustomError("tag", "{message}", {"message": message, "hint": hint})


def _to_line(error: PydanticCustomError, key: str) -> InitErrorDetails:
    """The error, of the value under `key`."""
    at_key = PydanticCustomError(error.type, "{message}", {**(error.context or {}), "path": (key,)})
    return InitErrorDetails(type=at_key, input=None)


def _keep_line(line: ErrorDetails) -> InitErrorDetails:
    """One of several errors that were raised together, to be raised beside others."""
    context = line.get("ctx", {})
    kind: Any = line["type"]
    if kind not in _KNOWN:
        kind = PydanticCustomError(kind, "{message}", {"message": line["msg"], **context})
    return InitErrorDetails(type=kind, loc=line["loc"], input=line["input"], ctx=context)


_KNOWN = frozenset(get_args(core.ErrorType))
