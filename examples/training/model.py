"""A small language model: a decoder in plain torch."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - as everyone writes it

from training.config import Model


class Attention(nn.Module):
    """Each token looks at those in front of it."""

    def __init__(self, cfg: Model) -> None:
        super().__init__()
        self.heads = cfg.heads
        self.dropout = cfg.dropout
        self.project = nn.Linear(cfg.width, 3 * cfg.width, bias=False)
        self.merge = nn.Linear(cfg.width, cfg.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Float (batch, tokens, width), as it came in."""
        batch, tokens, width = x.shape
        q, k, v = self.project(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        return cast(Tensor, self.merge(seen.transpose(1, 2).reshape(batch, tokens, width)))


class Block(nn.Module):
    """Attention, then a layer for each token alone; each is added to what came in."""

    def __init__(self, cfg: Model) -> None:
        super().__init__()
        self.attend = nn.Sequential(nn.LayerNorm(cfg.width), Attention(cfg), nn.Dropout(cfg.dropout))
        self.think = nn.Sequential(
            nn.LayerNorm(cfg.width),
            nn.Linear(cfg.width, 4 * cfg.width),
            nn.GELU(),
            nn.Linear(4 * cfg.width, cfg.width),
            nn.Dropout(cfg.dropout),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Float (batch, tokens, width), as it came in."""
        x = x + self.attend(x)
        return cast(Tensor, x + self.think(x))


class LanguageModel(nn.Module):
    """Says of each token which one comes next.

    Args:
        vocabulary: how many tokens there are.
        window: the most tokens it is called with.
    """

    def __init__(self, cfg: Model, vocabulary: int, window: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, cfg.width)
        self.place = nn.Embedding(window, cfg.width)
        self.blocks = nn.Sequential(*(Block(cfg) for _ in range(cfg.blocks)))
        self.norm = nn.LayerNorm(cfg.width)
        self.head = nn.Linear(cfg.width, vocabulary, bias=False)
        self.apply(_set_weights)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits: float (batch, tokens, vocabulary), of int64 (batch, tokens)."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        return cast(Tensor, self.head(self.norm(self.blocks(self.embed(tokens) + self.place(places)))))


def measure_loss(model: nn.Module, windows: Tensor) -> Tensor:
    """The mean over all tokens, in nats, of what the model says of the next one; `windows`: (batch, tokens + 1)."""
    tokens = windows.long()
    logits = model(tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def _set_weights(module: nn.Module) -> None:
    """Small enough that at first each token is about as likely as another."""
    if isinstance(module, (nn.Linear, nn.Embedding)):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
