"""Folders of models that are made in a moment: a tiny BERT with random weights, and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertConfig, BertModel

WORDS = ("the", "tide", "comes", "in", "and", "goes", "out", "mill", "wheel", "turns")


def make_model(folder: Path, *, seed: int = 0, **config: Any) -> Path:
    """A model of 16 numbers and at most 24 tokens, as `save_pretrained` writes it; `WORDS` are tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer"}))
    sizes: dict[str, Any] = {"vocab_size": 15, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(seed)
    model = BertModel(BertConfig(**sizes, intermediate_size=32, max_position_embeddings=24, **config))
    model.save_pretrained(folder)
    return folder


def write_modules(folder: Path, pooling: dict[str, Any], *, normalizes: bool = False, **sentences: Any) -> None:
    """What sentence-transformers writes beside a model."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalizes else [])]
    paths = ["", "1_Pooling", "2_Normalize"]
    modules = [
        {"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for index, (kind, path) in enumerate(zip(kinds, paths, strict=False))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    config = {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": False, **pooling}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
    (folder / "sentence_bert_config.json").write_text(json.dumps(sentences))
