"""The loop: steps, and every so many of them an evaluation and a checkpoint."""

from __future__ import annotations

import math
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
from torch import nn

import tidemill as tm
from tidemill.disk import Disk
from training.checkpoint import load_checkpoint, restore_random, save_checkpoint
from training.config import Optim, Train
from training.data import VOCABULARY, count_passed_over, open_held_out, open_loader, open_training
from training.log import Event, Log
from training.model import LanguageModel, measure_loss


def train(cfg: Train, log: Log, disk: Disk | None = None) -> int:
    """Train until the last step or a signal, from the checkpoint in the run's folder where there is one.

    Memory: the model's, and one file and a buffer of windows, whatever the files come to.
    Failure: raised; what was done since the last checkpoint is done again by the next start.
    Resume: exact. The log is cut back to the checkpoint, and its loss curve is the one of a run that never stopped, bit
    for bit, on the same machine with the same versions.

    Returns:
        The exit code: 0, or 128 and the number of the signal.

    Raises:
        StateError: the checkpoint is of another configuration, or a file in front of it was edited.
        DataError: the files have no windows.
    """
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(cfg.run.threads)
    training = Training(cfg, disk or Disk())
    training.start(log)
    with catch_signals() as caught:
        while training.step < cfg.run.steps and not caught:
            log(training.take_step())
            if training.step % cfg.run.evaluate_every == 0 or training.step == cfg.run.steps:
                log(training.evaluate())
            if training.step % cfg.run.checkpoint_every == 0:
                training.save(log)
        if not training.is_saved:
            training.save(log)
    return 128 + caught[0] if caught else 0


class Training:
    """A model, its optimizer and the place in its data: all that a checkpoint holds.

    Attributes:
        step: how many steps were taken.
        is_saved: whether the last of them stands in the checkpoint.
    """

    _batches: Iterator[dict[str, torch.Tensor]]

    def __init__(self, cfg: Train, disk: Disk) -> None:
        torch.manual_seed(cfg.run.seed)
        random.seed(cfg.run.seed)
        self.step = 0
        self.is_saved = False
        self.model = LanguageModel(cfg.model, VOCABULARY, cfg.data.window)
        self._cfg = cfg
        self._disk = disk
        self._path = cfg.run.folder / "checkpoint.pt"
        self._passed_over = cfg.run.folder / "passed_over.jsonl"
        self._optimizer = torch.optim.AdamW(self.model.parameters(), weight_decay=cfg.optim.weight_decay)
        self._windows = open_training(cfg.data, self._passed_over).torch()

    def start(self, log: Log) -> None:
        """Go to where the checkpoint stands, the log as well; without one to the start."""
        content = load_checkpoint(self._path, self._cfg)
        log.rewind(content["log_bytes"] if content else 0)
        if content:
            self.step, self.is_saved = content["step"], True
            self.model.load_state_dict(content["model"])
            self._optimizer.load_state_dict(content["optimizer"])
            self._windows.load_state_dict(content["windows"])
            restore_random(content)
            log({"event": "resumed", "step": self.step})
        self._batches = iter(open_loader(self._windows, self._cfg.optim.batch_size))

    def take_step(self) -> Event:
        """Train on the next batch."""
        began = time.perf_counter()
        batch = next(self._batches, None)
        if batch is None:
            raise tm.DataError(
                "expected text for one window at least, got less",
                where=", ".join(self._cfg.data.files),
                hint=f"what could not be read stands in {self._passed_over}",
            )
        waited_s = time.perf_counter() - began
        rate = find_rate(self.step, self._cfg.optim, self._cfg.run.steps)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        loss = measure_loss(self.model, batch["window"])
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch says no types of it
        nn.utils.clip_grad_norm_(self.model.parameters(), self._cfg.optim.max_norm)
        self._optimizer.step()
        self.step += 1
        self.is_saved = False
        return {
            "event": "step",
            "step": self.step,
            "loss": loss.item(),
            "rate": rate,
            "tokens": self.step * self._cfg.optim.batch_size * self._cfg.data.window,
            "seconds": time.perf_counter() - began,
            "waited_s": waited_s,
            "peak_bytes": measure_peak(),
        }

    def evaluate(self) -> Event:
        """The loss over the held-out windows; the model is in training mode again, whatever happens here."""
        run = self._cfg.run
        windows = open_held_out(self._cfg.data, run.evaluate_windows).torch()
        total, count = 0.0, 0
        # Whatever is drawn here, the training's own dropout does not notice.
        with tm.seeded(run.seed), tm.InferenceProfiler(self.model, warmup=0) as prof:
            for batch in open_loader(windows, self._cfg.optim.batch_size):
                size = len(batch["window"])
                with prof.batch(size):
                    loss = measure_loss(self.model, batch["window"])
                total, count = total + loss.item() * size, count + size
        if not count:
            raise tm.DataError(
                "expected a window of held-out text at least, got none", hint="hold out more: --data.held_out_ratio 0.1"
            )
        return {
            "event": "evaluation",
            "step": self.step,
            "loss": total / count,
            "windows": count,
            "seconds": prof.elapsed_s,
            "windows_per_s": prof.report().batches.throughput_per_s,
            "passed_over": count_passed_over(self._passed_over),
        }

    def save(self, log: Log) -> None:
        """Write a checkpoint, behind the lines of the log that stand for it."""
        content = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "windows": self._windows.state_dict(),
            "log_bytes": log.sync(),
        }
        save_checkpoint(self._path, self._cfg, content, self._disk)
        self.is_saved = True


def find_rate(step: int, optim: Optim, steps: int) -> float:
    """The learning rate of the step numbered `step`, from 0: a function of it alone, so no checkpoint holds it."""
    if step < optim.warmup:
        return optim.lr * (step + 1) / optim.warmup
    return optim.lr * (1 + math.cos(math.pi * (step - optim.warmup) / max(1, steps - optim.warmup))) / 2


def measure_peak() -> int:
    """The most memory that the process had so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def catch_signals() -> Iterator[list[int]]:
    """What came of Ctrl-C and SIGTERM, so that a step under way is finished; a second one ends the process at once."""
    caught: list[int] = []

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        for each, before in handlers.items():
            signal.signal(each, before)

    handlers = {each: signal.signal(each, catch) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for each, before in handlers.items():
            signal.signal(each, before)
