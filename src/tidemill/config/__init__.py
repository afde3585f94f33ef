"""Typed configurations that cannot be misread, for jobs and for any script.

The names here are loaded when they are first used; `tidemill` has `Config`, `load_config`, `cli` and `json_schema`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidemill.config.loading import Loaded as Loaded
    from tidemill.config.loading import load_with_origins as load_with_origins
    from tidemill.config.report.values import check_value as check_value
    from tidemill.config.roles import Runtime as Runtime
    from tidemill.config.types.durations import Duration as Duration
    from tidemill.config.types.functions import Function as Function
    from tidemill.config.types.functions import Schema as Schema
    from tidemill.config.types.sizes import ByteSize as ByteSize
    from tidemill.config.types.unique import Unique as Unique
    from tidemill.config.unions.plugins import Plugins as Plugins
    from tidemill.config.unions.tagged import Tagged as Tagged

_HOMES = {
    "loading": "Loaded load_with_origins",
    "report.values": "check_value",
    "roles": "Runtime",
    "types.durations": "Duration",
    "types.functions": "Function Schema",
    "types.sizes": "ByteSize",
    "types.unique": "Unique",
    "unions.plugins": "Plugins",
    "unions.tagged": "Tagged",
}
_HOME_OF = {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME_OF)  # noqa: PLE0605 - strings, computed from the table above


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
