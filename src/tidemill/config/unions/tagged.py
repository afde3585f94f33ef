"""Unions whose members a key tells apart: `optim: Annotated[Adam | Sgd, Tagged(default="adam")]`."""

from __future__ import annotations

import typing
from typing import Annotated, Any, Union

import pydantic
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from tidemill.config.unions.members import Member, split_union
from tidemill.config.unions.union_schema import write_union
from tidemill.config.unions.unions import TaggedUnion
from tidemill.config.wording.words import describe_choices, describe_value
from tidemill.errors import ConfigError


class Tagged:
    """Annotation of a union whose members a key tells apart.

    A member says its tag in a field of the key's name, `type: Literal["adam"] = "adam"`, or is annotated with
    `pydantic.Tag("adam")`. A mapping without the key is the default's; an instance of a member is taken as it is. The
    tag stands in no error's path, and in every dump.
    """

    def __init__(self, key: str = "type", *, default: Any = None) -> None:
        """Of a `key` whose value names the member; `default` is meant where it is missing, else it must be there."""
        self.key = key
        self.default = default

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        annotations, takes_null = split_union(source)
        if takes_null:
            union: Any = Union[tuple(annotations)]  # noqa: UP007 - of a list
            return core_schema.nullable_schema(handler.generate_schema(Annotated[union, self]))
        members: dict[Any, Member] = {}
        for annotation in annotations:
            member = Member.of(annotation, handler, self.key)
            for tag in self._find_tags(annotation, member):
                if tag in members:
                    message = f"two members of the union have the tag {describe_value(tag)}"
                    raise ConfigError(message, hint="give each its own")
                members[tag] = member
        if self.default is not None and self.default not in members:
            hint = f"name one there is: {describe_choices(list(members))}"
            raise ConfigError(f"no member of the union has the default tag {describe_value(self.default)}", hint=hint)
        return TaggedUnion(self.key, self.default, members).schema

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return write_union(schema, handler)

    def _find_tags(self, annotation: Any, member: Member) -> tuple[Any, ...]:
        extras = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is Annotated else ()
        given = tuple(each.tag for each in extras if isinstance(each, pydantic.Tag))
        if tags := given or tuple(member.own or ()):
            return tags
        message = f"nothing tells when a mapping is {describe_value(member.cls)}: it has no tag"
        raise ConfigError(message, hint=f'give it a field `{self.key}: Literal["…"]`')
