"""Key paths: where in a configuration a value stands."""

from __future__ import annotations

KeyPath = tuple[str | int, ...]


def join_path(path: KeyPath) -> str:
    """`steps.1.generate.max_tokens`: as `--set` takes it."""
    return ".".join(map(str, path))
