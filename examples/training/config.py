"""What a training run is told; imports no torch, so that a mistake in it costs a fraction of a second."""

from __future__ import annotations

import sysconfig
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

import tidemill as tm
from tidemill.config import ByteSize, Runtime


def find_own_sources() -> list[str]:
    """Patterns of the standard library's sources: its modules, and its packages but those that begin with an `s`.

    Among these are `site-packages`, which are not the library's; of the library only `sqlite3` goes with them.
    """
    root = sysconfig.get_path("stdlib")
    return [f"{root}/*.py", f"{root}/[!s]*/**/*.py"]


class Data(tm.Config):
    """What is read, and how much of it is held."""

    files: list[str] = Field(default_factory=find_own_sources, min_length=1)
    """Patterns of text files; by default the sources of Python's standard library."""
    max_file: ByteSize = Field(256_000, ge=1)
    """A larger file is passed over: a file is the largest thing that is held."""
    held_out_ratio: float = Field(0.02, gt=0, lt=1)
    """The share of the files that is kept for evaluation."""
    window: int = Field(256, ge=2)
    """Tokens that the model looks back on; a token is a byte."""
    buffer: int = Field(512, ge=1)
    """Windows that are shuffled together."""
    seed: int = 0


class Model(tm.Config):
    """A decoder of a few blocks."""

    width: int = Field(128, ge=1)
    heads: int = Field(4, ge=1)
    blocks: int = Field(2, ge=1)
    dropout: float = Field(0.1, ge=0, lt=1)

    @model_validator(mode="after")
    def _check_heads(self) -> Model:
        if self.width % self.heads:
            raise ValueError(f"expected a `width` that `heads` divide, got {self.width} and {self.heads}")
        return self


class Optim(tm.Config):
    """AdamW, warmed up, then lowered along a cosine until the last step."""

    lr: float = Field(1e-3, gt=0)
    """At its peak."""
    warmup: int = Field(50, ge=1)
    """Steps until the peak."""
    weight_decay: float = Field(0.1, ge=0)
    max_norm: float = Field(1.0, gt=0)
    """The length that gradients are cut to."""
    batch_size: int = Field(16, ge=1)
    """Windows a step."""


class Run(tm.Config):
    """How long it goes, and what it leaves."""

    folder: Annotated[Path, Runtime()] = Path("runs/train")
    """Of the log, the checkpoint and the files that were passed over."""
    steps: int = Field(1_000, ge=1)
    seed: int = 0
    threads: int = Field(2, ge=1)
    """Of torch. Another number adds up in another order, so the last bits of the loss are others."""
    checkpoint_every: Annotated[int, Runtime()] = Field(100, ge=1)
    evaluate_every: Annotated[int, Runtime()] = Field(100, ge=1)
    evaluate_windows: Annotated[int, Runtime()] = Field(64, ge=1)
    report_every: Annotated[int, Runtime()] = Field(20, ge=1)
    """Steps between two lines on the terminal; the log has every step."""


class Train(tm.Config):
    """Train a small language model on Python's own sources.

    Start it again after a crash, a kill or Ctrl-C, and it goes on from its checkpoint, to the very loss that it would
    have come to without.
    """

    data: Data = Data()
    model: Model = Model()
    optim: Optim = Optim()
    run: Run = Run()
