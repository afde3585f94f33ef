"""Which key an option names, and which it may have meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tidemill.config.cli.options import INDEX, KEY, LISTS, Option, is_flag, spell_option
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.shapes.shape import Shape, Shapes, enter
from tidemill.config.wording.suggest import find_near, list_names, suggest


@dataclass(frozen=True, slots=True)
class Target:
    """The key that an option names.

    Attributes:
        shapes: what may be expected there; nothing where anything goes.
    """

    path: KeyPath
    shapes: Shapes


def find_target(label: str, shapes: Shapes) -> Target | None:
    """The key that `optim.lr` names; None when there is none.

    `-` and `_` are alike in the keys of fields. A key of a mapping with free keys may itself hold dots.
    """
    return _search(tuple(label.split(".")), shapes)


def strip_no(label: str) -> str:
    """`optim.nesterov` of `no-optim.nesterov` and of `optim.no-nesterov`; empty when neither is said."""
    *above, last = label.split(".")
    for word, before in (label, ""), (last, "".join(f"{each}." for each in above)):
        if word[:3] in ("no-", "no_"):
            return f"{before}{word[3:]}"
    return ""


def find_negated(label: str, shapes: Shapes) -> Target | None:
    """The key that a label with `no-` says is false; None when it says that of none."""
    target = find_target(strip_no(label), shapes) if strip_no(label) else None
    return target if target is not None and is_flag(target.shapes) else None


def explain_unknown(label: str, shapes: Shapes, options: Sequence[Option]) -> tuple[str, Target | None]:
    """The mend for an option that names no key, and the key it most likely means; None when no one key is near.

    Args:
        options: all there are: a key that stands elsewhere is found by its last part.
    """
    if strip_no(label):
        target = _explain(strip_no(label), shapes, options)[1]
        if target is not None and is_flag(target.shapes):
            return f"did you mean `--no-{join_path(target.path)}`?", target
    return _explain(label, shapes, options)


def _explain(label: str, shapes: Shapes, options: Sequence[Option]) -> tuple[str, Target | None]:
    parts = label.split(".")
    above, inside = _find_above(parts, shapes)
    known = list(dict.fromkeys(name for option in _iter_options(inside) for name in option.fields))
    name = parts[min(len(above), len(parts) - 1)]
    elsewhere = [each for each in options if _fold(each.path[-1:]) == _fold((label,))]
    if len({each.path for each in elsewhere}) > 1:
        return f"did you mean {list_names(dict.fromkeys(each.name for each in elsewhere), ' or ')}?", None
    if elsewhere:
        path = elsewhere[0].path
        target = find_target(join_path(path), shapes)
        return _propose(path, elsewhere[0].shape), None if {KEY, INDEX} & set(path) else target
    near = find_near(name, known)
    if near is not None:
        inner = enter(inside, near)
        return _propose((*above, near), inner[0]), Target((*above, near), inner)
    return suggest(name, [spell_option((*above, each)) for each in known]), None


def _propose(path: KeyPath, shape: Shape) -> str:
    words = shape.describe_field()
    return f"did you mean `{spell_option(path)}`?{f'  ({words})' if words else ''}"


def _search(parts: tuple[str, ...], shapes: Shapes) -> Target | None:
    if not parts:
        return Target((), shapes)
    for size, item in _iter_items(parts, shapes):
        inner = enter(shapes, item)
        found = _search(parts[size:], inner) if inner else None
        if found is not None:
            return Target((item, *found.path), found.shapes)
    return Target(parts, ()) if any(map(_takes_more, _iter_options(shapes))) and all(parts) else None


def _iter_items(parts: tuple[str, ...], shapes: Shapes) -> Iterator[tuple[int, str | int]]:
    """What the first parts may mean: how many of them, and the key or index."""
    options = list(_iter_options(shapes))
    names = [name for option in options for name in option.fields]
    if parts[0] in names:
        yield 1, parts[0]
    yield from ((1, name) for name in names if _fold((name,)) == _fold(parts[:1]) and name != parts[0])
    kinds = {option.core["type"] for option in options}
    if kinds & LISTS and parts[0].isdecimal():
        yield 1, int(parts[0])
    if "dict" in kinds and all(parts):
        yield from ((size, ".".join(parts[:size])) for size in range(1, len(parts) + 1))


def _find_above(parts: list[str], shapes: Shapes) -> tuple[KeyPath, Shapes]:
    """The longest path that is known before the last part, and what is expected there."""
    for size in range(len(parts) - 1, 0, -1):
        found = _search(tuple(parts[:size]), shapes)
        if found is not None:
            return found.path, found.shapes
    return (), shapes


def _takes_more(option: Shape) -> bool:
    """True where keys may stand that no field names."""
    if option.core["type"] == "any":
        return True
    rules = [each.get("config", {}).get("extra_fields_behavior") for each in option.layers]
    return "allow" in [option.core.get("extra_behavior"), *rules]


def _iter_options(shapes: Shapes) -> Iterator[Shape]:
    for shape in shapes:
        yield from shape.iter_options()


def _fold(path: KeyPath) -> str:
    return join_path(path).replace("-", "_")
