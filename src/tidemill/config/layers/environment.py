"""Variables of the environment that set keys: `TRAIN__OPTIM__LR=3e-4`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tidemill.config.layers.lookup import find_node, takes_index
from tidemill.config.layers.overrides import Override
from tidemill.config.paths import KeyPath, join_path
from tidemill.config.shapes.shape import Shapes, enter, enter_path
from tidemill.config.text.nodes import Mapping as MappingNode
from tidemill.config.text.nodes import Node
from tidemill.config.wording.suggest import find_near
from tidemill.errors import Place, Problem

SEPARATOR = "__"


def read_environment(
    prefix: str, environ: Mapping[str, str], shapes: Shapes, root: Node | None
) -> tuple[list[Override], list[Problem]]:
    """What the variables `PREFIX__KEY__KEY` set, sections and tags before what is in them; and those that name no key.

    Case does not count, nor do underscores at the end of the prefix. Under a mapping with free keys a name means the
    key that is there, else it is taken in lower case. `PREFIX_KEY`, with one underscore, is refused where there is such
    a key at the top and no `PREFIX__KEY`: it would set nothing.
    """
    found: dict[KeyPath, Override] = {}
    start = spell_variable(prefix).casefold()
    problems = [
        Problem("sets nothing", Place(f"environment {name}"), hint=f"did you mean {meant}?")
        for name, meant in _iter_short(start, environ, shapes)
    ]
    for name in sorted(environ):
        if not name.casefold().startswith(start):
            continue
        label = f"environment {name}"
        path, hint = _find_path(name, len(start), shapes, root)
        if path is None:
            problems.append(Problem("unknown", Place(label), hint=hint))
        elif path in found:
            problems.append(Problem(f"sets what {found[path].name} sets", Place(label), path, hint="keep one of them"))
        else:
            found[path] = Override(path, environ[name], label, "environment")
    return sorted(found.values(), key=lambda each: (len(each.path), not _is_tag(each.path, shapes))), problems


def spell_variable(prefix: str, path: KeyPath = ()) -> str:
    """The variable that sets what stands at `path`; without one, what all of them begin with.

    >>> spell_variable("TRAIN", ("optim", "lr"))
    'TRAIN__OPTIM__LR'
    """
    return SEPARATOR.join([prefix.rstrip("_"), *(str(item).upper() for item in path or ("",))])


def _iter_short(start: str, environ: Mapping[str, str], shapes: Shapes) -> Iterator[tuple[str, str]]:
    """The variables that have one underscore too few for a key at the top, each with the one that would set it."""
    given = {name.casefold(): name for name in environ}
    for key, _ in _iter_keys(shapes, None, ()):
        short = given.get(f"{start[:-1]}{key}")
        if short is not None and f"{start}{key}" not in given:
            yield short, f"{short[: len(start) - 1]}_{short[len(start) - 1 :]}"


def _find_path(name: str, start: int, shapes: Shapes, root: Node | None) -> tuple[KeyPath | None, str]:
    """The key path a variable's name means; None when it means none, and what it may have meant."""
    path: KeyPath = ()
    done = name[:start]
    for part in name[start:].split(SEPARATOR):
        known = dict(_iter_keys(shapes, root, path))
        item = known.get(_fold(part)) or _free_key(part, shapes)
        if item is None:
            near = find_near(f"{done}{part}".upper(), [f"{done}{each}".upper() for each in known])
            listed = ", ".join(f"{done}{each}".upper() for each in known)
            above = f"`{join_path(path)}` is no section" if path else ""
            return None, f"did you mean {near}?" if near else f"known: {listed}" if known else above
        path, shapes, done = (*path, item), enter(shapes, item), f"{done}{part}{SEPARATOR}"
    return path, ""


def _iter_keys(shapes: Shapes, root: Node | None, path: KeyPath) -> Iterator[tuple[str, str]]:
    """The keys there may be at `path` and those there are, under their folded names."""
    for shape in shapes:
        for option in shape.iter_options():
            yield from ((_fold(name), name) for name in (*option.fields, *option.aliases))
    node = find_node(root, path)
    target = node.follow() if node is not None else None
    if isinstance(target, MappingNode) and any(_free_key("x", (shape,)) for shape in shapes):
        yield from ((_fold(key), key) for key in target.pairs if isinstance(key, str))


def _free_key(part: str, shapes: Shapes) -> str | int | None:
    """The key or index that `part` is where keys are free; None where they are not."""
    if part.isdecimal() and takes_index(shapes):
        return int(part)
    kinds = {option.core["type"] for shape in shapes for option in shape.iter_options()}
    return part.lower() if part and kinds & {"dict", "any"} else None


def _is_tag(path: KeyPath, shapes: Shapes) -> bool:
    """Whether a union's member is named here."""
    unions = (union for shape in enter_path(shapes, path[:-1]) for union in shape.iter_unions())
    return any(union.discriminator == path[-1] for union in unions)


def _fold(name: str) -> str:
    return name.replace("-", "_").casefold()
