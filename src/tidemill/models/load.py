"""`Load`: how a model that runs in this process is loaded."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from tidemill.config.model import Settings
from tidemill.config.roles import Runtime


class Load(Settings):
    """How the model of a folder is loaded with transformers.

    Attributes:
        device_map: where it goes, as transformers takes it: `auto`, a device such as `cuda:1`, or a device for each
            module. By default the first GPU, else the CPU.
        dtype: the type of its weights and of what it computes in, `bfloat16` say; by default as the model's files say.
        trusted: whether code in its folder may be run: what a pickle of weights calls, and Python files.
        options: passed through verbatim to `from_pretrained`.
    """

    model_config = ConfigDict(json_schema_extra={"examples": [{"device_map": "cuda:1", "dtype": "bfloat16"}]})

    device_map: Annotated[str | dict[str, int | str] | None, Runtime()] = None
    dtype: str | None = None
    trusted: bool = False
    options: dict[str, Any] = Field(default_factory=dict)

    @field_validator("options")
    @classmethod
    def _check_options(cls, value: dict[str, Any]) -> dict[str, Any]:
        for own, field in _OWN.items():
            if own in value:
                hint = f"set `{field}`" if field else "leave it out"
                message = "`options` must not set `{own}`, which is set here"
                raise PydanticCustomError("load_option", message, {"own": own, "path": (own,), "hint": hint})
        return value


_OWN = {
    "device_map": "device_map",
    "dtype": "dtype",
    "torch_dtype": "dtype",
    "trust_remote_code": "trusted",
    "weights_only": "trusted",
    "state_dict": "",
    "config": "",
    "local_files_only": "",
    "use_safetensors": "",
    "output_loading_info": "",
}
"""Arguments of `from_pretrained` that have a field of their own, or none since the step sets them."""
