"""Planting mistakes in a valid tree, and where each must then be reported."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from planted_schema import Section, draw_seed, mistype
from planted_tree import Again, Branch, Leaf, Mistake, Node, Pair, Series, has_mistake
from planted_words import count_edits

KeyPath = tuple[str | int, ...]
Options = dict[str, list[Callable[[], None]]]
"""What can be done, by the kind of mistake; `null` is a type of its own here."""


def repeat_values(root: Branch, rng: random.Random) -> None:
    """Let some values stand for others of their kind by an alias, or take their pairs by a merge key."""
    for number in range(rng.randint(1, 3)):
        chosen = _choose_repeat(root, rng)
        if chosen is None:
            return
        target, holder, node = chosen
        target.anchor = target.anchor or rng.choice(("a", "base", "shared-", "x_")) + str(number)
        again = Again(draw_seed(rng), target=target)
        sections = {each.section for each in (target, node) if isinstance(each, Branch) and each.section}
        if isinstance(node, Branch) and len(sections) == 1 and not node.merged and rng.random() < 0.5:
            node.pairs = [pair for pair in node.pairs if pair.node.is_tag or rng.random() < 0.5]
            node.merged = [again]
        elif isinstance(holder, Pair):
            holder.node = again
        else:
            holder.items[holder.items.index(node)] = again


def _choose_repeat(root: Branch, rng: random.Random) -> tuple[Node, Pair | Series, Node] | None:
    """What may be referred to, and a later value that may be replaced, with what holds it."""
    places = list(_iter_places(root))
    order = {id(node): number for number, node in enumerate(root.iter_all())}
    pairs = [
        (target, holder, node)
        for _, target in places
        for holder, node in places
        if target.kind is node.kind is not None
        and order[id(target)] + sum(1 for _ in target.iter_all()) <= order[id(node)]
        and not isinstance(target, Again)
        and not isinstance(node, Again)
        and not node.is_tag
        and not any(each.anchor for each in node.iter_all())
    ]
    return rng.choice(pairs) if pairs else None


def _iter_places(node: Node) -> Iterator[tuple[Pair | Series, Node]]:
    """Every value with the pair or list that holds it."""
    if isinstance(node, Branch):
        held: list[tuple[Pair | Series, Node]] = [(pair, pair.node) for pair in node.pairs]
    else:
        held = [(node, item) for item in node.items] if isinstance(node, Series) else []
    for holder, each in held:
        yield holder, each
        yield from _iter_places(each)


def drop_nulls(root: Branch) -> None:
    """Leave out what is null: TOML has none."""
    for node in root.iter_all():
        if isinstance(node, Branch):
            node.pairs = [
                pair for pair in node.pairs if not isinstance(pair.node, Leaf) or pair.node.written is not None
            ]


def plant(root: Branch, rng: random.Random, count: int, *, takes_null: bool = True) -> None:
    """Make up to so many mistakes, each where the others do not hide it."""
    for _ in range(count):
        options: Options = {}
        _find_options(root, rng, options)
        if not takes_null:
            options.pop("null", None)
        if options:
            rng.choice(options[rng.choice(list(options))])()


def _find_options(node: Node, rng: random.Random, options: Options) -> None:
    """What can be done within `node`; nothing below what is wrong already."""
    if node.mistake or isinstance(node, Again):
        return
    if isinstance(node, Series):
        for index, item in enumerate(node.items):
            _find_wrong(item, rng, options, partial(node.items.__setitem__, index))
            _find_options(item, rng, options)
    if not isinstance(node, Branch) or node.is_untold():
        return
    for pair in node.pairs:
        if pair.mistake is None:
            is_required = pair.required or node.section is None
            _find_wrong(pair.node, rng, options, partial(setattr, pair, "node"), node, is_required=is_required)
            _find_key_mistakes(node, pair, rng, options)
            _find_options(pair.node, rng, options)


def _find_wrong(
    node: Node,
    rng: random.Random,
    options: Options,
    put: Callable[[Node], None],
    holder: Branch | None = None,
    *,
    is_required: bool = True,
) -> None:
    """The ways to put something wrong for a whole value; of a tag only where nothing else beside it is wrong."""
    if _is_needed(node) or isinstance(node, Again) or node.kind is None:
        return
    if node.is_tag and holder is not None and (has_mistake(holder) or holder.merged):
        return
    if isinstance(node.kind, Section) and node.is_tag:
        return
    if holder is None or is_required:
        options.setdefault("null", []).append(lambda: put(node.kind.wrong_null(rng)))
    for kind, make in node.kind.spoil(rng):
        options.setdefault(kind, []).append(lambda make=make: put(make()))  # type: ignore[misc]


def _is_needed(node: Node) -> bool:
    """Whether it holds what is referred to from elsewhere, or a mistake."""
    return has_mistake(node) or any(each.anchor for each in node.iter_all())


def _find_key_mistakes(branch: Branch, pair: Pair, rng: random.Random, options: Options) -> None:
    section = branch.section
    if [each.name for each in branch.pairs].count(pair.name) == 1:
        options.setdefault("duplicate", []).append(lambda: _repeat(branch, pair, rng))
        if section is not None and not (pair.node.is_tag and has_mistake(branch)):
            options.setdefault("typo", []).append(lambda: _mistype(branch, section, pair, rng))
        merged = any(pair.name in each.effective() for each in branch.iter_merged())
        is_alone = not pair.node.is_tag or not (has_mistake(branch) or branch.merged)
        if pair.required and is_alone and not merged and not _is_needed(pair.node) and not _is_near(branch, pair.name):
            options.setdefault("missing", []).append(lambda: _leave_out(branch, pair))


def _is_near(branch: Branch, name: str) -> bool:
    """Whether a mistyped key of the mapping could be taken for `name`."""
    return any(pair.mistake and count_edits(pair.name, name) < 4 for pair in branch.effective().values())


def _repeat(branch: Branch, pair: Pair, rng: random.Random) -> None:
    """Write the key once more, further down, with another value, which counts for nothing."""
    node = Leaf(draw_seed(rng), rng.choice((1, "again", True)))
    again = Pair(pair.name, node, draw_seed(rng), mistake=Mistake("duplicate"))
    branch.pairs.insert(rng.randint(branch.pairs.index(pair) + 1, len(branch.pairs)), again)


def _mistype(branch: Branch, section: Section, pair: Pair, rng: random.Random) -> None:
    while True:
        typo = mistype(rng, pair.name, [*section.names, *branch.effective()])
        if not any(count_edits(typo, name) < 4 for name in branch.all_lacking()):
            break
        if len(pair.name) < 6:
            return
    pair.mistake = Mistake("typo", pair.name)
    pair.name = typo


def _leave_out(branch: Branch, pair: Pair) -> None:
    branch.pairs.remove(pair)
    branch.lacking[pair.name] = Mistake("missing", pair.name)


@dataclass(frozen=True)
class Expected:
    """One problem that must be reported.

    Attributes:
        at: what stands at the place: a key, or a value; `is_whole` is whether its first line is marked.
        path: the key path; of a key given twice none is told.
        first: of a key given twice the first.
    """

    mistake: Mistake
    at: Node | Pair
    path: KeyPath
    name: str = ""
    is_whole: bool = True
    first: Pair | None = None


def list_expected(root: Branch) -> list[Expected]:
    """Every mistake that shows, once for each key path it shows at."""
    return [*_iter_repeated(root), *_iter_shown(root, (), None)]


def _iter_repeated(root: Node) -> Iterator[Expected]:
    for node in root.iter_all():
        if isinstance(node, Branch):
            for pair in node.pairs:
                if pair.mistake and pair.mistake.kind == "duplicate":
                    first = next(each for each in node.pairs if each.name == pair.name)
                    yield Expected(pair.mistake, pair, (), pair.name, first=first)


def _iter_shown(node: Node, path: KeyPath, key: Pair | None) -> Iterator[Expected]:
    """What is wrong with the value at `path`, which stands under `key`, or in a list."""
    target = node.follow()
    if target.mistake:
        yield Expected(target.mistake, node, path)
    elif isinstance(target, Series):
        for index, item in enumerate(target.items):
            yield from _iter_shown(item, (*path, index), None)
    elif isinstance(target, Branch):
        yield from _iter_shown_pairs(target, path, key or node)


def _iter_shown_pairs(branch: Branch, path: KeyPath, above: Pair | Node) -> Iterator[Expected]:
    pairs, lacking = branch.effective(), branch.all_lacking()
    if branch.is_untold():
        tag, _ = branch.section.tag
        pairs = {name: pair for name, pair in pairs.items() if pair.node.is_tag}
        lacking = {name: mistake for name, mistake in lacking.items() if name == tag}
    for name, mistake in lacking.items():
        yield Expected(mistake, above, (*path, name), name, is_whole=isinstance(above, Pair))
    for name, pair in pairs.items():
        if pair.mistake and pair.mistake.kind == "typo":
            yield Expected(pair.mistake, pair, (*path, name), name)
        else:
            yield from _iter_shown(pair.node, (*path, name), pair)
