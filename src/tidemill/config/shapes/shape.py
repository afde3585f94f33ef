"""What a Pydantic type expects at each key path, in words.

Read from the type's core schema, whose structure is that of a validation error's `loc`
(https://docs.pydantic.dev/latest/api/pydantic_core_schema/).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic_core import SchemaError, SchemaValidator

from tidemill.config.secrets import is_secret_key
from tidemill.config.shapes.tags import TAG, Tag
from tidemill.config.wording.nouns import describe_words, has_rules
from tidemill.config.wording.words import CHOICES_ELSEWHERE, ELSEWHERE, describe_choices, describe_value

Schema = Mapping[str, Any]

_INNER = ("schema", "lax_schema", "json_schema")
_FIELDS = ("model-field", "typed-dict-field", "dataclass-field", "named-tuple-field")
_FUNCTIONS = ("function-before", "function-after", "function-wrap")
_MODES = ("lax-or-strict", "json-or-python")
_TRANSPARENT = frozenset({"default", "nullable", "model", "dataclass", "definitions", *_FIELDS, *_FUNCTIONS, *_MODES})
_ANY: Schema = {"type": "any"}
_ANY_OR_DEFAULT: Schema = {"type": "default", "schema": _ANY}
_LISTS = frozenset({"list", "deque", "set", "frozenset", "generator"})
_MAPPINGS = frozenset({"dict", "ordered-dict", "frozen-dict", "counter"})
_HOLDERS = _LISTS | _MAPPINGS | {"tuple", "union"}


@dataclass(frozen=True, slots=True)
class Walk:
    """Where an error's `loc` leads.

    Attributes:
        path: the keys and indices alone.
        shape: what is expected there, None when nothing is known.
        parent: the shape that holds it.
        key: True when the error is about the key, not its value.
        unions: for each union on the way, its path, its shape and the member the error is from.
    """

    path: tuple[str | int, ...]
    shape: Shape | None
    parent: Shape | None
    key: bool = False
    unions: tuple[tuple[tuple[str | int, ...], Shape, str], ...] = ()


@dataclass(frozen=True)
class Shape:
    """One node of a core schema, with the definitions it may refer to.

    Attributes:
        chosen: members of open unions that a value names, as `choose_members` found them.
        inner: the shapes of all that is further in, by their schemas: a document asks for them at each of its values.
    """

    schema: Schema
    definitions: dict[str, Schema] = field(default_factory=dict)
    chosen: dict[tuple[Tag, str], Shape] = field(default_factory=dict)
    inner: dict[int, Shape] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, schema: Schema) -> Shape:
        """The shape of a whole core schema."""
        definitions = {each["ref"]: each for each in schema.get("definitions", ())}
        return cls(schema, definitions)

    def with_chosen(self, chosen: dict[tuple[Tag, str], Shape]) -> Shape:
        """The same, with these members of open unions and no others."""
        return Shape(self.schema, self.definitions, chosen)

    @cached_property
    def layers(self) -> tuple[Schema, ...]:
        """The schemas from this one inwards to the one that says what the value is."""
        layers = []
        schema: Schema | None = self.schema
        while schema is not None:
            layers.append(schema)
            kind = schema["type"]
            if kind == "definition-ref":
                schema = self.definitions.get(schema["schema_ref"])
            elif kind == "chain":
                schema = schema["steps"][0]
            elif kind in _TRANSPARENT:
                schema = next((schema[name] for name in _INNER if name in schema), None)
            else:
                schema = None
        return tuple(layers)

    @property
    def core(self) -> Schema:
        return self.layers[-1]

    @cached_property
    def fields(self) -> dict[str, Shape]:
        """The keys a mapping may have, as the author writes them, its tag's first; none when they are free."""
        tag = self.tag if self.core["type"] != "tagged-union" else None
        own = {tag.key: self._inner(tag.schema)} if tag is not None else {}
        return own | {self.keys[name]: self._inner(_find_held(each)) for name, each in self._attributes} | own

    @cached_property
    def keys(self) -> dict[str, str]:
        """The name of each field in Python → its key as the author writes it."""
        return {name: next(iter(_list_aliases(each)), name) for name, each in self._attributes}

    @cached_property
    def aliases(self) -> dict[str, str]:
        """The further keys that a field may be given under, as `AliasChoices` has them → the key it is known by."""
        others = ((self.keys[name], _list_aliases(each)[1:]) for name, each in self._attributes)
        return {alias: key for key, aliases in others for alias in aliases}

    @cached_property
    def elsewhere(self) -> dict[str, str]:
        """What fields are called elsewhere, as `CalledElsewhere` has it → the key of each here."""
        layers = ((key, layer) for key, each in self.fields.items() for layer in each.layers)
        return {name: key for key, layer in layers for name in layer.get("metadata", {}).get(ELSEWHERE, ())}

    @property
    def _attributes(self) -> list[tuple[str, Schema]]:
        core = self.core
        if core["type"] in ("dataclass-args", "named-tuple"):
            return [(each["name"], each) for each in core["fields"] if each.get("init", True)]
        return list(core["fields"].items()) if core["type"] in ("model-fields", "typed-dict") else []

    @property
    def members(self) -> dict[str, Shape]:
        """A union's members under the labels an error's `loc` gives them."""
        if not self.chosen or self.core["type"] != "tagged-union":
            return self._known_members
        return self._known_members | {name: shape for (tag, name), shape in self.chosen.items() if tag is self.tag}

    @property
    def alternatives(self) -> list[Shape]:
        """A union's members; their labels cost much to find out, which only an error's `loc` needs."""
        if self.core["type"] == "tagged-union":
            return list(self.members.values())
        choices = self.core["choices"] if self.core["type"] == "union" else ()
        return [self._inner(choice[0] if isinstance(choice, tuple) else choice) for choice in choices]

    @cached_property
    def _known_members(self) -> dict[str, Shape]:
        if self.core["type"] == "tagged-union":
            return {str(getattr(tag, "value", tag)): self._inner(each) for tag, each in self.core["choices"].items()}
        if self.core["type"] != "union":
            return {}
        members = {}
        for choice in self.core["choices"]:
            schema, label = choice if isinstance(choice, tuple) else (choice, "")
            members[label or self._label(schema)] = self._inner(schema)
        return members

    @property
    def is_union(self) -> bool:
        return self.core["type"] == "union" and "custom_error_type" not in self.core

    @property
    def choices(self) -> list[Any]:
        """The values of a `Literal`, those of an enum and its names, of a union all its members'."""
        core = self.core
        if core["type"] == "literal":
            return list(core["expected"])
        if core["type"] == "enum":
            values = [member.value for member in core["members"]]
            names = core["cls"].__members__ if has_rules(self.layers) else ()
            return values + [name for name in names if name not in values]
        if core["type"] == "union":
            return [choice for member in self.alternatives for choice in member.choices]
        return []

    @property
    def choices_elsewhere(self) -> dict[str, str | None]:
        """What choices are called elsewhere, as `ChoicesElsewhere` has it → those here; of a union all its members'."""
        parts = [layer.get("metadata", {}).get(CHOICES_ELSEWHERE, {}) for layer in self.layers]
        if self.core["type"] == "union":
            parts += [member.choices_elsewhere for member in self.alternatives]
        return {name: ours for part in parts for name, ours in part.items()}

    @cached_property
    def is_secret(self) -> bool:
        """True for `SecretStr` and its like, and for a union with one."""
        if any(keeps_secret(layer) for layer in self.layers):
            return True
        return any(member.is_secret for member in self.alternatives) if self.core["type"] == "union" else False

    def describe(self) -> str:
        """What is expected, as `an integer >= 1`; empty when any value is."""
        if self.core["type"] in ("union", "tagged-union") and "custom_error_type" not in self.core:
            words = dict.fromkeys(member.describe() for member in self.alternatives)
            return " or ".join(filter(None, words))
        return describe_words(self.layers)

    def describe_field(self) -> str:
        """What a key takes, as `number > 0, default 0.0001`."""
        words = self.describe()
        for article in ("a ", "an "):
            words = words.removeprefix(article)
        defaults = [each.get("default") for each in self.layers if each["type"] == "default"]
        default = defaults[0] if defaults else None
        if not defaults:
            given = "required" if self.is_required else ""
        elif isinstance(default, (str, int, float)):
            given = f"default {describe_value(default)}"
        else:
            given = ""
        return ", ".join(filter(None, [words, given]))

    @property
    def is_required(self) -> bool:
        """Whether a field must be given: it has no default, and no TypedDict says that it may be left out."""
        return not any(each["type"] == "default" or each.get("required") is False for each in self.layers)

    def walk(self, loc: tuple[str | int, ...]) -> Walk:
        """Follow an error's `loc`."""
        path: list[str | int] = []
        unions: list[tuple[tuple[str | int, ...], Shape, str]] = []
        shape: Shape | None = self
        parent: Shape | None = None
        key = False
        for item in loc:
            if item == "[key]":
                keys = parent.core.get("keys_schema") if parent else None
                shape, key = parent._inner(keys) if parent and keys else None, True
            elif shape is not None and shape.is_union:
                unions.append((tuple(path), shape, str(item)))
                shape = shape.members.get(str(item))
            elif shape is not None and shape.core["type"] == "tagged-union":
                shape = shape.members.get(str(item))
            else:
                path.append(item)
                parent, shape = shape, shape.step(item) if shape else None
        return Walk(tuple(path), shape, parent, key, tuple(unions))

    def step(self, item: str | int) -> Shape | None:
        """The shape under a key or index, None when there is none."""
        core = self.core
        if core["type"] in _LISTS:
            return self._inner(core.get("items_schema"))
        if core["type"] in _MAPPINGS:
            return self.fields.get(str(item)) or self._inner(core.get("values_schema"))
        if core["type"] == "json":
            return self._inner(core.get("schema")).step(item)
        if core["type"] == "named-tuple" and isinstance(item, int):
            return [*self.fields.values()][item] if item < len(self.fields) else None
        if core["type"] == "tuple" and isinstance(item, int):
            items = core["items_schema"]
            variadic = core.get("variadic_item_index")
            if variadic is not None and item >= variadic:
                return self._inner(items[variadic])
            return self._inner(items[item]) if item < len(items) else None
        if core["type"] == "any":
            return self._inner(None)
        return self.fields.get(self.aliases.get(str(item), str(item)))

    def iter_options(self) -> Iterator[Shape]:
        """What a value here may be of: the shape itself, of a union its members, and theirs.

        Of an open union, last, a mapping with the tag and keys nothing is known of.
        """
        if self.core["type"] in ("union", "tagged-union"):
            for member in self.alternatives:
                yield from member.iter_options()
            if self.is_open:
                yield Shape({"type": "dict", "metadata": {TAG: self.tag}}, self.definitions, self.chosen)
        else:
            yield self

    @property
    def takes_one_key(self) -> bool:
        """True for a model of ours of which exactly one field is given, as a job's step."""
        return any(getattr(each.get("cls"), "takes_one_key", False) for each in self.layers)

    @property
    def takes_null(self) -> bool:
        """True when null is a value."""
        return any(each["type"] in ("nullable", "none", "any") for each in self.layers)

    @property
    def discriminator(self) -> str | None:
        """The key that tells the members of a tagged union apart; None of any other shape."""
        if self.core["type"] != "tagged-union":
            return None
        key = self.tag.key if self.tag is not None else self.core["discriminator"]
        return key if isinstance(key, str) else None

    @property
    def default_tag(self) -> Any:
        """The member of a tagged union that is meant where none is named; None when one must be."""
        return self.tag.default if self.tag is not None else None

    def find_tag(self, value: Any) -> Any:
        """The tag of an instance of a tagged union's member; None of anything else."""
        if self.tag is not None:
            return self.tag.name(value)
        return getattr(value, self.discriminator, None) if self.discriminator is not None else None

    def describe_tag(self) -> str:
        """What names a member of a tagged union."""
        return self._inner(self.tag.schema).describe() if self.tag is not None else describe_choices(list(self.members))

    @property
    def is_open(self) -> bool:
        """True for a tagged union whose members are not all known."""
        return self.core["type"] == "tagged-union" and self.tag is not None and self.tag.finder is not None

    @property
    def tag(self) -> Tag | None:
        """What tells the members of the union apart that this is, or is a member of."""
        return next((each["metadata"][TAG] for each in self.layers if TAG in each.get("metadata", {})), None)

    def iter_unions(self) -> Iterator[Shape]:
        """The tagged unions a value here may be of."""
        if self.core["type"] == "tagged-union":
            yield self
        elif self.core["type"] == "union":
            for member in self.alternatives:
                yield from member.iter_unions()

    def narrow(self, value: Any) -> Shape:
        """Of a tagged union the member that `value` names; the shape itself where it names none."""
        key = self.discriminator
        if key is None or not isinstance(value, Mapping):
            return self
        return self.members.get(str(value.get(key, self.default_tag)), self)

    @cached_property
    def has_open(self) -> bool:
        """True when there is an open union at any depth."""
        return any(shape.is_open for shape in self.iter_all())

    def iter_secrets(self, value: Any) -> Iterator[tuple[str | int, ...]]:
        """The paths within `value` that a secret type takes, or that nothing takes and a secret is called like."""
        yield from self._iter_secrets(value, (), self._secret_fields)

    def _iter_secrets(
        self, value: Any, path: tuple[str | int, ...], names: frozenset[str]
    ) -> Iterator[tuple[str | int, ...]]:
        if self.is_secret:
            yield path
        elif self.core["type"] in ("union", "tagged-union"):
            is_named = isinstance(value, Mapping) and self.discriminator in value
            named = self.narrow(value) if is_named else self
            for member in self.alternatives if named is self else (named,):
                yield from member._iter_secrets(value, path, names)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if (shape := self.step(key)) is not None:
                    yield from shape._iter_secrets(item, (*path, key), names)
                elif key in names:
                    yield (*path, key)
        elif isinstance(value, (list, tuple)):
            for index, item in enumerate(value):
                if (shape := self.step(index)) is not None:
                    yield from shape._iter_secrets(item, (*path, index), names)

    @cached_property
    def secret_names(self) -> frozenset[str]:
        """The keys of fields, at any depth, that take secrets wherever they stand, or lists or mappings of some.

        One that is plain elsewhere, as the address of a server is beside one with a password in it, is none.
        """
        names = self._secret_fields
        fields = ((name, each) for shape in self.iter_all() for name, each in shape.fields.items() if name in names)
        return names - {name for name, each in fields if not each.holds_secret()}

    @cached_property
    def _secret_fields(self) -> frozenset[str]:
        """The keys of all fields, at any depth, that a secret type takes, or a list or mapping of some."""
        fields = ((name, each) for shape in self.iter_all() for name, each in shape.fields.items())
        return frozenset(name for name, each in fields if each.holds_secret(sections=False))

    def holds_secret(self, *, sections: bool = True, seen: frozenset[int] = frozenset()) -> bool:
        """Whether it is a secret, a list or mapping of some, or a section that has one among its own fields.

        Args:
            sections: whether a section counts at all; one within a section never does.
            seen: the core schemas it is in, which may refer to themselves.
        """
        if self.is_secret:
            return True
        if not sections and self.core["type"] not in _HOLDERS:
            return False
        options = [each for each in self.iter_options() if id(each.core) not in seen]
        options = [each for each in options if sections or each.core["type"] in _HOLDERS]
        return any(each._has_secret_inside(sections and not each.fields, seen) for each in options)

    def _has_secret_inside(self, sections: bool, seen: frozenset[int]) -> bool:
        if any(is_secret_key(name) for name in self.fields):
            return True
        seen |= {id(self.core)}
        return any(each.holds_secret(sections=sections, seen=seen) for each in self.iter_inner())

    def iter_all(self) -> Iterator[Shape]:
        """The shape itself and all within it, each once."""
        seen: set[int] = set()
        pending = [self]
        while pending:
            shape = pending.pop()
            if id(shape.core) not in seen:
                seen.add(id(shape.core))
                yield shape
                pending += shape.iter_inner()

    def iter_inner(self) -> Iterator[Shape]:
        """The shapes one level further in: of fields, members, items and values."""
        yield from self.fields.values()
        yield from self.alternatives
        for name in ("items_schema", "keys_schema", "values_schema"):
            inner = self.core.get(name, ())
            yield from map(self._inner, inner if isinstance(inner, list) else [inner] if inner else [])

    def find_default(self) -> Any:
        """The default of a field, `...` when it has none or one that needs other fields' values."""
        for layer in self.layers:
            if layer["type"] == "default":
                if "default_factory" not in layer:
                    return layer.get("default", ...)
                return ... if layer.get("default_factory_takes_data") else layer["default_factory"]()
        return ...

    def _inner(self, schema: Schema | None) -> Shape:
        schema = schema or _ANY
        shape = self.inner.get(id(schema))  # it holds the schema, so that no other gets the same id
        if shape is None:
            shape = self.inner[id(schema)] = Shape(schema, self.definitions, self.chosen, self.inner)
        return shape

    def _label(self, schema: Schema) -> str:
        """The name pydantic-core gives a union's member."""
        try:
            whole: Any = {"type": "definitions", "schema": schema, "definitions": list(self.definitions.values())}
            return SchemaValidator(whole).title
        except SchemaError:  # a definition this part of the schema does not carry: the label stays unknown
            return str(schema["type"])


Shapes = tuple[Shape, ...]
"""What may be expected somewhere; nothing when that is not known."""


def enter(shapes: Shapes, item: str | int) -> Shapes:
    """What may be expected under a key or index of what `shapes` take."""
    inner = (option.step(item) for shape in shapes for option in shape.iter_options())
    return tuple(each for each in inner if each is not None)


def enter_path(shapes: Shapes, path: Iterable[str | int]) -> Shapes:
    """As `enter`, for every item of a path in turn."""
    for item in path:
        shapes = enter(shapes, item)
    return shapes


def keeps_secret(layer: Schema) -> bool:
    """Whether a layer makes Pydantic's `SecretStr`, `SecretBytes` or `Secret`: the last says so where it is written."""
    if hasattr(layer.get("function", {}).get("function"), "get_secret_value"):
        return True
    written = layer.get("serialization", {}).get("function")
    return getattr(written, "__module__", "") == "pydantic.types" and "secret" in getattr(written, "__qualname__", "")


def _list_aliases(attribute: Schema) -> list[str]:
    """The keys by which a field is found in its mapping: one, or several choices; of paths alone their first keys."""
    alias = attribute.get("validation_alias", ())
    if isinstance(alias, str):
        return [alias]
    paths = alias if alias and isinstance(alias[0], list) else [alias] if alias else []
    return [path[0] for path in paths if len(path) == 1] or list(dict.fromkeys(path[0] for path in paths))


def _find_held(attribute: Schema) -> Schema:
    """What stands under a field's key: where its value is taken from further in, anything."""
    alias = attribute.get("validation_alias", "")
    paths = [alias] if isinstance(alias, str) or not isinstance(alias[0], list) else alias
    if any(isinstance(path, str) or len(path) == 1 for path in paths):
        return attribute
    return _ANY_OR_DEFAULT if attribute["schema"]["type"] == "default" else _ANY
