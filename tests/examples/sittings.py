"""A training run in several sittings, each a process that ends itself: `python sittings.py CONFIG WHOLE ENDING…`.

WHOLE is the folder of a run that never stopped. An ENDING is how a sitting ends, and at which step: `kill:23` right
behind its line in the log, `half:23` in the middle of that line, `stop:23` by SIGTERM; `save` when it has written a
checkpoint that has not its name yet; `never` when the run is finished. Prints, as JSON, how each sitting ended, and
what the last checkpoint differs in from that of WHOLE.

The sittings are forked, so that what they import is imported once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch

import tidemill as tm
from tidemill.disk import Disk
from training.config import Train
from training.data import open_held_out
from training.log import Event, Log
from training.loop import train

T = TypeVar("T")

OF_THE_RUN = {"log_bytes", "config", "pipeline"}
"""What equal checkpoints differ in: a line of the log has the time in it, the others name the run's folder."""


def die(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)


class MortalLog(Log):
    """Ends the process at a step."""

    def __init__(self, path: Path, how: str, step: int) -> None:
        super().__init__(path)
        self._how = how
        self._step = step

    def __call__(self, event: Event) -> None:
        how = self._how if event["event"] == "step" and event["step"] == self._step else ""
        if how == "half":
            self._file.write(json.dumps(event).encode()[:20])
            self._file.flush()
            die()
        super().__call__(event)
        if how == "kill":
            die()
        if how == "stop":
            die(signal.SIGTERM)


class MortalDisk(Disk):
    """Ends the process once a new checkpoint is written, before it has the name of the last one."""

    def perform(self, operation: str, path: Path, act: Callable[[], T]) -> T:
        if operation == "rename":
            die()
        return act()


def sit(cfg: Train, ending: str) -> int:
    """One sitting in a process of its own; how it ended, as `os.waitstatus_to_exitcode` says."""
    process = os.fork()
    if not process:
        end(cfg, ending)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def end(cfg: Train, ending: str) -> NoReturn:
    how, _, step = ending.partition(":")
    with MortalLog(cfg.run.folder / "log.jsonl", how, int(step or 0)) as log:
        code = train(cfg, log, MortalDisk() if how == "save" else Disk())
    os._exit(code)


def find_differences(one: Any, other: Any, path: str = "") -> Iterator[str]:
    """Where two checkpoints differ in a bit."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in sorted(one.keys() - OF_THE_RUN, key=str):
            yield from find_differences(one[key], other[key], f"{path}.{key}")
    elif isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        if not torch.equal(one.view(-1).view(torch.uint8), other.view(-1).view(torch.uint8)):
            yield path
    elif one != other:
        yield path


if __name__ == "__main__":
    config, whole, *endings = sys.argv[1:]
    cfg = tm.load_config(Train, config)
    torch.use_deterministic_algorithms(True)  # which imports what takes as long as torch itself
    next(iter(open_held_out(cfg.data, 1)))  # as that
    codes = [sit(cfg, ending) for ending in endings]
    kept, wanted = (torch.load(Path(each, "checkpoint.pt"), weights_only=True) for each in (cfg.run.folder, whole))
    sys.stdout.write(f"\n{json.dumps({'codes': codes, 'differences': list(find_differences(kept, wanted))})}\n")
