"""A tool for a process of its own, in a module by itself as it is imported there."""

from __future__ import annotations


def count_here(limit: int) -> int:
    return limit
