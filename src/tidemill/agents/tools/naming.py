"""Names of tools that others have named: made such that every provider takes them, and no two are one."""

from __future__ import annotations

import re
from collections.abc import Iterable

MAX_NAME = 64
"""Characters: OpenAI's and Anthropic's bound, `^[a-zA-Z0-9_-]{1,64}$`."""


def make_names(wanted: Iterable[str], *, prefix: str = "") -> list[str]:
    """A valid name for each of `wanted`, in their order and unlike each other; one that is valid already stays.

    >>> make_names(["read", "files/read", "files.read"], prefix="fs_")
    ['fs_read', 'fs_files_read', 'fs_files_read_2']
    """
    names: dict[str, None] = {}
    for each in wanted:
        name = re.sub(r"[^a-zA-Z0-9_-]+", "_", prefix + each)[:MAX_NAME] or "_"
        number, found = 1, name
        while found in names:
            number += 1
            ending = f"_{number}"
            found = name[: MAX_NAME - len(ending)] + ending
        names[found] = None
    return list(names)


def matches_pattern(pattern: str, text: str) -> bool:
    """Whether `text` is what `pattern` says: `*` for any characters but `/`, `**` for any."""
    parts = ({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in re.split(r"(\*\*|\*)", pattern) if part)
    return re.fullmatch("".join(parts), text, re.DOTALL) is not None
