"""Sections whose class is a plug-in: `optim: Annotated[Optimizer, Plugins("train.optimizers", adam=Adam)]`.

The tag is the name of a class that the annotation gives, of an entry point of the group, or an import path.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Annotated, Any, cast

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler, PydanticUserError, TypeAdapter
from pydantic_core import CoreSchema, PydanticCustomError, SchemaSerializer, SchemaValidator, core_schema

from tidemill.config.coercion.table import ConfigRules
from tidemill.config.shapes.shape import Shape
from tidemill.config.types.functions import import_object, to_import_path
from tidemill.config.unions.members import Member, split_union
from tidemill.config.unions.union_schema import write_union
from tidemill.config.unions.unions import TaggedUnion
from tidemill.config.wording.suggest import find_near, list_names
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError


class Plugins:
    """Annotation of a section whose class is found by its tag; it is of the annotated one.

    The tag is the name of a class given here, else of an entry point of the group, else an import path; the folder of
    the validation's context is importable, as it is for `Function`. An entry point is loaded when it is chosen.
    """

    def __init__(self, group: str, /, *, default: str | None = None, key: str = "type", **classes: Any) -> None:
        """Of an entry point `group`; `default` is the tag that is meant where the `key` is missing.

        Args:
            group: as in `[project.entry-points."train.optimizers"]`.
            default: without one, the key must be there.
            key: whose value is the tag.
            classes: further plug-ins by their names.
        """
        self.group = group
        self.default = default
        self.key = key
        self.classes = classes

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        (annotation, *more), takes_null = split_union(source)
        base = typing.get_origin(annotation) or annotation
        if more or not isinstance(base, type):
            raise ConfigError("plug-ins are of one class", hint="annotate their common base: `Annotated[Base, …]`")
        if takes_null:
            return core_schema.nullable_schema(handler.generate_schema(Annotated[annotation, self]))
        catalog = Catalog(self.group, base, self.key, self.classes)
        members = {name: Member.of(cls, handler, self.key) for name, cls in self.classes.items()}
        return TaggedUnion(self.key, self.default, members, catalog).schema

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return write_union(schema, handler)


class Catalog:
    """The plug-ins of one annotation that it does not give itself.

    Thread safety: a class may be built twice, equally.
    """

    def __init__(self, group: str, base: type, key: str, classes: Mapping[str, type]) -> None:
        """Of a `group` of entry points and a `base`; `classes` are those that the annotation gives."""
        self.group = group
        self.base = base
        self.key = key
        self.classes = classes
        self._built: dict[tuple[str, Any], _Built] = {}
        for name, cls in classes.items():
            if not issubclass(typing.get_origin(cls) or cls, base):
                raise ConfigError(f"the plug-in `{name}` is no {_name(base)}", hint=_derive(base))

    def iter_names(self) -> Iterator[str]:
        yield from _list_entries(self.group, tuple(sys.path))

    def find_schema(self, name: str, folder: Path | None) -> CoreSchema:
        return self._build(name, self._find_class(name, folder))[0]

    def load(self, name: Any, folder: Path | None) -> SchemaValidator:
        return self._build(name, self._find_class(name, folder))[1]

    def find_serializer(self, cls: type) -> SchemaSerializer:
        return self._build(self.name_class(cls), cls)[2]

    def _find_class(self, name: Any, folder: Path | None) -> type:
        """The class that a tag names.

        Raises:
            PydanticCustomError: there is none, it cannot be imported, or it is not of the base.
        """
        if not isinstance(name, str):
            raise self._unknown(name)
        entries = _list_entries(self.group, tuple(sys.path)).get(name, ())
        if len(entries) > 1:
            owners = list_names([_name_owner(entry) for entry in entries], " and ")
            message = f"there are plug-ins `{name}` of {owners}"
            raise _plugin_error(message, f"name its class: {list_names([entry.value for entry in entries], ' or ')}")
        if entries:
            return self._check(name, _load_entry(entries[0]))
        if ":" in name or ("." in name and find_near(name, self._list_names()) is None):
            return self._check(name, import_object(name, folder))
        raise self._unknown(name)

    def _unknown(self, name: Any) -> PydanticCustomError:
        names = self._list_names()
        near = find_near(name, names) if isinstance(name, str) else None
        words = "".join(f"`{each}`, " for each in names)[:-2]
        message = f"expected {words}{' or ' if words else ''}an import path `module:name`, got {describe_value(name)}"
        return _plugin_error(message, f"did you mean `{near}`?" if near else "")

    def _check(self, name: str, found: Any) -> type:
        cls = typing.get_origin(found) or found
        if not isinstance(cls, type):
            raise _plugin_error(f"`{name}` is not a class but {describe_value(found)}", _derive(self.base))
        if not issubclass(cls, self.base):
            raise _plugin_error(f"`{name}` is no {_name(self.base)}", _derive(self.base))
        return cast(type, found)

    def _build(self, name: str, cls: Any) -> _Built:
        if (name, cls) not in self._built:
            is_model = isinstance(cls, type) and issubclass(cls, BaseModel)
            try:
                whole: Any = TypeAdapter(cls if is_model else Annotated[cls, ConfigRules()]).core_schema
            except PydanticUserError as error:
                reason = str(error).partition("\n")[0]
                raise _plugin_error(f"`{name}` cannot be made from a mapping: {reason}", _MAKE) from None
            inner = whole["schema"] if whole["type"] == "definitions" else whole
            member = Member.of_loaded(cls, inner, Shape.of(whole), self.key)
            schema = TaggedUnion(self.key, None, {name: member}).schema
            if inner is not whole:
                schema = core_schema.definitions_schema(schema, whole["definitions"])
            self._built[name, cls] = schema, SchemaValidator(schema), SchemaSerializer(schema)
        return self._built[name, cls]

    def name_class(self, cls: type) -> str:
        """The name of an entry point that is this class, else its import path."""
        for name, (entry, *_) in _list_entries(self.group, tuple(sys.path)).items():
            if getattr(sys.modules.get(entry.module), entry.attr, None) is cls:
                return name
        try:
            return to_import_path(cls)
        except ConfigError:  # of the script being run, or local: no other process finds it
            return f"{cls.__module__}:{cls.__qualname__}"

    def _list_names(self) -> list[str]:
        return list(dict.fromkeys([*self.classes, *self.iter_names()]))


_Built = tuple[CoreSchema, SchemaValidator, SchemaSerializer]
_MAKE = "make it a Config or a dataclass"


@lru_cache(maxsize=64)
def _list_entries(group: str, path: tuple[str, ...]) -> dict[str, tuple[EntryPoint, ...]]:
    """The entry points of a group by name, those that several packages have more than once.

    Args:
        path: where packages are looked for, as `sys.path` has it: another one is another answer.
    """
    found: dict[str, tuple[EntryPoint, ...]] = {}
    for entry in sorted(entry_points(group=group), key=lambda each: each.name):
        found[entry.name] = (*found.get(entry.name, ()), entry)
    return found


def _load_entry(entry: EntryPoint) -> Any:
    try:
        return import_object(f"{entry.module}:{entry.attr}")
    except PydanticCustomError as error:
        context = error.context or {}
        message = f"the plug-in `{entry.name}` of {_name_owner(entry)} cannot be loaded: {error.message()}"
        raise _plugin_error(message, str(context.get("hint", ""))) from None


def _name_owner(entry: EntryPoint) -> str:
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else "an unknown package"


def _name(cls: type) -> str:
    return f"`{cls.__qualname__}`"


def _derive(base: type) -> str:
    return f"derive it from `{base.__module__}.{base.__qualname__}`"


def _plugin_error(message: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("plugin", "{message}", {"message": message, "hint": hint})
