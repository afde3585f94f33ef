"""The options that a configuration gives a command line: one for every key."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tidemill.config.paths import KeyPath, join_path
from tidemill.config.schemas.docstrings import describe_class, describe_fields
from tidemill.config.secrets import is_secret_key
from tidemill.config.shapes.shape import Shape, Shapes

KEY, INDEX = "KEY", "N"
"""What stands in a path where any key of a mapping, and any index of a list, may."""

MAX_SECTIONS = 16
"""How many sections of one class are listed: types that hold each other have no end of them."""

RESERVED = frozenset({"help", "set", "completion"})
"""Options of every command line; a key of this name is given as `help=…`."""

LISTS = frozenset({"list", "tuple", "set", "frozenset", "generator"})
"""The types in a core schema whose values are written as lists."""


@dataclass(frozen=True, slots=True)
class Option:
    """One key that a command line can set.

    Attributes:
        path: where it stands; `KEY` and `N` stand for any key and any index.
        shape: what is expected there.
        description: what its author wrote of it; empty where that is nothing.
        default: the value where none is given; `...` where there is none, or none that is known before.
    """

    path: KeyPath
    shape: Shape
    description: str = ""
    default: Any = ...

    @property
    def name(self) -> str:
        """As it is typed: `--optim.lr`."""
        return spell_option(self.path)

    @property
    def is_flag(self) -> bool:
        return is_flag((self.shape,))

    @property
    def is_required(self) -> bool:
        layers = self.shape.layers
        return layers[0].get("required") is not False and not any(each["type"] == "default" for each in layers)

    @property
    def is_secret(self) -> bool:
        return self.shape.is_secret or any(isinstance(item, str) and is_secret_key(item) for item in self.path)


@dataclass(frozen=True, slots=True)
class Section:
    """The options of one mapping.

    Attributes:
        title: its path, and of a union's member what tells it from the others; empty for the root.
        description: what its class says of itself.
    """

    title: str
    description: str
    options: tuple[Option, ...]


def spell_option(path: KeyPath) -> str:
    """`--optim.lr`, as a command line takes it; `help=` of a key that is named as an option of every command line."""
    label = join_path(path)
    return f"{label}=" if label in RESERVED else f"--{label}"


def is_flag(shapes: Shapes) -> bool:
    """True where a value is true or false, and perhaps others: the option's name alone says true."""
    return any(option.core["type"] == "bool" for shape in shapes for option in shape.iter_options())


def is_list(shapes: Shapes) -> bool:
    """True where every value is a list, whatever its items."""
    kinds = [option.core["type"] for shape in shapes for option in shape.iter_options()]
    return bool(kinds) and all(kind in LISTS for kind in kinds)


def find_class(shape: Shape) -> Any:
    """The class whose fields a mapping has; None where there is none."""
    found = [each.get("cls") for each in shape.layers if each["type"] in ("model", "dataclass", "typed-dict")]
    return found[0] if found else None


@dataclass(frozen=True, slots=True)
class _Mapping:
    """A mapping with known keys that may have a section.

    Attributes:
        default: its own as a whole; `...` where there is none.
        above: what it lies within: classes, or the ids of schemas that have none.
        order: its position among those beside it, and of each above it.
    """

    shape: Shape
    path: KeyPath = ()
    title: str = ""
    default: Any = ...
    above: tuple[Any, ...] = ()
    order: tuple[int, ...] = ()

    @property
    def kind(self) -> Any:
        return find_class(self.shape) or id(self.shape.core)


def list_sections(shape: Shape) -> list[Section]:
    """The root's options, then those of each mapping below it, in the order of the fields."""
    found: list[tuple[tuple[int, ...], Section]] = []
    counts: Counter[Any] = Counter()
    pending = deque([_Mapping(shape)])
    while pending:  # those less deep first: they are listed though what holds itself has more than can be
        each = pending.popleft()
        counts[each.kind] += 1
        if each.kind in each.above or counts[each.kind] > MAX_SECTIONS:
            continue
        options = _list_options(each)
        own = tuple(option for option in options if not _is_section(option.shape))
        if own or not each.path:
            cls = find_class(each.shape)
            found.append((each.order, Section(each.title, describe_class(cls) if cls is not None else "", own)))
        pending += _iter_below(each, options)
    return [section for _, section in sorted(found, key=lambda pair: pair[0])]


def _iter_below(mapping: _Mapping, options: list[Option]) -> Iterator[_Mapping]:
    above = (*mapping.above, mapping.kind)
    below = ((option, *inner) for option in options for inner in _iter_inner(option.shape, option.path))
    for position, (option, inner, path, title) in enumerate(below):
        default = option.default if path == option.path and _holds(inner, option) else ...
        yield _Mapping(inner, path, title, default, above, (*mapping.order, position))


def _holds(member: Shape, option: Option) -> bool:
    """True when the default of `option` is of this member of what it takes."""
    cls = find_class(member)
    if isinstance(cls, type) and not isinstance(option.default, Mapping):
        return isinstance(option.default, cls)
    return len([each for each in option.shape.iter_options() if each.fields]) == 1


def _list_options(mapping: _Mapping) -> list[Option]:
    shape, default = mapping.shape, mapping.default
    if not shape.fields:
        return []
    described = describe_fields(find_class(shape)) if find_class(shape) is not None else {}
    names = {key: name for name, key in shape.keys.items()}
    options = []
    for key, inner in shape.fields.items():
        name = names.get(key, key)
        own = default.get(key, ...) if isinstance(default, Mapping) else getattr(default, name, ...)
        value = inner.find_default() if own is ... else own
        options.append(Option((*mapping.path, key), inner, described.get(name, ""), value))
    return options


def _iter_inner(shape: Shape, path: KeyPath) -> Iterator[tuple[Shape, KeyPath, str]]:
    """The mappings with known keys within what `shape` takes: each with its path and its title."""
    members = [each for each in shape.iter_options() if each.fields]
    for member in members:
        label = _find_label(member, shape) if len(members) > 1 else ""
        yield member, path, f"{join_path(path)}{label}"
    for option in shape.iter_options():
        kind = option.core["type"]
        item = KEY if kind == "dict" else INDEX
        inner = option.step(item if kind == "dict" else 0) if kind in LISTS | {"dict"} else None
        if inner is not None:
            yield from _iter_inner(inner, (*path, item))


def _find_label(member: Shape, union: Shape) -> str:
    """What tells a union's member from the others: its tag, else its class."""
    if union.discriminator is not None:
        tags = [tag for tag, each in union.members.items() if member.core in (one.core for one in each.iter_options())]
        return f", {union.discriminator} {' or '.join(tags)}" if tags else ", another plug-in"
    cls = find_class(member)
    return f", {cls.__name__}" if cls is not None else ""


def _is_section(shape: Shape) -> bool:
    """True of a mapping with known keys and nothing else: it is set key by key."""
    options = list(shape.iter_options())
    is_optional = any(each["type"] == "nullable" for each in shape.layers)
    return not is_optional and all(option.fields for option in options) and bool(options)
