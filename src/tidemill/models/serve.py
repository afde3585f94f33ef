"""`Serve`: the command of a server that is started for a model, and ended with whoever asked for it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field, GetJsonSchemaHandler, field_validator, model_validator
from pydantic_core import CoreSchema, PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.subschemas import Form, JsonSchema, add_form
from tidemill.config.types.durations import Duration
from tidemill.config.wording.suggest import find_near

PORT = "{port}"
"""What stands in a command for the port it is given."""

TEXT: JsonSchema = {"type": "string"}


class Serve(Settings):
    """A command that serves a model in the wire format it is asked in. A text or a list alone is the command.

    Attributes:
        command: the program and its arguments; a text is split as a shell would, and nothing else of a shell happens.
            `{port}` in it becomes a free port, and the model is then asked at `http://127.0.0.1:PORT/v1`.
        start_timeout_s: how long it may take until it answers `/models`.
    """

    model_config = ConfigDict(json_schema_extra={"examples": ["vllm serve Qwen/Qwen3-0.6B --port {port}"]})

    command: Annotated[tuple[str, ...], Form(TEXT)]
    start_timeout_s: Duration = Field(default=600.0, gt=0)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchema:
        return add_form(handler(schema), {"anyOf": [TEXT, {"type": "array", "items": TEXT}]})

    @model_validator(mode="before")
    @classmethod
    def _from_command(cls, value: Any) -> Any:
        return value if isinstance(value, (Mapping, Serve)) else {"command": value}

    @field_validator("command", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return tuple(shlex.split(value))
        except ValueError as exc:
            raise PydanticCustomError(
                "command", "cannot be split into arguments: {reason}", {"reason": str(exc)[:1].lower() + str(exc)[1:]}
            ) from None

    @field_validator("command")
    @classmethod
    def _check_command(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            hint = "for example vllm serve Qwen/Qwen3-0.6B --port {port}"
            raise PydanticCustomError("command", "expected a command, got an empty one", {"hint": hint})
        for named in re.findall(r"\{(\w+)\}", " ".join(value)):
            if named != "port" and find_near(named, ["port"]):
                context = {"named": f"{{{named}}}", "hint": f"did you mean `{PORT}`?"}
                raise PydanticCustomError("command", "unknown `{named}` in the command", context)
        return value

    @property
    def takes_port(self) -> bool:
        """Whether it is given a port."""
        return any(PORT in part for part in self.command)

    def fill(self, port: int) -> tuple[str, ...]:
        """The command with that port."""
        return tuple(part.replace(PORT, str(port)) for part in self.command)
