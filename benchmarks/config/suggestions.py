"""How often the name that was meant is suggested, and how often one that was not, against difflib alone.

    python benchmarks/config/suggestions.py

Typos are one or two random edits of a field's name (two only of a name of more than four characters), amid two to
eight sibling fields. Other words are names of other fields, and everyday English: neither is a typo.
"""

from __future__ import annotations

import difflib
import random
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from planted_schema import mistype
from planted_words import CHOICES, ENGLISH, NAMES, draw_names
from tables import render_table
from tidemill.config.wording.suggest import find_near

TRIALS = 4_000
LENGTHS = (2, 3, 4, 5, 6, 7)

Finder = Callable[[str, Sequence[str]], str | None]


def find_alike(name: str, known: Sequence[str], *, cutoff: float) -> str | None:
    """The nearest by difflib's ratio alone, case and `_` apart."""
    names: dict[str, str] = {}
    for each in known:
        names.setdefault(each.replace("_", ""), each)
    near = difflib.get_close_matches(name.replace("_", ""), names, n=1, cutoff=cutoff)
    return names[near[0]] if near else None


FINDERS: dict[str, Finder] = {
    "tidemill": find_near,
    **{f"difflib, ratio {cutoff}": partial(find_alike, cutoff=cutoff) for cutoff in (0.6, 0.7, 0.8)},
}


def main() -> None:
    rng = random.Random(1)
    typos = [_draw_typo(rng) for _ in range(TRIALS)]
    foreign = [_draw_other(rng, (*NAMES, *CHOICES)) for _ in range(TRIALS)]
    english = [_draw_other(rng, ENGLISH) for _ in range(TRIALS)]
    rows = []
    for label, find in FINDERS.items():
        hits = [(len(meant), find(typo, known) == meant) for typo, meant, known in typos]
        by_length = [[hit for length, hit in hits if min(length, LENGTHS[-1]) == wanted] for wanted in LENGTHS]
        absurd = [sum(find(word, known) is not None for word, known in words) for words in (foreign, english)]
        shares = [sum(hit for _, hit in hits) / TRIALS, *(sum(each) / len(each) for each in by_length)]
        rows.append([label, *(f"{each:.1%}" for each in shares), *(f"{each / TRIALS:.1%}" for each in absurd)])
    lengths = [f"of {each}{'+' if each == LENGTHS[-1] else ''}" for each in LENGTHS]
    print(f"{TRIALS:,} typos: the name that was meant is suggested; {TRIALS:,} other words each: one is at all")
    print(render_table(["", "all typos", *lengths, "other fields", "English"], rows))


def _draw_typo(rng: random.Random) -> tuple[str, str, list[str]]:
    known = draw_names(rng, rng.randint(3, 9))
    meant = rng.choice(known)
    return mistype(rng, meant, known), meant, known


def _draw_other(rng: random.Random, among: Sequence[str]) -> tuple[str, list[str]]:
    """A word that is neither one of the fields nor a part of one, nor the other way round."""
    while True:
        known, word = draw_names(rng, rng.randint(3, 9)), rng.choice(among)
        if not any(word in each or each in word for each in known):
            return word, known


if __name__ == "__main__":
    main()
