"""What a run needs to go on, in one file that is there whole or not at all."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import torch

import tidemill as tm
from tidemill.disk import Disk
from training.config import Train

Checkpoint = dict[str, Any]
"""Tensors and plain data, so that it is loaded without running any code."""


def save_checkpoint(path: Path, cfg: Train, content: Checkpoint, disk: Disk) -> None:
    """Put `content`, the configuration and the state of the random numbers at `path`, durably."""
    random_states = {"torch_rng": torch.get_rng_state(), "python_rng": random.getstate()}
    with disk.create_file(path) as file:  # a temporary neighbour, synced, then renamed into place
        torch.save({**content, **random_states, "config": cfg.to_dict()}, file)
    disk.sync_folder(path.parent)


def load_checkpoint(path: Path, cfg: Train) -> Checkpoint | None:
    """What was saved last; None when nothing was.

    Raises:
        StateError: it cannot be read, or is of a configuration with another result.
    """
    if not path.exists():
        return None
    try:
        content: Checkpoint = torch.load(path, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise tm.StateError(
            f"the checkpoint cannot be read: {_first_line(error)}",
            where=str(path),
            hint="put back a copy of it, or delete it to start from the first step",
        ) from error
    kept = Train(**content["config"])
    if kept.fingerprint != cfg.fingerprint:
        raise tm.StateError(
            f"the checkpoint is of another run: {'; '.join(kept.find_differences(cfg))}",
            where=str(path),
            hint="give this run a folder of its own: --run.folder runs/another",
        )
    return content


def restore_random(content: Checkpoint) -> None:
    """Let what is drawn next be what would have been drawn next."""
    torch.set_rng_state(content["torch_rng"])
    random.setstate(content["python_rng"])


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else type(error).__name__
