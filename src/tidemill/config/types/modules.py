"""What tells one torch module from another: its classes, its settings and its weights."""

from __future__ import annotations

import hashlib
import sys
import weakref
from typing import Any

_digests: weakref.WeakKeyDictionary[Any, tuple[Any, str]] = weakref.WeakKeyDictionary()
"""Of modules that were digested: what their tensors were then, and the digest."""


def is_torch_module(value: Any) -> bool:
    """Whether `value` is a torch module; where torch is not loaded, nothing is."""
    module = getattr(getattr(sys.modules.get("torch"), "nn", None), "Module", None)
    return module is not None and isinstance(value, module)


def read_settings(module: Any) -> dict[str, Any]:
    """The attributes of a module itself, without its mode, its hooks, its tensors and the modules below it."""
    return {name: value for name, value in vars(module).items() if name[0] != "_" and name != "training"}


def digest_tensors(module: Any) -> str:
    """A hex digest of all parameters and buffers, by name: 1 GB takes about a second, once until one is written to."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    versions = [(name, tensor.data_ptr(), _find_version(tensor)) for name, tensor in tensors]
    known = _digests.get(module)
    if known is not None and known[0] == versions:
        return known[1]
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in tensors:
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(_read_bytes(tensor))
    _digests[module] = versions, digest.hexdigest()
    return digest.hexdigest()


def _find_version(tensor: Any) -> int:
    return -1 if tensor.is_inference() else tensor._version


def _read_bytes(tensor: Any) -> bytes | memoryview:
    import torch

    try:
        flat = tensor.detach().to("cpu").contiguous().flatten().view(torch.uint8)
        return memoryview(flat.numpy())
    except (RuntimeError, NotImplementedError, TypeError):  # without data, or of a layout that has no bytes as they are
        return b""
