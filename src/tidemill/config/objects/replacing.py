"""A configuration with other values in some places: those validated as if loaded, all else left as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import CoreConfig, SchemaValidator

from tidemill.config.layers.document import Document
from tidemill.config.layers.origins import carry_origins
from tidemill.config.members import find_field, find_path, list_keys
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.report.caller import raise_at_caller
from tidemill.config.report.validation import problems_from_validation
from tidemill.config.shapes.membership import choose_members
from tidemill.config.shapes.shape import Shape, enter_path
from tidemill.config.wording.suggest import find_near, suggest
from tidemill.config.wording.words import describe_value
from tidemill.errors import Problem

M = TypeVar("M", bound=BaseModel)

_FAILED: Any = object()
"""Stands for a value that is wrong further in, which is told there."""

_ANY = {"type": "any"}
_NEVER = {"type": "none"}
"""The schema of what failed: as at loading, the validators of what holds it do not run then."""


@dataclasses.dataclass(frozen=True, slots=True)
class _New:
    """A value as it was given."""

    value: Any


def read_changes(config: BaseModel, given: tuple[Any, ...], keywords: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `config.replace` was given: a path and its value, or a mapping of paths.

    Raises:
        ConfigError: it was something else, as the fields by keyword; at the caller's line.
    """
    match given:
        case (Mapping() as changes,) if not keywords:
            return changes
        case (str() as label, value) if not keywords:
            return {label: value}
    shape = Shape.of(type(config).__pydantic_core_schema__)
    raise_at_caller(list(_iter_misgiven(shape, given, keywords)), shape)
    raise AssertionError("there is a problem")


def _iter_misgiven(shape: Shape, given: tuple[Any, ...], keywords: Mapping[str, Any]) -> Iterator[Problem]:
    for name in keywords:
        near = name if name in shape.fields else shape.elsewhere.get(name) or find_near(name, shape.fields)
        meant = f'`replace("{near or "a.path"}", …)`'
        hint = f"write {meant}" if near in (name, None) else f"did you mean {meant}?"
        yield Problem(f"`replace` takes a path and a value, got the keyword `{name}`", path=(name,), hint=hint)
    if keywords:
        return
    hint = 'write `replace("a.path", value)`, or `replace({"a.path": value, …})`'
    match given:
        case (str() as label,):
            yield Problem(f"expected a value for `{label}`, got none", hint=hint)
        case (str() as label, *values):
            yield Problem(f"expected one value for `{label}`, got {len(values)}", hint=hint)
        case (other, *_):
            yield Problem(f"expected a path, or a mapping of paths, got {describe_value(other)}", hint=hint)
        case _:
            yield Problem("expected a path and a value, got nothing", hint=hint)


def replace_values(config: M, changes: Mapping[str, Any], context: Mapping[str, Any] | None) -> M:
    """A copy of `config` with the values of `changes` at their dotted paths.

    Raises:
        ConfigError: with every problem there is, at the caller's line.
    """
    shape = Shape.of(type(config).__pydantic_core_schema__)
    replacing = _Replacing(shape, dict(context or {}))
    tree = replacing.plan(config, changes)
    changed = config if replacing.problems else replacing.change(config, tree, ())
    raise_at_caller(replacing.problems, shape)
    carry_origins(config, changed, [*replacing.anew, *(find_path(config, label) for label in changes)])
    return cast(M, changed)


class _Replacing:
    """One replacement; `problems` grows, and `anew`: the sections that another member of their union took."""

    def __init__(self, shape: Shape, context: dict[str, Any]) -> None:
        self.shape = shape
        self.context = context
        self.problems: list[Problem] = []
        self.anew: list[KeyPath] = []

    def plan(self, config: BaseModel, changes: Mapping[str, Any]) -> dict[str | int, Any]:
        """The changes as a tree by key, `_New` its leaves."""
        tree: dict[str | int, Any] = {}
        for label, value in changes.items():
            path = find_path(config, label)
            branch: Any = tree
            for item in path[:-1]:
                branch = branch.setdefault(item, {}) if isinstance(branch, dict) else branch
            if not isinstance(branch, dict) or path[-1] in branch:
                message = f"`{label}` is given twice: by itself and as a part of another"
                self.problems.append(Problem(message, path=path, hint="keep one of them"))
            else:
                branch[path[-1]] = _New(value)
        return tree

    def change(self, value: Any, tree: Any, at: KeyPath) -> Any:
        """`value`, which stands at `at`, with the changes of `tree`; `_FAILED` where that cannot be."""
        if isinstance(tree, _New):
            return tree.value
        union = next((each for shape in enter_path((self.shape,), at) for each in shape.iter_unions()), None)
        if union is not None and isinstance(named := tree.get(union.discriminator), _New):
            if named.value != union.find_tag(value):  # what the value has means nothing to the other member
                self.anew.append(at)
                return _to_values(tree)
            tree = {item: below for item, below in tree.items() if below is not named}
        if isinstance(value, BaseModel):
            return self._change_model(value, tree, at)
        if dataclasses.is_dataclass(value):
            value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        if value is None or isinstance(value, Mapping):
            return self._change_all(dict(value or {}), tree, at)
        if isinstance(value, (list, tuple)):
            return self._change_items(list(value), tree, at)
        message = f"`{join_path(at)}` is no mapping: nothing can be set below it"
        self.problems.append(Problem(message, path=at, hint="set it as a whole"))
        return _FAILED

    def _change_items(self, items: list[Any], tree: dict[Any, Any], at: KeyPath) -> Any:
        held = dict(enumerate(items))
        for item in tree.keys() - held.keys():
            message = f"`{join_path(at)}` is a list of {len(items)} and has no `{item}`"
            self.problems.append(Problem(message, path=(*at, item), hint=suggest(str(item), map(str, held))))
        known = {item: below for item, below in tree.items() if item in held}
        changed = self._change_all(held, known, at)
        return _FAILED if changed is _FAILED or len(known) < len(tree) else list(changed.values())

    def _change_all(self, values: dict[Any, Any], tree: dict[Any, Any], at: KeyPath) -> Any:
        changed = {item: self.change(values.get(item), below, (*at, item)) for item, below in tree.items()}
        return _FAILED if any(each is _FAILED for each in changed.values()) else values | changed

    def _change_model(self, model: BaseModel, tree: dict[Any, Any], at: KeyPath) -> Any:
        """The model with its changed fields validated and its own validators run; the other fields are the same."""
        kind = type(model)
        changed = {}
        for item, below in tree.items():
            name = find_field(kind, item)
            changed[name] = self.change(model.__dict__.get(name), below, (*at, item))
        if not changed:
            return model
        values = {name: model.__dict__[name] for name in kind.model_fields} | (model.__pydantic_extra__ or {})
        made = self._validate(kind, values | changed, changed, at)
        if made is not _FAILED:
            made.__pydantic_fields_set__.clear()
            made.__pydantic_fields_set__.update(model.model_fields_set, changed.keys() & kind.model_fields.keys())
        return made

    def _validate(self, kind: type[BaseModel], values: dict[str, Any], changed: Mapping[str, Any], at: KeyPath) -> Any:
        schema = cast(Any, kind.__pydantic_core_schema__)
        definitions = {each["ref"]: each for each in schema.get("definitions", ())}
        taken = {name: _NEVER if changed.get(name) is _FAILED else _ANY for name in values}
        taken = {name: each for name, each in taken.items() if each is _NEVER or name not in changed}
        narrowed, settings = _narrow(schema, kind, taken, definitions)
        aliases = list_keys(kind)  # which an error's `loc` then has
        whole = _nest({aliases.get(name, name): value for name, value in values.items()}, at)
        try:
            validator = SchemaValidator(_put_below(narrowed, at, settings), settings)
            made = validator.validate_python(whole, context=self.context, by_alias=True, by_name=True)
        except ValidationError as error:
            shape = choose_members(Shape.of(_put_below(schema, at)), whole, self.context)
            document = Document.from_value(whole)
            document.hide(shape.iter_secrets(whole), shape.secret_names)
            problems = problems_from_validation(error, document, shape)
            self.problems += [each for each in problems if document.find_value(each.path) is not _FAILED]
            return _FAILED
        for item in at:
            made = made[item]
        return made


def _to_values(tree: Any) -> Any:
    if isinstance(tree, _New):
        return tree.value
    return {item: _to_values(below) for item, below in tree.items()}


def _narrow(
    schema: Any, kind: type[BaseModel], taken: Mapping[str, Any], definitions: Mapping[str, Any]
) -> tuple[Any, CoreConfig]:
    """A model's core schema, with those of `taken` for these fields; and its settings.

    The model itself is made by a function: of a class that is complete, pydantic-core would take the validator that
    the class has, and not this schema.
    """
    if schema["type"] == "definition-ref":
        schema = definitions[schema["schema_ref"]]
    schema = {key: value for key, value in schema.items() if key != "ref"}
    if schema["type"] == "model-fields":
        fields = {name: {**each, "schema": taken.get(name, each["schema"])} for name, each in schema["fields"].items()}
        return {**schema, "fields": fields}, {}
    inner, settings = _narrow(schema["schema"], kind, taken, definitions)
    if schema["type"] != "model":
        return {**schema, "schema": inner}, settings
    make = {"type": "with-info", "function": lambda parts, info: _make(kind, parts, info.context)}
    return {"type": "function-after", "function": make, "schema": inner}, schema.get("config", {})


def _make(kind: type[BaseModel], parts: tuple[dict[str, Any], Any, set[str]], context: Any) -> BaseModel:
    """An instance of validated values, what was taken besides, and which were given."""
    values, extra, given = parts
    made = kind.__new__(kind)
    object.__setattr__(made, "__dict__", values)
    object.__setattr__(made, "__pydantic_extra__", extra)
    object.__setattr__(made, "__pydantic_fields_set__", given)
    if kind.__pydantic_post_init__:
        made.model_post_init(context)
    else:
        object.__setattr__(made, "__pydantic_private__", None)
    return made


def _put_below(schema: Any, at: KeyPath, settings: CoreConfig | None = None) -> Any:
    """The core schema of what holds at `at` what `schema` describes."""
    if schema["type"] == "definitions":
        return {**schema, "schema": _put_below(schema["schema"], at, settings)}
    for item in reversed(at):
        if isinstance(item, int):
            schema = {"type": "tuple", "items_schema": [*[{"type": "any"}] * item, schema]}
        else:
            fields = {item: {"type": "typed-dict-field", "schema": schema}}
            schema = {"type": "typed-dict", "fields": fields, "config": settings or {}}
    return schema


def _nest(values: Any, at: KeyPath) -> Any:
    for item in reversed(at):
        values = [*[None] * item, values] if isinstance(item, int) else {item: values}
    return values
