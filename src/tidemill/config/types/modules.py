"""What tells one torch module from another: its classes, its settings and its weights."""

from __future__ import annotations

import hashlib
import sys
import weakref
from typing import Any

_digests: weakref.WeakKeyDictionary[Any, tuple[Any, str]] = weakref.WeakKeyDictionary()
"""Of modules that were digested: the marks of their tensors then, and the digest."""


def is_torch_module(value: Any) -> bool:
    """Whether `value` is a torch module; where torch is not loaded, nothing is."""
    module = getattr(getattr(sys.modules.get("torch"), "nn", None), "Module", None)
    return module is not None and isinstance(value, module)


def read_settings(module: Any) -> dict[str, Any]:
    """The attributes of a module itself, without its mode, its hooks, its tensors and the modules below it."""
    return {name: value for name, value in vars(module).items() if name[0] != "_" and name != "training"}


def digest_tensors(module: Any) -> str:
    """A hex digest of all parameters and buffers, by name: 1 GB takes about a second, once while they stay the same."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    marks = [(name, _mark(tensor)) for name, tensor in tensors]
    known = _digests.get(module)
    if known is not None and known[0] == marks:
        return known[1]
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_read_bytes(tensor))
    _digests[module] = marks, digest.hexdigest()
    return digest.hexdigest()


def _mark(tensor: Any) -> Any:
    """What changes with the tensor, quickly told: torch's own count of writes does not see those through `.data`."""
    import torch

    try:
        version = None if tensor.is_inference() else tensor._version
        return tensor.data_ptr(), version, tensor.detach().sum(dtype=torch.float64).item()
    except (RuntimeError, NotImplementedError, TypeError):  # without data, or of a layout that has no sum
        return object()  # equal to no other


def _read_bytes(tensor: Any) -> bytes | memoryview:
    import torch

    try:
        flat = tensor.detach().to("cpu").contiguous().flatten().view(torch.uint8)
        return memoryview(flat.numpy())
    except (RuntimeError, NotImplementedError, TypeError):  # without data, or of a layout that has no bytes as they are
        return b""
