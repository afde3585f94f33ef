"""What a package offers under its own name, loaded when it is first used: importing the package costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def export(package: str, homes: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__all__`, `__getattr__` and `__dir__`.

    The package says the same to type checkers, by imports under `if TYPE_CHECKING:`.

    Args:
        package: its `__name__`.
        homes: each module below it and the names it gives, a space between two.
    """
    home_of = {name: f"{package}.{home}" for home, names in homes.items() for name in names.split()}
    offered = sorted(home_of)

    def load(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(home), name)
        setattr(sys.modules[package], name, value)  # found there without asking from now on
        return value

    return offered, load, lambda: offered
