"""Names as configurations have them: most far from each other, some near."""

from __future__ import annotations

import random
from collections.abc import Sequence

_NAMES = """
learning_rate min_lr max_lr lr lr_decay weight_decay wd batch_size eval_batch_size micro_batch_size batch_count epochs
num_epochs max_steps warmup_steps warmup_ratio total_steps eval_steps save_steps logging_steps seed data_seed dropout
attention_dropout hidden_dropout hidden_size hidden_dim num_layers num_heads num_workers vocab_size max_length
min_length seq_len stride window beta1 beta2 beta betas alpha gamma eps epsilon momentum nesterov amsgrad optimizer
optim scheduler schedule decay clip_norm grad_clip gradient_accumulation precision dtype device devices strategy
backend compile checkpoint checkpointing resume output_dir output_path cache_dir data_dir log_dir dataset datasets
train_split eval_split test_split split shuffle prefetch drop_last pin_memory persistent tokenizer model model_name
models revision prompt prompts system_prompt template temperature top_p top_k max_tokens min_tokens stop stop_words
presence_penalty frequency_penalty repetition_penalty num_beams timeout_s retry retries max_retries backoff rate_limit
limits limit concurrency requests_per_minute tokens_per_minute budget budget_usd price input output source sink path
paths pattern glob columns column key keys name names description tags tag_names version metric metrics monitor
patience mode threshold quantile loss loss_weight label_smoothing mixup cutmix augment crop resize scale mean std
image_size patch_size channels kernel_size kernel padding dilation groups bias activation norm norm_eps init init_std
rank lora_rank lora_alpha target_modules adapter adapters merge quantize bits group_size double_quant dim reward
reward_model critic kl_coef kl_target discount horizon rollout rollouts samples sample num_samples chunk_size overlap
index index_type distance probes endpoint host port base_url region bucket prefix suffix level verbose
"""
NAMES = tuple(_NAMES.split())

_CHOICES = """
adamw sgd lion adafactor cosine linear constant polynomial inverse_sqrt float32 bfloat16 float16 int8 raise quarantine
skip warn steps epoch never always mean sum none_at_all last first relu gelu silu swiglu cross_entropy focal mse train
validation test parquet jsonl arrow flash eager sdpa greedy nucleus beam auto manual local remote zstd gzip lz4
"""
CHOICES = tuple(_CHOICES.split())

_ENGLISH = """
house water people because number sound write could first place little world live where after sentence great help
through much before line right mean old any same tell boy follow came want show also around form three small set put
end does another well large must big even such turn here why ask went men read need land different home us move try
kind hand picture again change off play spell air away animal point page letter mother answer found study still learn
"""
ENGLISH = tuple(_ENGLISH.split())

_WORDS = """
the of a label review text answer question données größe 日本 user: assistant: it's "quoted" # no-comment a,b
"""
WORDS = (*_WORDS.split(), "{{ text }}", "key: value", "- item", "50%", "😀", "[x]", "back\\slash")


def draw_names(rng: random.Random, count: int, among: Sequence[str] = NAMES) -> list[str]:
    """So many different names; two of three times some of them are neighbours in the list, and so alike."""
    chosen: dict[str, None] = {}
    while len(chosen) < count:
        start = rng.randrange(len(among))
        for name in among[start : start + (rng.randint(2, 4) if rng.random() < 0.4 else 1)]:
            chosen[name] = None
    return list(chosen)[:count]


LETTERS = "abcdefghijklmnopqrstuvwxyz_"


def draw_typo(rng: random.Random, name: str, edits: int) -> str:
    """The name after so many random edits: a character left out, put in, replaced, or swapped with its neighbour."""
    for _ in range(edits):
        at = rng.randrange(len(name))
        edit = rng.randrange(4)
        if edit == 0 and len(name) > 1:
            name = name[:at] + name[at + 1 :]
        elif edit == 1:
            name = name[:at] + rng.choice(LETTERS) + name[at:]
        elif edit == 2:
            name = name[:at] + rng.choice(LETTERS) + name[at + 1 :]
        else:
            name = name[:at] + name[at : at + 2][::-1] + name[at + 2 :]
    return name


def count_edits(one: str, other: str) -> int:
    """The optimal string alignment distance, by its definition (Boytsov 2011, section 2.1): what judges the product."""
    rows = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in range(len(one) + 1):
        for j in range(len(other) + 1):
            if not i or not j:
                rows[i][j] = i + j
                continue
            unequal = one[i - 1] != other[j - 1]
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + unequal)
            if i > 1 and j > 1 and one[i - 1] == other[j - 2] and one[i - 2] == other[j - 1]:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]
