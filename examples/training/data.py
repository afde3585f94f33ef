"""From files to batches of windows: a stream that holds one file, and the windows that are shuffled together."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

import tidemill as tm
from tidemill.adapters.torch import TorchStream
from training.config import Data

VOCABULARY = 256
"""A token is a byte."""

END = "\xff"
"""Ends a file: a byte that UTF-8 has no use for."""

PAGE = 4_096
"""Bytes that are made tokens at a time: a list of tokens takes eight times what its text does."""


def open_training(data: Data, passed_over: Path) -> tm.Stream[Any]:
    """The windows to train on, without end: each pass over the files shuffles them anew.

    A file that cannot be read goes to the file `passed_over`, with its reason.
    """
    texts = _read(data, "train").catch(to=passed_over)
    return _cut_windows(texts, data.window).shuffle(data.seed, buffer=data.buffer).repeat()


def open_held_out(data: Data, count: int) -> tm.Stream[Any]:
    """The first `count` windows of the files that are kept for evaluation."""
    texts = _read(data, "held_out").catch("skip")  # `open_training` tells of them
    return _cut_windows(texts, data.window).take(count)


def open_loader(windows: TorchStream, batch_size: int) -> DataLoader[Any]:
    """Batches of windows, `window`: uint8 (batch, tokens + 1).

    It reads in this process, so that the stream's own state is that behind the batch given last. With workers, take
    torchdata's `StatefulDataLoader`, whose state has all of theirs.
    """
    # A loader draws a seed each time it is gone through: from a generator of its own, not out of the model's dropout.
    return DataLoader(windows, batch_size=batch_size, collate_fn=tm.collate, generator=torch.Generator())


def count_passed_over(path: Path) -> int:
    """How many files could not be read on this pass."""
    return sum(1 for _ in tm.replay(path, errors=True)) if path.exists() else 0


def _read(data: Data, share: str) -> tm.Stream[Any]:
    """The files of one share, whole; which share is a file's follows from its content, so copies stay together."""
    # As Latin-1 each byte is one character, whatever the file's encoding: the model reads bytes.
    files = tm.read(data.files, format="text", whole=True, encoding="latin-1", max_line_bytes=data.max_file)
    digested = files.with_columns(digest=find_digest)
    return digested.split("digest", train=1 - data.held_out_ratio, held_out=data.held_out_ratio)[share]


def _cut_windows(texts: tm.Stream[Any], tokens: int) -> tm.Stream[Any]:
    """Windows of `tokens` and the one behind them, across the ends of files."""
    pages = texts.flat_map(cut_pages).tokenize(to_ids)
    return pages.pack(tokens + 1, how="concat_and_split", drop_last=True).map(to_window)


def find_digest(record: dict[str, str]) -> str:
    """Of the text, in hex."""
    return hashlib.sha256(record["text"].encode("latin-1")).hexdigest()


def cut_pages(record: dict[str, str]) -> Iterator[dict[str, str]]:
    """The text in pieces, so that no record behind it is as large as a file."""
    text = record["text"]
    for start in range(0, len(text), PAGE):
        yield {"text": text[start : start + PAGE]}
    yield {"text": END}


def to_ids(text: str) -> list[int]:
    """The bytes of a text as numbers."""
    return list(text.encode("latin-1"))


def to_window(record: dict[str, list[int]]) -> dict[str, Any]:
    """The tokens as an array, an eighth of the list: `window`: uint8 (tokens,)."""
    return {"window": np.array(record["input_ids"], dtype=np.uint8)}
