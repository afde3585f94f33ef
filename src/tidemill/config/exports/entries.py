"""A configuration as a tree of plain values, each with what is said of it."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator, Mapping, Set
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    RootModel,
    SecretBytes,
    SecretStr,
)
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError

from tidemill.config.coercion.adapters import shape_of
from tidemill.config.exports.plain import to_plain
from tidemill.config.schemas.docstrings import describe_fields
from tidemill.config.secrets import MASK, is_secret_key, mask
from tidemill.config.shapes.membership import name_member
from tidemill.config.shapes.shape import Shapes, enter
from tidemill.config.types.functions import to_import_path
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """One value.

    Attributes:
        value: plain data; a mapping or a list holds further entries.
        description: what the field that holds it is for; empty where nothing is said.
        is_default: whether it is what the field has anyway.
        is_masked: whether it stands for a secret, and is not the value itself.
    """

    value: Any
    description: str = ""
    is_default: bool = False
    is_masked: bool = False

    @property
    def lacks_secret(self) -> bool:
        """Whether it is masked, or a list with something that is: left out, it would be another list."""
        return self.is_masked or (isinstance(self.value, list) and any(each.lacks_secret for each in self.value))

    def to_plain(self, *, defaults: bool = True) -> Any:
        """The data alone; without `defaults` those fields are left out."""
        if isinstance(self.value, dict):
            items = self.value.items()
            return {key: each.to_plain(defaults=defaults) for key, each in items if defaults or not each.is_default}
        if isinstance(self.value, list):
            return [each.to_plain(defaults=defaults) for each in self.value]
        return self.value


class Exporter:
    """Makes entries.

    Args:
        secrets: whether they are given as they are; masked otherwise.
        describe: whether fields get their descriptions.
        by_name: whether functions and classes are given by their import paths.
    """

    def __init__(self, *, secrets: bool = False, describe: bool = False, by_name: bool = False) -> None:
        self.secrets = secrets
        self.describe = describe
        self.by_name = by_name

    def export(self, value: Any, *, hidden: bool = False, shapes: Shapes = ()) -> Entry:
        """The entry of any value; `hidden` below a secret key.

        Args:
            shapes: what is expected there: a member of a tagged union is given with its tag.

        Raises:
            ConfigError: something in it has no form as plain data.
        """
        if value is not None and any(each.core["type"] == "json" for each in shapes):
            return self._export_json(value, hidden)
        if isinstance(value, RootModel):
            return self.export(value.root, hidden=hidden)
        if isinstance(value, BaseModel):
            return _put_tag(self._export_model(value, hidden), name_member(shapes, value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return _put_tag(Entry(dict(self._iter_fields(value, hidden))), name_member(shapes, value))
        if isinstance(value, Mapping):
            return Entry(dict(self._iter_items(value, hidden, shapes)))
        if isinstance(value, Set):
            entries = [self.export(item, hidden=hidden, shapes=enter(shapes, 0)) for item in value]
            return Entry(sorted(entries, key=lambda each: (str(type(each.value)), str(each.to_plain()))))
        if isinstance(value, (list, tuple)):
            items = enumerate(value)
            return Entry([self.export(item, hidden=hidden, shapes=enter(shapes, index)) for index, item in items])
        return self._export_leaf(value, hidden)

    def _export_model(self, model: BaseModel, hidden: bool) -> Entry:
        if type(model).__pydantic_decorators__.model_serializers:
            return self.export(model.model_dump(mode="json", by_alias=True), hidden=hidden)
        entries = {}
        described = self._describe(type(model))
        for name, field in type(model).model_fields.items():
            if not field.exclude and name in model.__dict__:
                key, value = find_key(name, field), model.__dict__[name]
                entry = self._export_field(model, name, key, hidden or is_secret_key(key))
                is_default = not _is_tag(field) and _is_default(model, field, value)
                entries[key] = dataclasses.replace(entry, description=described.get(name, ""), is_default=is_default)
        more = self.export(model.__pydantic_extra__ or {}, hidden=hidden)
        return Entry(entries | more.value)

    def _export_field(self, model: BaseModel, name: str, key: str, hidden: bool) -> Entry:
        """The entry of a field; where its own values are no plain data, of what its serializer makes of them."""
        value = model.__dict__[name]
        try:
            return self.export(value, hidden=hidden, shapes=enter(_find_shapes(type(model)), key))
        except PydanticSerializationError:
            try:
                dumped = model.model_dump(mode="json", include={name}, by_alias=False)
            except PydanticSerializationError:
                by_name = Exporter(secrets=self.secrets, describe=self.describe, by_name=True)
                return by_name.export(value, hidden=hidden)
            return self.export(dumped[name], hidden=hidden)

    def _describe(self, kind: type[Any]) -> Mapping[str, str]:
        return describe_fields(kind) if self.describe else {}

    def _iter_fields(self, value: Any, hidden: bool) -> Iterator[tuple[str, Entry]]:
        described = self._describe(type(value))
        for field in dataclasses.fields(value):
            if field.init:
                inner = enter(_find_shapes(type(value)), field.name)
                held = getattr(value, field.name)
                entry = self.export(held, hidden=hidden or is_secret_key(field.name), shapes=inner)
                yield field.name, dataclasses.replace(entry, description=described.get(field.name, ""))

    def _iter_items(self, value: Mapping[Any, Any], hidden: bool, shapes: Shapes) -> Iterator[tuple[Any, Entry]]:
        for key, item in value.items():
            is_hidden = hidden or is_secret_key(str(_to_key(key)))
            yield _to_key(key), self.export(item, hidden=is_hidden, shapes=enter(shapes, key))

    def _export_json(self, value: Any, hidden: bool) -> Entry:
        """The text that a `Json` field takes; masked as a whole."""
        written = Exporter(secrets=True, by_name=self.by_name).export(value).to_plain()
        is_masked = not self.secrets and self.export(value, hidden=hidden).to_plain() != written
        return Entry(MASK if is_masked else json.dumps(written, ensure_ascii=False), is_masked=is_masked)

    def _export_leaf(self, value: Any, hidden: bool) -> Entry:
        if isinstance(value, (SecretStr, SecretBytes)):
            value, hidden = value.get_secret_value(), True
        plain = self._name(value) if self.by_name else to_plain(value)
        if self.secrets or plain is None or isinstance(plain, bool):
            return Entry(plain)
        shown = MASK if hidden else mask(plain) if isinstance(plain, str) else plain
        return Entry(shown, is_masked=shown != plain)

    def _name(self, value: Any) -> Any:
        try:
            return to_plain(value)
        except PydanticSerializationError:
            if callable(value):
                return to_import_path(value)
            message = f"{describe_value(value)} has no form as plain data"
            raise ConfigError(message, hint="give the field that holds it a `field_serializer`") from None


def find_key(name: str, field: FieldInfo) -> str:
    """The key under which a field is given in a file."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = next((each for each in alias.choices if isinstance(each, str)), None)
    return alias if isinstance(alias, str) else name


def _find_shapes(kind: type[Any]) -> Shapes:
    """What the fields of a class are expected to be."""
    try:
        return (shape_of(kind),)
    except (PydanticUserError, PydanticUndefinedAnnotation):  # a dataclass that no configuration can hold
        return ()


def _put_tag(entry: Entry, tag: Mapping[str, Any]) -> Entry:
    """The entry of a member with its tag in front, which is never left out."""
    if not tag or not isinstance(entry.value, dict):
        return entry
    first = {
        key: dataclasses.replace(entry.value.get(key, Entry(name)), value=name, is_default=False)
        for key, name in tag.items()
    }
    return dataclasses.replace(entry, value={**first, **entry.value, **first})


def _to_key(key: Any) -> Any:
    plain = to_plain(key)
    return plain if isinstance(plain, (str, int, float)) else str(plain)


def _is_tag(field: FieldInfo) -> bool:
    """Whether the field has but one value, and tells the members of a union apart by it."""
    return typing.get_origin(field.annotation) is Literal and len(typing.get_args(field.annotation)) == 1


def _is_default(model: BaseModel, field: FieldInfo, value: Any) -> bool:
    if field.is_required():
        return False
    default = field.get_default(call_default_factory=True, validated_data=model.__dict__)
    return type(default) is type(value) and bool(default == value)
