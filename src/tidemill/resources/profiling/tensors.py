"""Tensors that modules keep and that a block in inference mode made: no later backward may use them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any


def find_inference_tensors(modules: Iterable[Any]) -> dict[int, Any]:
    """The inference tensors among what the modules keep, as buffers, parameters or attributes, by identity."""
    return {id(tensor): tensor for _, _, tensor in _iter_tensors(modules) if tensor.is_inference()}


def name_tensors(modules: Sequence[Any], wanted: Iterable[int]) -> list[str]:
    """The names of those tensors, each with the path to its module from the first of `modules` that holds it."""
    wanted = set(wanted)
    paths: dict[int, str] = {}
    for root in modules:
        for path, module in root.named_modules():
            paths.setdefault(id(module), path)
    named = []
    for module, name, tensor in _iter_tensors(modules):
        if id(tensor) in wanted:
            wanted.discard(id(tensor))
            path = paths[id(module)]
            named.append(f"{path}.{name}" if path else name)
    return named


def _iter_tensors(modules: Iterable[Any]) -> Iterator[tuple[Any, str, Any]]:
    import torch

    for module in modules:
        for held in (module._parameters, module._buffers, vars(module)):
            for name, value in held.items():
                if isinstance(value, torch.Tensor):
                    yield module, name, value
