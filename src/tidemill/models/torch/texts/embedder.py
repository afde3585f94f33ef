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
from tidemill.models.torch.texts.encoder import TextEncoder
from tidemill.models.torch.texts.loading import load_tokenizer, load_transformer
from tidemill.models.torch.texts.recipe import Recipe, read_recipe

Tokens = Mapping[str, list[int]]
"""A text as a tokenizer gives it: `input_ids`, `attention_mask` and what else its model takes, each of one length."""

NO_LIMIT = 1_000_000
"""A tokenizer that knows no most says some huge number."""

# Measured with all-MiniLM-L6-v2 and 128 texts of 2 to 200 tokens: 9.5 s of one core in one group, 4.4 s so, and as
# much in smaller groups.
LEAST, MOST, MOST_PADDED = 16, 64, 0.8
"""Texts in a group at least and at most, and how short its shortest may be for its longest."""


class TextEmbedder:
    """Makes vectors of texts. Several threads may use it.

    Equal batches give equal bits. Which texts share a batch may change the last bits of a vector (1e-6).

    Attributes:
        encoder: the model, which is called with what `prepare` gives.
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

    def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """The vector of each text, float32 numbers, in their order; computed as one batch.

        Memory: the texts' tokens, and what the model computes of 64 of them.
        """
        if not texts:
            return []
        device = next(self.encoder.parameters()).device
        groups, places = self.prepare(texts)
        brought = [{name: value.to(device) for name, value in group.items()} for group in groups]
        with torch.no_grad():
            vectors: list[list[float]] = self.encoder(brought, places).tolist()
        return vectors

    def prepare(self, texts: Sequence[str]) -> tuple[list[dict[str, Tensor]], Tensor]:
        """The encoder's input, on the host: texts of about one length together, and where each stands in the batch."""
        tokens = self._tokenize(texts)
        plan = plan_groups([len(each["input_ids"]) for each in tokens])
        with self._lock:
            groups = [self._pad([tokens[place] for place in group]) for group in plan]
        return groups, torch.tensor([place for group in plan for place in group])

    def _tokenize(self, texts: Sequence[str]) -> list[Tokens]:
        """The tokens of each text, at most `max_tokens`; those that had more are counted."""
        texts = [self._recipe.prompt + (text.lower() if self._recipe.lowers else text) for text in texts]
        with self._lock:
            found = _split(self._tokenizer(texts, verbose=False))
            if self.max_tokens is not None:
                long = [place for place, each in enumerate(found) if len(each["input_ids"]) > self.max_tokens]
                self.cut += len(long)
                for place in long:
                    [found[place]] = _split(
                        self._tokenizer([texts[place]], truncation=True, max_length=self.max_tokens)
                    )
        return found

    def _pad(self, tokens: Sequence[Tokens]) -> dict[str, Tensor]:
        return dict(self._tokenizer.pad(tokens, padding=True, return_tensors="pt", verbose=False))


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
    size = getattr(config, "hidden_size", None)
    if dimensions is not None and size is not None and dimensions > size:
        message = f"expected at most the {size} dimensions of the model in {folder}, got {dimensions}"
        raise ResourceError(message, hint="leave `dimensions` out")
    known = (
        [recipe.max_tokens]
        if recipe.max_tokens
        else [tokenizer.model_max_length, getattr(config, "max_position_embeddings", None)]
    )
    limits = [each for each in known if each and each < NO_LIMIT]
    encoder = TextEncoder(transformer, recipe, dimensions).eval()
    return TextEmbedder(encoder, tokenizer, recipe, min(limits, default=None))


def plan_groups(lengths: Sequence[int]) -> list[list[int]]:
    """The places of `lengths` in groups, the longest first: none is padded by much, or has too few to be worth a call.

    >>> plan_groups([3, 9, 3, 2])
    [[1, 0, 2, 3]]
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        if not groups or _is_done(groups[-1], lengths[groups[-1][0]], lengths[place]):
            groups.append([])
        groups[-1].append(place)
    return groups


def _is_done(group: Sequence[int], longest: int, length: int) -> bool:
    return len(group) >= MOST or (len(group) >= LEAST and length < MOST_PADDED * longest)


def _split(encoded: Mapping[str, Sequence[list[int]]]) -> list[Tokens]:
    """What a tokenizer gives for several texts, text by text."""
    return [dict(zip(encoded, each, strict=True)) for each in zip(*encoded.values(), strict=True)]
