"""Key paths, where in a configuration a value stands, and files as messages show them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

KeyPath = tuple[str | int, ...]

T = TypeVar("T")


def join_path(path: KeyPath) -> str:
    """`steps.1.generate.max_tokens`: as `--set` takes it."""
    return ".".join(map(str, path))


def split_label(
    label: str, root: T, list_keys: Callable[[T], Mapping[str, str | int] | None], enter: Callable[[T, str | int], T]
) -> KeyPath:
    """The key path a dotted label means: a key that itself holds dots is found where it exists.

    Args:
        list_keys: the keys there are in what was entered, by their texts; None where indices lead on.
        enter: what stands under a key or index.
    """
    parts = label.split(".")
    path: list[str | int] = []
    at = root
    while parts:
        keys = list_keys(at)
        size = next((n for n in range(len(parts), 1, -1) if ".".join(parts[:n]) in keys), 1) if keys else 1
        name = ".".join(parts[:size])
        del parts[:size]
        item = int(name) if keys is None and name.isdecimal() else (keys or {}).get(name, name)
        path.append(item)
        at = enter(at, item)
    return tuple(path)


def shorten_path(path: Path) -> str:
    """A file as messages show it: from the working folder where it lies below, else as given."""
    try:
        return str(path.absolute().relative_to(Path.cwd())) if path.is_absolute() else str(path)
    except (ValueError, OSError):
        return str(path)
