"""The nearest known name to one that was mistyped."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

MAX_LISTED = 8
"""How many known names a message lists before it says how many more there are."""


def find_near(name: str, known: Iterable[str]) -> str | None:
    """The name in `known` that `name` most likely stands for, None when none is near.

    Case, `-` and `_` do not count; otherwise the match is difflib's, at a ratio of at least 0.6.
    """
    names: dict[str, str] = {}
    for candidate in known:
        names.setdefault(_fold(candidate), candidate)
    near = difflib.get_close_matches(_fold(name), names, n=1, cutoff=0.6)
    return names[near[0]] if near else None


def suggest(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest known one, else those there are, else nothing.

    >>> suggest("learningrate", ["learning_rate", "seed"])
    'did you mean `learning_rate`?'
    >>> suggest("x", ["seed", "steps"])
    'known: `seed`, `steps`'
    """
    names = list(known)
    near = find_near(name, names)
    if near is not None:
        return f"did you mean `{near}`?"
    return f"known: {list_names(names)}" if names else ""


def list_names(names: Iterable[str], joint: str = ", ") -> str:
    """The names in backticks, in their own order; `joint` stands before the last.

    >>> list_names(["a", "b", "c"], " or ")
    '`a`, `b` or `c`'
    """
    quoted = [f"`{name}`" for name in names]
    if len(quoted) > MAX_LISTED:
        return f"{', '.join(quoted[:MAX_LISTED])} and {len(quoted) - MAX_LISTED} more"
    return joint.join(filter(None, [", ".join(quoted[:-1]), quoted[-1]])) if quoted else ""


def _fold(name: str) -> str:
    return name.replace("-", "").replace("_", "").casefold()
