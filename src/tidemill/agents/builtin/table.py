"""The tools that a file can name by themselves, with their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

BUILTIN: Mapping[str, Callable[..., Any]] = {}
