"""How objects are pickled whose own way gives other bytes in each process: tensors of torch, and models of Pydantic."""

from __future__ import annotations

import copyreg
import pickle
import sys
from collections.abc import Callable
from operator import methodcaller
from typing import Any

from pydantic import BaseModel

Reduce = Callable[[Any], Any]

_FIELDS_SET = "__pydantic_fields_set__"
_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__", "__setstate__")
"""What a class may have of its own to be pickled by."""

_reduce_as_ever: Reduce = methodcaller("__reduce_ex__", pickle.HIGHEST_PROTOCOL)


class Reducers(dict[type, Reduce]):
    """What a `Pickler` looks up by the type of an object, its `dispatch_table`: filled as types are come to."""

    def __missing__(self, kind: type) -> Reduce:
        if issubclass(kind, type):
            raise KeyError(kind)  # a class, which is pickled by its name
        reduce = self[kind] = _find_reduce(kind)
        return reduce


def _find_reduce(kind: type) -> Reduce:
    if kind in copyreg.dispatch_table:
        return copyreg.dispatch_table[kind]
    torch: Any = sys.modules.get("torch")  # only what is loaded can have made one
    if torch is not None and kind is torch.Tensor:
        return _reduce_tensor
    is_plain_model = issubclass(kind, BaseModel) and all(
        getattr(kind, name) is getattr(BaseModel, name) for name in _WAYS
    )
    return _reduce_model if is_plain_model else _reduce_as_ever


def _reduce_tensor(tensor: Any) -> Any:
    """Torch names the storage by its address, and takes the whole of it along where the tensor is a row of it."""
    torch: Any = sys.modules["torch"]
    is_plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not vars(tensor)
    if not is_plain or tensor.requires_grad or tensor.is_quantized or tensor.is_conj() or tensor.is_neg():
        return _reduce_as_ever(tensor)
    data = tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return _restore_tensor, (data, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def _restore_tensor(data: bytes, dtype: str, shape: tuple[int, ...]) -> Any:
    import torch

    kind = getattr(torch, dtype)
    return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape) if data else torch.empty(shape, dtype=kind)


def _reduce_model(model: BaseModel) -> Any:
    """A set of names, which Pydantic keeps, has another order in each process."""
    state: dict[str, Any] = model.__getstate__()
    return _restore_model, (type(model), {**state, _FIELDS_SET: sorted(state[_FIELDS_SET])})


def _restore_model(kind: type[BaseModel], state: dict[str, Any]) -> BaseModel:
    model = kind.__new__(kind)
    model.__setstate__({**state, _FIELDS_SET: set(state[_FIELDS_SET])})
    return model
