"""`Config`: the typed, frozen base of every description in Tidemill."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from tidemill.config.coercion import tighten


class Config(BaseModel):
    """Frozen Pydantic; unknown keys are refused at every depth; NaN and infinity too; defaults are validated.

    Numbers are coerced only where nothing is lost: `"64"` and `64.0` become 64; a bool, a fraction or null never does.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        validate_default=True,
        hide_input_in_errors=True,
        protected_namespaces=(),
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return tighten(source, handler)
