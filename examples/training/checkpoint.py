"""What a run needs to go on, in one file that is there whole or not at all."""

from __future__ import annotations

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
        StateError: it is of a configuration with another result.
    """
    if not path.exists():
        return None
    content: Checkpoint = torch.load(path, weights_only=True)
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
