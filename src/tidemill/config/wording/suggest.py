"""The nearest known name to one that was mistyped."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

Elsewhere = Mapping[str, str | None]
"""Names that others use → the one here that means the same; None where nothing here does, however alike a name is."""

MAX_LISTED = 8
"""How many known names a message lists before it says how many more there are."""

MAX_EDITS = 2
"""How many edits a mistyped name may be from the one that was meant; one of fewer than five characters only one."""

MIN_RATIO = 0.7
"""How alike a name of more edits must be (`SequenceMatcher.ratio`): words left out, or put in, as `epochs` for
`num_epochs`. Lower, and one of thirty names that mean something else is taken for a typo
(measured by `benchmarks/config/suggestions.py`)."""


def find_near(name: str, *known: Iterable[str], elsewhere: Elsewhere = MappingProxyType({})) -> str | None:
    """The name in `known` that `name` most likely stands for, None when none is near.

    The one fewest edits away: a character left out, put in, replaced, or swapped with its neighbour; of equals the
    most alike. Case, `-` and `_` do not count. Of several groups of names an earlier one is meant rather than a later.
    A name that others use is no mistyped one: it stands for what `elsewhere` says.

    >>> find_near("rl", ["lr", "seed"]), find_near("rate", ["lr", "seed"])
    ('lr', None)
    >>> find_near("gte", ["gt", "ge"]), find_near("gte", ["gt", "ge"], elsewhere={"gte": "ge"})
    ('gt', 'ge')
    """
    wanted = _fold(name)
    for other, ours in elsewhere.items():
        if _fold(other) == wanted:
            return ours
    matcher = difflib.SequenceMatcher(b=wanted)
    found: list[tuple[bool, int, int, float, str]] = []
    for group, names in enumerate(known):
        for candidate in dict.fromkeys(names):
            other = _fold(candidate)
            matcher.set_seq1(other)
            limit = min(MAX_EDITS if max(len(name), len(candidate)) > 4 else 1, max(len(other), len(wanted)) - 1)
            edits = count_edits(other, wanted, limit)
            if edits <= limit or _is_alike(matcher):
                found.append((edits > limit, group, edits, -matcher.ratio(), candidate))
    return min(found, key=lambda each: each[:4])[-1] if found else None


def find_near_file(path: Path) -> str | None:
    """The name of the file beside `path` that its own name most likely stands for, None when none is near.

    Names are compared without their suffixes, which are no likeness: nearly all files of a folder may be `.yaml`.
    """
    try:
        found = sorted(os.listdir(path.parent))
    except (OSError, ValueError):  # no folder, or one that may not be looked into
        return None
    names = defaultdict(list)
    for each in found:
        names[Path(each).stem].append(each)
    stem = find_near(path.stem, names)
    return None if stem is None else find_near(path.name, names[stem]) or names[stem][0]


def _is_alike(matcher: difflib.SequenceMatcher[str]) -> bool:
    return min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= MIN_RATIO and matcher.ratio() >= MIN_RATIO


def count_edits(one: str, other: str, limit: int) -> int:
    """The Damerau-Levenshtein distance of two texts, `limit + 1` where it is more than `limit`.

    A character left out, put in or replaced, or two neighbours swapped, before or after other edits between them, cost
    one each (Lowrance and Wagner 1975, "An Extension of the String-to-String Correction Problem").
    """
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    rows = [list(range(len(other) + 1))]
    seen: dict[str, int] = {}  # the row behind each character's last occurrence in `one`
    for i, character in enumerate(one, start=1):
        row, met = [i], 0  # the column behind the character's last occurrence in `other`
        for j, opposite in enumerate(other, start=1):
            edits = min(rows[-1][j - 1] + (character != opposite), rows[-1][j] + 1, row[-1] + 1)
            if met and (k := seen.get(opposite)):
                edits = min(edits, rows[k - 1][met - 1] + (i - k) + (j - met) - 1)
            row.append(edits)
            met = j if character == opposite else met
        if min(row) > limit:
            return limit + 1
        seen[character] = i
        rows.append(row)
    return min(rows[-1][-1], limit + 1)


def suggest(name: str, known: Iterable[str], *, elsewhere: Elsewhere = MappingProxyType({})) -> str:
    """A hint for an unknown name: the nearest known one, else those there are, else nothing.

    >>> suggest("learningrate", ["learning_rate", "seed"])
    'did you mean `learning_rate`?'
    >>> suggest("x", ["seed", "steps"])
    'known: `seed`, `steps`'
    """
    names = list(known)
    near = find_near(name, names, elsewhere=elsewhere)
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
