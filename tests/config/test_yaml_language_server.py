"""The language server that editors run on YAML takes our schemas: typos flagged, keys and values offered, all told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import pytest
from languageserver import Editor, find_missing, open_editor
from pydantic import Field

import tidemill as tm

pytestmark = pytest.mark.skipif(bool(find_missing()), reason=find_missing())


class Optimiser(tm.Config):
    """How weights move."""

    lr: float = Field(1e-4, gt=0)
    """how far each step goes"""


class Train(tm.Config):
    """A training run."""

    learning_rate: float = Field(1e-4, gt=0)
    """how far each step goes"""
    batch_size: int = Field(32, ge=1)
    """records that a step looks at"""
    precision: Literal["bf16", "fp32"] = "bf16"
    """what numbers are kept in"""
    seed: int | None = None
    optim: Optimiser = Optimiser()
    """the optimiser"""


async def test_over_a_training_script_s_config(tmp_path: Path) -> None:
    (tmp_path / "train.schema.json").write_text(json.dumps(tm.json_schema(Train, of_file=True)))
    head = "# yaml-language-server: $schema=./train.schema.json\n"
    async with open_editor() as editor:
        view = await editor.view(
            tmp_path / "wrong.yaml",
            f"{head}batch_size: 0\nlearningrate: 0.01\nprecision: fp8\noptim: {{lrr: 1}}\nbat‸ch_size2: 1\n",
        )
        assert view.flagged == {
            (2, "0"): "Value is below the minimum of 1.",
            (3, "learningrate"): "Property learningrate is not allowed.",
            (4, "fp8"): 'Value is not accepted. Valid values: "bf16", "fp32".',
            (5, "lrr"): "Property lrr is not allowed.",
            (6, "batch_size2"): "Property batch_size2 is not allowed.",
        }
        view = await editor.view(tmp_path / "key.yaml", f"{head}batch_size: 64\nlea‸\n")
        assert view.offered["learning_rate"] == "how far each step goes"
        assert "batch_size" not in view.offered
        view = await editor.view(tmp_path / "inner.yaml", f"{head}optim:\n  ‸\n")
        assert list(view.offered) == ["lr"]
        view = await editor.view(tmp_path / "value.yaml", f"{head}precision: ‸\n")
        assert {"bf16", "fp32"} <= view.offered.keys()
        view = await editor.view(
            tmp_path / "right.yaml",
            f"{head}include: base.yaml\nbatch‸_size: ${{env:SIZE}}\nprecision: ${{env:PRECISION:-bf16}}\nseed: null\n",
        )
        assert view.flagged == {}
        assert view.hover.startswith("records that a step looks at")


JOB = """\
# yaml-language-server: $schema=./job.schema.json
source: {path: "reviews/*.jsonl.gz"}
models:
  fast: {model: openai/gpt-4.1-mini, limits: {requests_per_minute: 30000}, price: {input: 0.15, output: 0.60}}
steps:
  - filter: my_steps:is_english
  - gene‸rate: {model: fast, prompt: "Label this: {{ text }}", output: my_schemas:Label, into: label, max_tokens: 64}
budget: {usd: 20, deadline: 2h}
sink: {path: out/labelled}
"""


async def test_over_a_job_file(tmp_path: Path) -> None:
    (tmp_path / "job.schema.json").write_text(json.dumps(tm.json_schema(tm.Job, of_file=True)))
    async with open_editor() as editor:
        view = await editor.view(tmp_path / "job.yaml", JOB)
        assert view.flagged == {}
        assert view.hover.startswith(r"Ask \`model\` the rendered \`prompt\`")
        await check_mistakes(editor, tmp_path)
        view = await editor.view(tmp_path / "step.yaml", JOB.replace("‸", "").replace("budget", "  - ‸\nbudget"))
        assert {"map", "generate", "take"} <= view.offered.keys()
        view = await editor.view(
            tmp_path / "sink.yaml", JOB.replace("‸", "").replace("labelled}", "labelled, format: ‸}")
        )
        assert {"parquet", "jsonl"} <= view.offered.keys()


async def check_mistakes(editor: Editor, folder: Path) -> None:
    text = JOB.replace("prompt:", "promt:").replace("max_tokens: 64", "max_tokens: 0").replace("filter", "filtre")
    view = await editor.view(folder / "mistakes.yaml", text.replace("30000", "many"))
    assert view.flagged == {
        (4, "many"): 'Incorrect type. Expected "integer | null".',
        (6, "filtre"): "Property filtre is not allowed.",
        (7, "promt"): "Property promt is not allowed.",
        (7, "0"): "Value is below the minimum of 1.",
    }
