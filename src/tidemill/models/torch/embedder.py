"""`TextEmbedder`: vectors of texts from a model in this process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tidemill.errors import ResourceError
from tidemill.models.load import Load
from tidemill.models.torch.encoder import TextEncoder
from tidemill.models.torch.loading import load_tokenizer, load_transformer
from tidemill.models.torch.recipe import Recipe, read_recipe

Tokens = Mapping[str, list[int]]
"""A text as a tokenizer gives it: `input_ids`, `attention_mask` and what else its model takes, each of one length."""

NO_LIMIT = 1_000_000
"""A tokenizer that knows no most says some huge number."""


class TextEmbedder:
    """Makes vectors of texts. Several threads may use it; those of one device wait for each other there.

    Equal batches give equal bits. Which texts share a batch may change the last bits of a vector (1e-6).

    Attributes:
        encoder: the model, which is called.
        max_tokens: the most tokens of a text, special ones included; what is beyond them is cut. None: no most.
        cut: the texts that were cut so far.
    """

    def __init__(self, encoder: TextEncoder, tokenizer: Any, recipe: Recipe, max_tokens: int | None) -> None:
        self.encoder = encoder
        self.max_tokens = max_tokens
        self.cut = 0
        self._recipe = recipe
        self._tokenizer = tokenizer
        self._lock = threading.Lock()  # guards the tokenizer, which keeps how it last cut, and `cut`

    def embed(self, texts: Sequence[str], *, batch_tokens: int = 100_000) -> list[list[float]]:
        """The vector of each text, float32 numbers, in their order.

        Args:
            batch_tokens: the most tokens computed at once, padding included; a longer text goes alone.
        """
        tokens = self.tokenize(texts)
        vectors: list[list[float]] = [[]] * len(texts)
        for places in plan_batches([len(each["input_ids"]) for each in tokens], batch_tokens):
            with torch.no_grad():
                found = self.encoder(**self.pad([tokens[place] for place in places]))
            for place, vector in zip(places, found.tolist(), strict=True):
                vectors[place] = vector
        return vectors

    def tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, at most `max_tokens`; those that had more are counted."""
        texts = [self._recipe.prompt + (text.lower() if self._recipe.lowers else text) for text in texts]
        with self._lock:
            found = _split(self._tokenizer(texts, verbose=False))
            if self.max_tokens is not None:
                long = [place for place, each in enumerate(found) if len(each["input_ids"]) > self.max_tokens]
                self.cut += len(long)
                for place in long:
                    cut = self._tokenizer([texts[place]], truncation=True, max_length=self.max_tokens)
                    [found[place]] = _split(cut)
        return found

    def pad(self, tokens: Sequence[Tokens]) -> dict[str, Tensor]:
        """The encoder's input: int64 (batch, tokens) each, on its device."""
        padded = self._tokenizer.pad(tokens, padding=True, return_tensors="pt", verbose=False)
        device = next(self.encoder.parameters()).device
        return {name: value.to(device) for name, value in padded.items()}


def open_embedder(folder: Path, load: Load | None = None, *, dimensions: int | None = None) -> TextEmbedder:
    """The embedder of the model in `folder`; blocks for the load.

    Memory: the model's.   Failure: a ResourceError, or a ConfigError of its files.

    Args:
        dimensions: how many numbers of each vector are kept, the first ones, brought to unit length again: what is lost
            is little with models that were trained for it.

    Raises:
        ConfigError: its files ask for what there is not here.
        ResourceError: it cannot be loaded, or has fewer dimensions.
    """
    recipe, load = read_recipe(folder), load or Load()
    tokenizer, transformer = load_tokenizer(folder, load), load_transformer(folder, load)
    config: Any = transformer.config
    if dimensions is not None and dimensions > config.hidden_size:
        message = f"expected at most the {config.hidden_size} dimensions of the model in {folder}, got {dimensions}"
        raise ResourceError(message, hint="leave `dimensions` out")
    known = [recipe.max_tokens] if recipe.max_tokens else [tokenizer.model_max_length, config.max_position_embeddings]
    limits = [each for each in known if each and each < NO_LIMIT]
    encoder = TextEncoder(transformer, recipe, dimensions).eval()
    return TextEmbedder(encoder, tokenizer, recipe, min(limits, default=None))


def plan_batches(lengths: Sequence[int], most: int) -> list[list[int]]:
    """The places of `lengths` in batches, the longest first; the longest of each times their count is at most `most`.

    >>> plan_batches([2, 9, 3, 2], 6)
    [[1], [2, 0], [3]]
    """
    batches: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if batches and lengths[batches[-1][0]] * (len(batches[-1]) + 1) <= most:
            batches[-1].append(place)
        else:
            batches.append([place])
    return batches


def _split(encoded: Mapping[str, Sequence[list[int]]]) -> list[Tokens]:
    """What a tokenizer gives for several texts, text by text."""
    return [dict(zip(encoded, each, strict=True)) for each in zip(*encoded.values(), strict=True)]
