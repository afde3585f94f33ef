"""A configuration value by value: what each is, where it came from, and how two configurations differ."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml
from pydantic import BaseModel, SecretBytes, SecretStr
from pydantic_core import PydanticSerializationError

from tidemill.config.exports.plain import to_plain
from tidemill.config.layers.document import Document
from tidemill.config.layers.lookup import expect, find_node, find_path, step
from tidemill.config.layers.origins import Origin, origin_of
from tidemill.config.members import iter_members
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.schemas.docstrings import describe_fields
from tidemill.config.secrets import MASK, is_secret_key, mask_value
from tidemill.config.shapes.membership import choose_members, explain_member, name_member
from tidemill.config.shapes.shape import Shape, Shapes, enter, enter_path
from tidemill.config.text.nodes import Mapping as MappingNode
from tidemill.config.text.nodes import Node
from tidemill.config.text.nodes import Sequence as SequenceNode
from tidemill.config.wording.suggest import suggest
from tidemill.config.wording.words import describe_value
from tidemill.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Entry:
    """One value: a scalar, a list of scalars, or a mapping or list with nothing in it; secrets masked.

    Attributes:
        digest: of a masked value what tells it from another one, within this process; never written down.
    """

    path: KeyPath
    value: Any
    origin: Origin
    digest: str = field(default="", repr=False)

    @property
    def key(self) -> str:
        """The key path, as `--set` takes it."""
        return join_path(self.path)


@dataclass(frozen=True, slots=True)
class Explanation:
    """All there is to know of one key.

    Attributes:
        description: what its docstring says; empty when there is none.
        expected: what it takes, as `number > 0, default 0.0001`.
        entries: its value, or those below it, each with its origin.
        note: of a key that the section does not have, which kinds of the section do; empty for any other.
    """

    key: str
    description: str
    expected: str
    entries: tuple[Entry, ...]
    note: str = ""


def list_entries(document: Document, shape: Shape, taken: Any = None, *, defaults: bool = True) -> list[Entry]:
    """Every value of a valid configuration, in the order of the sources, defaults behind what was given.

    Args:
        taken: what was made of the document; values are then listed as they were taken, not as they were given.
        defaults: list fields that no source gives, too.
    """
    if document.root is None:
        return []
    known = choose_members(shape, document.value)
    return list(_Lister(document, defaults=defaults).iter_entries((known,), document.root, (), taken))


def find_changes(old: Sequence[Entry], new: Sequence[Entry]) -> list[tuple[Entry | None, Entry | None]]:
    """The values that differ, each as it was and as it is; None where there was or is none."""
    before, after = ({each.path: each for each in entries} for entries in (old, new))
    keys = [*before, *(path for path in after if path not in before)]
    pairs = ((before.get(path), after.get(path)) for path in keys)
    return [(one, other) for one, other in pairs if one is None or other is None or _differ(one, other)]


def _differ(one: Entry, other: Entry) -> bool:
    """Whether two values differ; secrets, where both are at hand: a saved run keeps none."""
    if one.digest and other.digest:
        return one.digest != other.digest
    return bool(one.value != other.value)


def describe_change(old: Entry | None, new: Entry | None) -> str:
    """A difference in a line: what it was, what it is, each with where it came from."""
    key = next(each.key for each in (old, new) if each is not None)
    is_other = old is not None and new is not None and bool(old.digest and old.value == new.value)
    return f"{key}: {_show_side(old)} → {'another ' if is_other else ''}{_show_side(new)}"


def _show_side(entry: Entry | None) -> str:
    return "not there" if entry is None else f"{show_yaml(entry.value)} [{entry.origin}]"


def show_yaml(value: Any) -> str:
    """A value as one line of YAML; a secret as its mask."""
    if value == MASK:
        return MASK
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def explain_key(document: Document, shape: Shape, key: str, taken: Any = None) -> Explanation:
    """What the key at a dotted path means, takes and holds.

    Raises:
        ConfigError: there is no such key.
    """
    shape = choose_members(shape, document.value)
    path = find_path(document.root, key)
    entries = [each for each in list_entries(document, shape, taken) if each.path[: len(path)] == path]
    expected = expect((shape,), document.root, path)
    if not entries and not expected:
        raise _unknown_key(document, shape, path)
    words = expected[0].describe_field() if expected else ""
    note = _find_note(document, shape, path)
    return Explanation(join_path(path), _find_description(document, shape, path), words, tuple(entries), note)


class _Lister:
    """Goes through values and what is expected of them side by side."""

    def __init__(self, document: Document, *, defaults: bool) -> None:
        self.document = document
        self.defaults = defaults

    def iter_entries(
        self, shapes: Shapes, node: Node, path: KeyPath, taken: Any, default: Any = None
    ) -> Iterator[Entry]:
        """The values at and below `node`; what a section leaves out is what its `default` as a whole has."""
        target = node.follow()
        if isinstance(target, MappingNode) and (target.pairs or self.defaults):
            entries = list(self._iter_section(shapes, target, path, taken, default))
            yield from entries or [Entry(path, {}, origin_of(node))]
        elif isinstance(target, SequenceNode) and any(not _is_scalar(item) for item in target.items):
            made = dict(iter_members(taken))
            for index, item in enumerate(target.items):
                yield from self.iter_entries(enter(shapes, index), item, (*path, index), made.get(index))
        else:
            value = _show(node.to_value(), taken)
            yield _conceal(path, value, origin_of(node), hidden=self.document.is_secret(path))

    def _iter_section(
        self, shapes: Shapes, node: MappingNode, path: KeyPath, taken: Any, default: Any
    ) -> Iterator[Entry]:
        held, tag = _keep_default(default, node, shapes)
        made = dict(iter_members(taken))
        for key, (_, value) in node.pairs.items():
            inner = enter(shapes, key)
            whole = held[key] if key in held else next((each.find_default() for each in inner), None)
            yield from self.iter_entries(inner, value, (*path, key), made.get(key), whole)
        for name, inside in _iter_fields(shapes, tag | node.to_value()) if self.defaults else ():
            if step(node, name) is None:
                yield from self._iter_default(held.get(name, inside.find_default()), (*path, name), (inside,))

    def _iter_default(self, value: Any, path: KeyPath, shapes: Shapes) -> Iterator[Entry]:
        if isinstance(value, BaseModel):
            tag = name_member(shapes, value)
            yield from (Entry((*path, key), name, Origin()) for key, name in tag.items())
            for key, held in iter_members(value):
                if key not in tag:
                    yield from self._iter_default(held, (*path, key), enter(shapes, key))
        elif isinstance(value, Mapping) and value:
            for key, item in value.items():
                yield from self._iter_default(item, (*path, key), enter(shapes, key))
        elif isinstance(value, (list, tuple)) and any(isinstance(each, (BaseModel, Mapping)) for each in value):
            for index, item in enumerate(value):
                yield from self._iter_default(item, (*path, index), enter(shapes, index))
        elif value is not ...:
            is_wrapped = isinstance(value, (SecretStr, SecretBytes))
            plain = value.get_secret_value() if is_wrapped else _to_plain(value)
            is_secret = is_wrapped or any(each.holds_secret(sections=False) for each in shapes)
            yield _conceal(path, plain, Origin(), hidden=is_secret or any(is_secret_key(str(each)) for each in path))


def _keep_default(default: Any, node: MappingNode, shapes: Shapes) -> tuple[dict[Any, Any], dict[str, Any]]:
    """What a section given as `node` keeps of its default, and the default's tag: nothing of another member's."""
    if not isinstance(default, BaseModel):
        return {}, {}
    given, tag = node.to_value(), name_member(shapes, default)
    is_kept = all(given.get(key, name) == name for key, name in tag.items())
    return (dict(iter_members(default)), tag) if is_kept else ({}, {})


def _iter_fields(shapes: Shapes, value: Any) -> Iterator[tuple[str, Shape]]:
    """The fields of what the mapping is; of several things it could be, or of what takes one key alone, none."""
    options = [option for shape in shapes for option in _choose(shape, value) if option.fields]
    if len(options) == 1 and not options[0].takes_one_key:
        yield from options[0].fields.items()


def _choose(shape: Shape, value: Any) -> Iterator[Shape]:
    """What a value of `shape` is, as far as its tag says."""
    member = shape.narrow(value) if shape.discriminator is not None else shape
    if member is not shape or shape.discriminator is None:
        yield from member.iter_options()


def _show(given: Any, taken: Any) -> Any:
    """A value as it was taken where a file can have it so, else as it was given; both as plain data."""
    if isinstance(taken, (list, tuple)) and isinstance(given, list) and len(taken) == len(given):
        return [_show(*pair) for pair in zip(given, taken, strict=True)]
    if taken is None or isinstance(taken, (BaseModel, Mapping, list, tuple, set, frozenset, SecretStr, SecretBytes)):
        return _to_plain(given)
    try:
        plain = to_plain(taken)
    except PydanticSerializationError:
        return _to_plain(given)
    is_same = plain == given and isinstance(plain, bool) is isinstance(given, bool)
    return given if is_same else plain


def _is_scalar(node: Node) -> bool:
    return not isinstance(node.follow(), (MappingNode, SequenceNode))


def _conceal(path: KeyPath, value: Any, origin: Origin, *, hidden: bool) -> Entry:
    """The entry of a value as it may be shown."""
    empty = value is None or isinstance(value, bool)
    shown = MASK if hidden and not empty else mask_value(value)
    digest = hashlib.sha256(_SALT + repr(value).encode()).hexdigest() if shown != value else ""
    return Entry(path, shown, origin, digest)


_SALT = os.urandom(16)
"""So that a digest says nothing outside of this process."""


def _to_plain(value: Any) -> Any:
    """A value as a file has it; of what no file can hold a description."""
    if isinstance(value, Mapping):
        return {str(key): _to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_to_plain(item) for item in value]
    try:
        return to_plain(value)
    except PydanticSerializationError:
        return describe_value(value)


def _find_description(document: Document, root: Shape, path: KeyPath) -> str:
    *above, name = path
    for shape in expect((root,), document.root, tuple(above)):
        for option in shape.iter_options():
            for layer in option.layers:
                if isinstance(cls := layer.get("cls"), type):
                    return describe_fields(cls).get(str(name), "")
    return ""


def _find_note(document: Document, root: Shape, path: KeyPath) -> str:
    *above, name = path
    shapes = expect((root,), document.root, tuple(above))
    node = find_node(document.root, above)
    for shape in shapes:
        value = node.to_value() if node is not None else name_member((shape,), shape.find_default())
        if note := explain_member((shape,), next(_choose(shape, value), None), str(name)):
            return note
    return ""


def _unknown_key(document: Document, shape: Shape, path: KeyPath) -> ConfigError:
    known = [each.key for each in list_entries(document, shape)]
    known += [join_path((*path[:-1], name)) for each in enter_path((shape,), path[:-1]) for name in each.fields]
    return ConfigError(f"there is no key `{join_path(path)}`", hint=suggest(join_path(path), dict.fromkeys(known)))
