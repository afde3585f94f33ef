"""What tells one function or schema from another across processes: its own source, not its identity in memory."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema
from typing_extensions import is_typeddict

from tidemill.config.secrets import is_secret_key
from tidemill.config.types.modules import digest_tensors, is_torch_module, read_settings
from tidemill.config.types.sources import find_assignments, find_globals, read_source
from tidemill.errors import ConfigError

VERSION_ATTRIBUTE = "__tidemill_version__"

TIMED_MODULE = "tidemill.resources.timing.timed"
"""Whose wrappers around functions make no difference to what they give."""

MAX_DEPTH = 40
"""How deep held values are described; deeper ones count by their type."""

MAX_NAMED = 500
"""How many globals are followed; whoever names more of them, in turn, is a library."""

MAX_ITEMS = 10_000
"""A larger collection under a global name is no constant."""

_CachedFunction = type(functools.lru_cache(int))


def fingerprint_function(function: Any) -> str:
    """A hex digest that changes when the function does.

    It covers:

    - the qualified name, without the module's: a script's function is the same one when it stands in a module;
    - the own source, of a lambda just its expression;
    - the values that a closure, a partial, an instance or defaults hold, as far as they are plain data or functions
      (anything else counts by its type);
    - what the code names at the top of its own file: the source of functions and classes, and the statements that
      assign other names, not the values at the time; then what those name, in turn. A name that no statement of the
      file assigns counts if its value is plain data.

    Of a torch module it covers the classes, settings and weights of all modules in it, not their mode and hooks.

    It does not cover functions of other modules, what is reached through an attribute or a call (`helpers.clean`,
    `self.model`), or files and services: where such a thing changes the result, set `__tidemill_version__`.

    A function decorated with `tm.latency` counts as itself.

    `function.__tidemill_version__`, where there is one, replaces all but the name. A function written in C counts by
    its name and its module's version.
    """
    return _digest(_Description().of_function(function))


def fingerprint_schema(model: type[BaseModel]) -> str:
    """A hex digest that changes when what the model accepts does.

    It covers the JSON schema, the source of its validators and its Pydantic settings, those of the models within it
    included; not the models' names.

    Raises:
        ConfigError: the model has no JSON schema.
    """
    try:
        schema = model.model_json_schema()
    except PydanticInvalidForJsonSchema as error:
        raise ConfigError(
            f"`{model.__qualname__}` has no JSON schema: {error.message}",
            hint="use types that JSON has, or give the field `WithJsonSchema`",
        ) from None
    models = list(_iter_models(model, set()))
    return _digest(
        [
            _without_names(schema, {}),
            [_describe_validators(each) for each in models],
            [_Description().of_value(dict(each.model_config)) for each in models],
        ]
    )


def fingerprint_annotation(annotation: Any) -> str:
    """As `fingerprint_schema`, of any annotation: a dataclass, a TypedDict, a union, a list of models.

    Raises:
        ConfigError: it has no JSON schema.
    """
    try:
        schema = TypeAdapter(annotation).json_schema()
    except PydanticInvalidForJsonSchema as error:
        hint = "use types that JSON has, or give them `WithJsonSchema`"
        raise ConfigError(f"`{annotation}` has no JSON schema: {error.message}", hint=hint) from None
    kinds = list(_iter_kinds(annotation, set()))
    models = [each for each in kinds if issubclass(each, BaseModel)]
    metadata = [each for kind in (annotation, *_list_hints(kinds)) for each in _iter_metadata(kind)]
    return _digest(
        [
            _without_names(schema, {}),
            [_describe_validators(each) for each in models],
            [_Description().of_value(dict(each.model_config)) for each in models],
            [[type(each).__name__, _source_of(each.func)] for each in metadata if hasattr(each, "func")],
        ]
    )


def _iter_kinds(annotation: Any, seen: set[Any]) -> Iterator[type]:
    """The classes with fields within an annotation, each once, outermost first."""
    if isinstance(annotation, type) and get_origin(annotation) is None:
        if annotation not in seen:
            seen.add(annotation)
            yield annotation
            for hint in _list_hints([annotation]):
                yield from _iter_kinds(hint, seen)
    else:
        for argument in get_args(getattr(annotation, "__value__", annotation)):  # that of a `type` statement
            yield from _iter_kinds(argument, seen)


def _list_hints(kinds: Iterable[type]) -> list[Any]:
    """The annotations of the fields of these classes."""
    hints: list[Any] = []
    for kind in kinds:
        if issubclass(kind, BaseModel):
            hints += [field.annotation for field in kind.model_fields.values()]
        elif dataclasses.is_dataclass(kind) or is_typeddict(kind):
            hints += get_type_hints(kind, include_extras=True).values()
    return hints


def _digest(description: Any) -> str:
    text = json.dumps(description, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class _Description:
    """A function or a value as JSON. What was met before is told by its number, so that cycles end."""

    def __init__(self) -> None:
        self.met: dict[int, tuple[int, Any]] = {}  # by identity; what is kept here keeps its identity
        self.named: set[tuple[int, str]] = set()  # globals told already
        self.depth = 0

    def of_function(self, function: Any) -> Any:
        while _is_timed(function):
            function = function.__wrapped__
        if not self._enter(function):
            return ["again", self.met[id(function)][0]]
        name = getattr(function, "__qualname__", "")
        version = getattr(function, VERSION_ATTRIBUTE, None)
        if version is not None:
            return [name, "version", str(version)]
        if isinstance(function, functools.partial):
            return ["partial", self.of_function(function.func), self.of_value([*function.args, function.keywords])]
        if isinstance(function, MethodType):
            owner = function.__self__
            held = self.of_value(owner) if isinstance(owner, type) else self._of_instance(owner)
            return ["method", self.of_function(function.__func__), held]
        if isinstance(function, FunctionType):
            held = [self._of_cell(cell) for cell in function.__closure__ or ()]
            defaults = [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
            held += [each for each in defaults if each is None or isinstance(each, (bool, int, float, str))]
            return [name, read_source(function), held, self._of_globals(function)]
        if isinstance(function, type):
            return self._of_class(function)
        if type(function).__module__ == "builtins":
            return [f"{getattr(function, '__module__', None)}:{name}", "builtin", _find_version(function)]
        return self._of_instance(function)

    def of_value(self, value: Any) -> Any:
        """Plain data as itself, functions by their source, whatever else by its type."""
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        kind = _name_of(type(value))
        if isinstance(value, type):
            return _name_of(value)
        if self.depth > MAX_DEPTH:
            return kind
        self.depth += 1
        try:
            return self._of_held(value, kind)
        finally:
            self.depth -= 1

    def _of_held(self, value: Any, kind: str) -> Any:
        if isinstance(value, (FunctionType, MethodType, functools.partial)):
            return self.of_function(value)
        if isinstance(value, (set, frozenset)):
            return sorted(json.dumps(_Description().of_value(item)) for item in value)
        if isinstance(value, tuple):
            return [self.of_value(item) for item in value]
        if isinstance(value, (bytes, re.Pattern)):
            return [kind, repr(value)] if isinstance(value, bytes) else [kind, repr(value.pattern), value.flags]
        if not self._enter(value):
            return ["again", self.met[id(value)][0]]
        if isinstance(value, list):
            return [self.of_value(item) for item in value]
        if isinstance(value, Mapping):
            return [[self.of_value(key), self.of_value(value[key])] for key in value]
        if isinstance(value, BaseModel) or dataclasses.is_dataclass(value) or callable(value):
            return self._of_instance(value)
        return kind

    def _of_instance(self, value: Any) -> Any:
        if is_torch_module(value):
            return self._of_module(getattr(value, "_orig_mod", value))  # that of a compiled one
        return [self._of_class(type(value)), self.of_value(getattr(value, "__dict__", {}))]

    def _of_module(self, module: Any) -> Any:
        modules = list(module.named_modules())
        kinds = dict.fromkeys(type(each) for _, each in modules)
        parts = [[name, _name_of(type(each)), self.of_value(read_settings(each))] for name, each in modules]
        return [[self._of_class(kind) for kind in kinds], parts, digest_tensors(module)]

    def _of_class(self, kind: type) -> Any:
        methods = [each for each in vars(kind).values() if isinstance(each, FunctionType)]
        own = [each for each in methods if each.__module__ == kind.__module__]
        source = read_source(kind) or [[each.__name__, read_source(each)] for each in own]  # a notebook has no file
        if not source:
            return f"{kind.__module__}:{kind.__qualname__}"
        return [kind.__qualname__, source, [self._of_globals(each) for each in own]]

    def _of_globals(self, function: FunctionType) -> list[Any]:
        return self._of_names(function, find_globals(function.__code__))

    def _of_names(self, function: FunctionType, names: Iterable[str]) -> list[Any]:
        """What the names stand for at the top of the function's file, those of elsewhere left out."""
        described = []
        for name in names:
            place = (id(function.__globals__), name)
            if place in self.named or name not in function.__globals__ or len(self.named) >= MAX_NAMED:
                continue
            if not (name.startswith("__") or is_secret_key(name)):
                self.named.add(place)
                described.append([name, self._of_global(function, name)])
        return described

    def _of_global(self, function: FunctionType, name: str) -> Any:
        value = function.__globals__[name]
        target = inspect.unwrap(value) if isinstance(value, (FunctionType, _CachedFunction)) else value
        if isinstance(target, FunctionType):
            return self.of_value(value) if target.__globals__ is function.__globals__ else None
        if isinstance(target, type):
            return self.of_function(target) if target.__module__ == function.__globals__.get("__name__") else None
        statements, names = find_assignments(function, name)
        if statements:
            return [statements, self._of_names(function, names)]
        return self.of_value(value) if _is_plain(value) else None

    def _of_cell(self, cell: Any) -> Any:
        try:
            return self.of_value(cell.cell_contents)
        except ValueError:  # the cell is still empty: a function that refers to itself while it is made
            return None

    def _enter(self, value: Any) -> bool:
        """True the first time; a bound method and its like are made anew each time and hold what does count."""
        if id(value) in self.met and not isinstance(value, MethodType):
            return False
        self.met[id(value)] = (len(self.met), value)
        return True


def _is_timed(function: Any) -> bool:
    """Whether it is a wrapper of `tm.latency`; one around it has its attributes, and is none."""
    return isinstance(function, FunctionType) and function.__globals__.get("__name__") == TIMED_MODULE


def _name_of(kind: type) -> str:
    return kind.__qualname__


def _is_plain(value: Any, depth: int = 0) -> bool:
    if isinstance(value, (list, tuple, set, frozenset)):
        return depth < 4 and len(value) <= MAX_ITEMS and all(_is_plain(item, depth + 1) for item in value)
    if isinstance(value, dict):
        return _is_plain(list(value), depth) and _is_plain(list(value.values()), depth)
    return value is None or isinstance(value, (bool, int, float, str, bytes, re.Pattern))


def _find_version(function: Any) -> str:
    module = getattr(function, "__module__", None) or "builtins"
    return str(getattr(sys.modules.get(module.partition(".")[0]), "__version__", ""))


def _iter_models(annotation: Any, seen: set[Any]) -> Iterator[type[BaseModel]]:
    """The models within an annotation, each once, outermost first."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation not in seen:
            seen.add(annotation)
            yield annotation
            for field in annotation.model_fields.values():
                yield from _iter_models(field.annotation, seen)
    else:
        for argument in get_args(annotation):
            yield from _iter_models(argument, seen)


def _describe_validators(model: type[BaseModel]) -> list[Any]:
    """The source of each validator: decorated methods in their order, then those in the fields' annotations."""
    decorators = model.__pydantic_decorators__
    groups = (decorators.field_validators, decorators.model_validators, decorators.computed_fields)
    described: list[Any] = []
    for group in groups:
        for name, decorator in group.items():
            function = inspect.unwrap(getattr(decorator.func, "__func__", decorator.func))
            described.append([name, repr(getattr(decorator.info, "mode", "")), _source_of(function)])
    for name, field in model.model_fields.items():
        validators = [*field.metadata, *_iter_metadata(field.annotation)]
        if field.default_factory is not None:
            described.append([name, _source_of(field.default_factory)])
        functions = [(type(each).__name__, each.func) for each in validators if hasattr(each, "func")]
        described += [[name, kind, _source_of(function)] for kind, function in functions]
    return described


def _iter_metadata(annotation: Any) -> Iterator[Any]:
    yield from getattr(annotation, "__metadata__", ())
    for argument in get_args(annotation):
        yield from _iter_metadata(argument)


def _source_of(function: Any) -> str:
    if isinstance(function, property):
        function = function.fget
    if isinstance(function, (FunctionType, type)):
        return read_source(function)
    return str(getattr(function, "__qualname__", type(function).__qualname__))


def _without_names(schema: Any, names: dict[str, str]) -> Any:
    """The JSON schema without titles, its definitions numbered in the order they are met."""
    if isinstance(schema, list):
        return [_without_names(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    clean: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "title" and isinstance(value, str):
            continue
        if key == "$ref" or (key == "mapping" and isinstance(value, dict)):
            refs = {"$ref": value} if key == "$ref" else value
            clean[key] = [[tag, names.setdefault(ref, str(len(names)))] for tag, ref in refs.items()]
        elif key == "properties":
            clean[key] = [[name, _without_names(each, names)] for name, each in value.items()]
        elif key != "$defs":
            clean[key] = _without_names(value, names)
    if "$defs" in schema:
        clean["$defs"] = _definitions(schema["$defs"], names)
    return clean


def _definitions(definitions: dict[str, Any], names: dict[str, str]) -> list[Any]:
    clean: dict[str, Any] = {}
    while pending := [ref for ref in names if ref not in clean]:
        for ref in pending:
            clean[ref] = _without_names(definitions.get(ref.rpartition("/")[2]), names)
    return [[names[ref], clean[ref]] for ref in names]
