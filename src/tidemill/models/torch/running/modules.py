"""The torch module that a model is, if it is one; and its copies on other devices."""

from __future__ import annotations

import copy
import sys
from functools import partial
from typing import Any

from tidemill.errors import ResourceError


def find_module(model: Any) -> Any | None:
    """The torch module that is called when `model` is; None for other callables, and where torch is not loaded."""
    torch = sys.modules.get("torch")
    while isinstance(model, partial):
        model = model.func
    return model if torch is not None and isinstance(model, torch.nn.Module) else None


def put_on_device(model: Any, name: str, *, is_own: bool) -> Any:
    """`model`, or a copy of it, moved to the device `name`; what is no module as it is.

    Args:
        is_own: whether nobody else has it, so that it may be moved itself.

    Raises:
        ResourceError: it cannot be copied or moved there.
    """
    module = find_module(model)
    if module is None:
        return model
    import torch

    try:
        placed = model if is_own else copy.deepcopy(model)
        moved = find_module(placed)
        assert moved is not None
        moved.to(torch.device(name))
        return placed
    except Exception as error:
        raise ResourceError(
            f"`{type(module).__name__}` cannot be put on the device `{name}`: {type(error).__name__}: {error}",
            hint="give `load`, a function that makes the model on the device it is given",
        ) from error


def stands_on(model: Any, name: str) -> bool:
    """Whether all tensors of a torch module stand on the device `name`; of what is no module, yes."""
    module = find_module(model)
    if module is None:
        return True
    import torch

    wanted = torch.device(name)
    tensors = (*module.parameters(), *module.buffers())
    return all(each.device.type == wanted.type and wanted.index in (None, each.device.index) for each in tensors)
