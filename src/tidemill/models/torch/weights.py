"""Weights from files: safetensors first; a pickle only as far as it holds nothing but tensors, unless it is trusted."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill.errors import ResourceError
from tidemill.models.torch.packages import check_packages

if TYPE_CHECKING:
    from torch import Tensor

SAFE = ".safetensors"
_SAFE_NAMES = ("model.safetensors", "model.safetensors.index.json")
_PICKLE_NAMES = ("pytorch_model.bin", "pytorch_model.bin.index.json")

# What torch says of the first thing in a pickle that is neither a tensor nor plain data
# (torch/_weights_only_unpickler.py).
_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def load_weights(path: str | Path, *, trusted: bool = False) -> dict[str, Tensor]:
    """The weights in a file or a model's folder, by their names, in the CPU's memory.

    A folder's safetensors are taken where it has them; else its pickle, `pytorch_model.bin`; of either, all parts. A
    pickle is a program: it is read with torch's `weights_only=True`, which takes tensors and plain data alone. Of a
    checkpoint that keeps its weights under `state_dict`, those are given.

    Memory: all weights.   Failure: a ResourceError; nothing of a refused file was run.

    Args:
        trusted: whether what a pickle calls may be called, whatever it is.

    Raises:
        ResourceError: there are none, a file is cut or of another kind, or a pickle wants more than tensors; or a
            package is not installed.
    """
    files = find_weight_files(Path(path))
    if not files:
        raise ResourceError(
            f"no weights in {path}: it has none of {', '.join([*_SAFE_NAMES, *_PICKLE_NAMES])}",
            hint="name a folder as transformers' `save_pretrained` writes it, or a file of weights",
        )
    weights: dict[str, Tensor] = {}
    for file in files:
        weights.update(_load_safe(file) if file.suffix == SAFE else _load_pickle(file, trusted=trusted))
    return weights


def find_weight_files(path: Path) -> list[Path]:
    """The files of the weights at `path`: itself, or those of a folder, safetensors before a pickle; empty for none.

    Raises:
        ResourceError: the list of a folder's parts cannot be read.
    """
    if not path.is_dir():
        return [path]
    for name in (*_SAFE_NAMES, *_PICKLE_NAMES):
        found = path / name
        if found.is_file():
            return _list_parts(found) if found.suffix == ".json" else [found]
    return []


def _list_parts(index: Path) -> list[Path]:
    """The files that an index names, each once, all of them beside it."""
    try:
        names = set(json.loads(index.read_bytes())["weight_map"].values())
        return [index.parent / Path(name).name for name in sorted(names)]
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as exc:
        raise ResourceError(f"{index} does not say which files hold the weights: {exc!r}") from exc


def _load_safe(path: Path) -> dict[str, Tensor]:
    check_packages(f"the weights {path.name}", "torch", "safetensors")
    import safetensors.torch

    try:
        return safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as exc:
        raise _unreadable(path, exc) from exc


def _load_pickle(path: Path, *, trusted: bool) -> dict[str, Tensor]:
    check_packages(f"the weights {path.name}", "torch")
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=not trusted)
    except pickle.UnpicklingError as exc:
        # torch's own message advises to switch the protection off, so that only what it found is told.
        found = _GLOBAL.search(str(exc))
        if trusted or found is None:
            raise _unreadable(path, "it is no file of torch's") from None
        raise ResourceError(
            f"the pickle {path} is refused: it wants `{found[1]}`, and loading it would run that",
            hint="take the model's safetensors; or, if you trust whoever made the file, say so: `load: {trusted: true}`"
            " of the model, `trusted=True` in Python",
        ) from None
    except OSError as exc:
        raise _unreadable(path, exc) from exc
    except Exception as exc:  # of bytes that are none of torch's, its unpickler raises whatever they lead to
        raise _unreadable(path, f"it is no file of torch's ({type(exc).__name__})") from exc
    return _take_tensors(path, held)


def _take_tensors(path: Path, held: Any) -> dict[str, Tensor]:
    import torch

    inner = held.get("state_dict", held) if isinstance(held, Mapping) else held
    if isinstance(inner, Mapping) and inner and all(isinstance(each, torch.Tensor) for each in inner.values()):
        return dict(inner)
    got = (
        f"a mapping with {', '.join(map(repr, list(inner)[:8]))}" if isinstance(inner, Mapping) else type(held).__name__
    )
    raise ResourceError(
        f"expected tensors by name in {path}, got {got}", hint="take them out of it and save them as safetensors"
    )


def _unreadable(path: Path, reason: object) -> ResourceError:
    told = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason).partition("\n")[0][:300]
    return ResourceError(
        f"the weights {path} cannot be read: {told}", hint="the file may be cut, of another kind, or not there"
    )
