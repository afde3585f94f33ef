from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments

import tidemill as tm
from tidemill.adapters.torch import TorchStream, to_torch
from tidemill.data.formats.jsonl import save_jsonl

ROWS = [{"input_ids": [n, n + 1, n + 2], "labels": [n, n + 1, n + 2], "text": f"row {n}"} for n in range(8)]


def make_model() -> GPT2LMHeadModel:
    """A language model of a few hundred parameters, drawn here."""
    torch.manual_seed(1)
    return GPT2LMHeadModel(
        GPT2Config(n_embd=8, n_layer=1, n_head=1, n_positions=8, vocab_size=16, bos_token_id=0, eos_token_id=0)
    )


def read_stream(path: Path) -> TorchStream:
    return to_torch(tm.read(path), rank=0, world=1)


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("read", [tm.dataset, read_stream])
def test_a_trainer_trains_on_what_it_is_given(read: Callable[[Path], Any], workers: int, tmp_path: Path) -> None:
    """With `tm.collate` as its collator, a dataset or a stream is all that Trainer asks for; the weights move."""
    save_jsonl(ROWS, tmp_path / "rows.jsonl")
    model = make_model()
    before = model.lm_head.weight.detach().clone()
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"),
        max_steps=2,
        per_device_train_batch_size=2,
        learning_rate=0.1,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        dataloader_num_workers=workers,
    )
    dataset = read(tmp_path / "rows.jsonl")
    trainer = Trainer(model=model, args=arguments, train_dataset=dataset, data_collator=tm.collate)
    result = trainer.train()
    assert result.global_step == 2
    assert not torch.equal(model.lm_head.weight, before)
