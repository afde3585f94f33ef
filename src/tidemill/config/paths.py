"""Key paths, where in a configuration a value stands, and files as messages show them."""

from __future__ import annotations

from pathlib import Path

KeyPath = tuple[str | int, ...]


def join_path(path: KeyPath) -> str:
    """`steps.1.generate.max_tokens`: as `--set` takes it."""
    return ".".join(map(str, path))


def shorten_path(path: Path) -> str:
    """A file as messages show it: from the working folder where it lies below, else as given."""
    try:
        return str(path.absolute().relative_to(Path.cwd())) if path.is_absolute() else str(path)
    except (ValueError, OSError):
        return str(path)
