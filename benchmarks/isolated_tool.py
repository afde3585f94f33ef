"""A tool for a process of its own, in a module by itself, as it is imported there."""

from __future__ import annotations

RESULT = "1. Bréhat; 2. Rance; 3. Pont-l'Abbé"


def look_up_apart(query: str, count: int = 10) -> str:
    """Look something up.

    Args:
        query: what.
        count: of results.
    """
    return RESULT
