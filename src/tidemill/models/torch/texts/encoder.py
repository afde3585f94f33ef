"""`TextEncoder`: a transformer and what makes one vector of a text's tokens, as one module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from tidemill.models.torch.texts.recipe import Recipe


class TextEncoder(torch.nn.Module):
    """Gives the vectors of tokenised texts: float32 (batch, dimensions), of unit length where the recipe says so.

    Args:
        transformer: gives `last_hidden_state: (batch, tokens, hidden)` first, as transformers' models do.
        recipe: how the tokens' vectors become one.
        dimensions: how many numbers of it are kept, the first ones; None keeps all.
    """

    def __init__(self, transformer: torch.nn.Module, recipe: Recipe, dimensions: int | None = None) -> None:
        super().__init__()
        self.transformer = transformer
        self._pool = _POOLS[recipe.pooling]
        self._normalizes = recipe.normalizes
        self._dimensions = dimensions

    def forward(self, groups: Sequence[Mapping[str, Tensor]], places: Tensor) -> Tensor:
        """The vectors.

        Args:
            groups: texts of about one length, which go through the transformer together: each has `input_ids` and
                `attention_mask`, int64 (texts, tokens), and what else it takes. The mask is 0 where padding stands.
            places: int64 (batch,): of each text of all groups in a row, its place in the batch.
        """
        vectors = torch.cat([self._encode(group) for group in groups])[:, : self._dimensions]
        ordered = torch.empty_like(vectors).index_copy_(0, places.to(vectors.device), vectors)
        return normalize(ordered, dim=1) if self._normalizes else ordered

    def _encode(self, group: Mapping[str, Tensor]) -> Tensor:
        hidden: Tensor = self.transformer(**group)[0].float()
        return self._pool(hidden, group["attention_mask"].to(hidden.device))


def _pool_first(hidden: Tensor, mask: Tensor) -> Tensor:
    return _pick(hidden, mask.argmax(dim=1))


def _pool_last(hidden: Tensor, mask: Tensor) -> Tensor:
    return _pick(hidden, mask.shape[1] - 1 - mask.flip(1).argmax(dim=1))


def _pick(hidden: Tensor, places: Tensor) -> Tensor:
    return hidden[torch.arange(len(hidden), device=hidden.device), places]


def _pool_max(hidden: Tensor, mask: Tensor) -> Tensor:
    return hidden.masked_fill(mask.unsqueeze(-1) == 0, -torch.inf).amax(dim=1)


def _pool_mean(hidden: Tensor, mask: Tensor) -> Tensor:
    return _sum(hidden, mask) / _count(mask)


def _pool_root(hidden: Tensor, mask: Tensor) -> Tensor:
    return _sum(hidden, mask) / _count(mask).sqrt()


def _sum(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask.unsqueeze(-1)).sum(dim=1)


def _count(mask: Tensor) -> Tensor:
    return mask.sum(dim=1, keepdim=True).clamp(min=1)


_POOLS = {
    "cls": _pool_first,
    "lasttoken": _pool_last,
    "max": _pool_max,
    "mean": _pool_mean,
    "mean_sqrt_len_tokens": _pool_root,
}
