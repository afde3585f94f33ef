"""Configurations of 300 keys, and bombs: short files that stand for a great deal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

MODELS = 8
STEPS = 27
SECTIONS = 25

SCHEMAS = """\
from pydantic import BaseModel


class Label(BaseModel):
    answer: str
    score: float
"""


def write_job(folder: Path) -> Path:
    """A job file of 301 keys: 8 models, 27 steps."""
    (folder / "bench_labels.py").write_text(SCHEMAS)
    models = "".join(
        f"  m{number}:\n"
        "    model: openai/bench\n"
        f"    base_url: http://127.0.0.1:80{number:02}/v1\n"
        "    limits: {requests_per_minute: 30000, tokens_per_minute: 2000000, concurrency: 64}\n"
        "    price: {input: 0.15, output: 0.60}\n"
        f"    params: {{temperature: 0.{number}, top_p: 0.9}}\n"
        for number in range(MODELS)
    )
    steps = "".join(
        f"  - generate:  # question {number}\n"
        f"      name: question{number}\n"
        f"      model: m{number % MODELS}\n"
        f'      prompt: "Label this review, as {number} would: {{{{ text }}}}"\n'
        "      output: bench_labels:Label\n"
        f"      into: label{number}\n"
        "      max_tokens: 64\n"
        for number in range(STEPS)
    )
    path = folder / "job.yaml"
    path.write_text(
        f"source: {{path: reviews.jsonl}}\nmodels:\n{models}steps:\n{steps}budget: {{usd: 20}}\nsink: {{path: out}}\n"
    )
    return path


def write_training(folder: Path) -> Path:
    """A training script's configuration of 300 keys: 25 stages of 12 each."""
    stage = (
        "  learning_rate: 3e-4\n  batch_size: 64\n  weight_decay: 0.01\n  epochs: 3\n  warmup_ratio: 0.1\n"
        "  optimizer: adamw\n  precision: bfloat16\n  compile: true\n  data: data/train.parquet\n  seed: {number}\n"
        "  name: stage-{number}\n"
    )
    path = folder / "train.yaml"
    path.write_text("".join(f"stage{number}:\n{stage.format(number=number)}" for number in range(SECTIONS)))
    return path


def count_keys(value: Any) -> int:
    """How many keys the mappings of a plain value have."""
    if isinstance(value, dict):
        return sum(1 + count_keys(item) for item in value.values())
    return sum(map(count_keys, value)) if isinstance(value, list) else 0


def write_alias_bomb(folder: Path) -> Path:
    """Ten aliases of ten of ten …: a billion texts in a kilobyte."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: &a{number} [{_ten_times(f'*a{number - 1}', ', ')}]" for number in range(1, 9)]
    return _write(folder / "aliases.yaml", lines)


def write_reference_bomb(folder: Path) -> Path:
    """The same of references within texts."""
    lines = ["a0: xxxxxxxxxx"]
    lines += [f"a{number}: '{_ten_times(_refer(number - 1))}'" for number in range(1, 9)]
    return _write(folder / "references.yaml", lines)


def write_value_bomb(folder: Path) -> Path:
    """The same of references that are whole values."""
    lines = ["a0: [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{number}: [{_ten_times(repr(_refer(number - 1)), ', ')}]" for number in range(1, 9)]
    return _write(folder / "values.yaml", lines)


def write_include_bomb(folder: Path) -> Path:
    """The same of files that each include another ten times."""
    for number in range(1, 9):
        _write(folder / f"part{number}.yaml", [f"include: [{_ten_times(f'part{number - 1}.yaml', ', ')}]"])
    _write(folder / "part0.yaml", ["a: 1"])
    return folder / "part8.yaml"


def _refer(number: int) -> str:
    return f"${{a{number}}}"


def _ten_times(text: str, joint: str = "") -> str:
    return joint.join([text] * 10)


def _write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


BOMBS = {
    "aliases": write_alias_bomb,
    "references in texts": write_reference_bomb,
    "references to lists": write_value_bomb,
    "includes": write_include_bomb,
}
