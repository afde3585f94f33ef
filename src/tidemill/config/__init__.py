"""Typed configurations that cannot be misread, for jobs and for any script.

The names here are loaded when they are first used; `tidemill` has `Config`, `load_config`, `cli` and `json_schema`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tidemill.exports import export

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

__all__, __getattr__, __dir__ = export(
    __name__,
    {
        "loading": "Loaded load_with_origins",
        "report.values": "check_value",
        "roles": "Runtime",
        "types.durations": "Duration",
        "types.functions": "Function Schema",
        "types.sizes": "ByteSize",
        "types.unique": "Unique",
        "unions.plugins": "Plugins",
        "unions.tagged": "Tagged",
    },
)
