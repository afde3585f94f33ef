"""The smallest document that still shows a disagreement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from planted_cases import Case, Verdict, judge
from planted_tree import Branch, Pair, Series, has_mistake

MAX_TRIES = 400


def shrink(case: Case, folder: Path) -> Verdict:
    """Leave out, one after the other, what the disagreement does not need; the case's tree is changed."""
    best = judge(case, folder)
    wanted = _kinds(best)
    tries = 0
    is_smaller = True
    while is_smaller and tries < MAX_TRIES:
        is_smaller = False
        for undo in _iter_removals(case.root):
            tries += 1
            verdict = judge(case, folder)
            if _kinds(verdict) == wanted and len(verdict.text) < len(best.text):
                best, is_smaller = verdict, True
                break
            undo()
    return best


def _kinds(verdict: Verdict) -> set[str]:
    return {each.partition(":")[0] for each in verdict.disagreements}


def _iter_removals(root: Branch) -> Iterator[Callable[[], None]]:
    """Each change in turn, made, as what takes it back."""
    for node in root.iter_all():
        if isinstance(node, Branch):
            for pair in list(node.pairs):
                if _may_go(pair) and [each.name for each in node.pairs].count(pair.name) == 1:
                    index = node.pairs.index(pair)
                    del node.pairs[index]
                    yield lambda node=node, index=index, pair=pair: node.pairs.insert(index, pair)  # type: ignore[misc]
        elif isinstance(node, Series) and len(node.items) > 1 and not node.mistake:
            item = node.items[-1]
            if not has_mistake(item) and not any(each.anchor for each in item.iter_all()):
                node.items.pop()
                yield lambda node=node, item=item: node.items.append(item)  # type: ignore[misc]


def _may_go(pair: Pair) -> bool:
    return not (pair.required or pair.mistake or has_mistake(pair.node) or any(e.anchor for e in pair.node.iter_all()))
