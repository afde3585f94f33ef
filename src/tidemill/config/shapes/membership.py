"""Members of tagged unions: those of open ones that only a value names, and what a value's own is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from tidemill.config.shapes.shape import Shape, Shapes, enter
from tidemill.config.shapes.tags import Tag
from tidemill.config.wording.suggest import list_names

Chosen = dict[tuple[Tag, str], Shape]


def choose_members(shape: Shape, value: Any, context: Mapping[str, Any] | None = None) -> Shape:
    """`shape`, knowing the members of its open unions that `value` names, and no others: their classes are loaded.

    One that cannot be loaded stays unknown: validation says why.

    Args:
        context: what validators see; in its `folder` the modules of import paths are sought first.
    """
    if not shape.has_open:
        return shape
    chosen: Chosen = {}
    folder = (context or {}).get("folder")
    _gather(shape.with_chosen({}), value, None if folder is None else Path(folder), chosen)
    return shape.with_chosen(chosen)


def _gather(shape: Shape, value: Any, folder: Path | None, chosen: Chosen) -> None:
    """Add to `chosen` what `value` and all within it name."""
    for union in shape.iter_unions():
        if (found := _find_member(union, value, folder, chosen)) is not None:
            _gather(found, value, folder, chosen)
    if isinstance(value, Mapping):
        pairs = list(value.items())
    else:
        pairs = list(enumerate(value)) if isinstance(value, (list, tuple)) else []
    for key, item in pairs:
        for inner in enter((shape,), key):
            _gather(inner, item, folder, chosen)


def _find_member(union: Shape, value: Any, folder: Path | None, chosen: Chosen) -> Shape | None:
    """The member that `value` names, of an open union that does not know it; it is added to `chosen`."""
    tag = union.tag
    if tag is None or tag.finder is None or not isinstance(value, Mapping):
        return None
    name = value.get(tag.key, tag.default)
    if not isinstance(name, str) or name in union.members:
        return None
    try:
        member = Shape.of(tag.finder.find_schema(name, folder)).members[name]
    except PydanticCustomError:
        return None
    chosen[tag, name] = member.with_chosen(chosen)
    return member


def name_member(shapes: Shapes, value: Any) -> dict[str, Any]:
    """The key and the tag of an instance of a tagged union's member; nothing of anything else."""
    unions = (union for shape in shapes for union in shape.iter_unions())
    named = ((union.discriminator, union.find_tag(value)) for union in unions)
    return next(({key: tag} for key, tag in named if key is not None and tag is not None), {})


def explain_member(shapes: Shapes, own: Shape | None, name: str) -> str:
    """Which members of a tagged union have the key `name` that its member `own` lacks; empty where none has."""
    for union in (union for shape in shapes for union in shape.iter_unions()):
        tags = [tag for tag, member in union.members.items() if _has_field(member, name)]
        mine = next((tag for tag, member in union.members.items() if own and _is_member(own, member)), None)
        if tags and mine is not None and mine not in tags:
            named = list_names([f"{union.discriminator}: {tag}" for tag in tags], " or ")
            return f"`{name}` is a key of {named}; this section is `{mine}`"
    return ""


def _has_field(member: Shape, name: str) -> bool:
    return any(name in option.fields for option in member.iter_options())


def _is_member(own: Shape, member: Shape) -> bool:
    return any(option.core is own.core for option in member.iter_options())
