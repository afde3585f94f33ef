"""What the tests of the faces share: a job folder as a user has it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

JOB = """\
source: {{path: "reviews/*.jsonl"}}
models:
  fast: {{model: openai/any, base_url: "{base_url}", api_key: none, limits: {{concurrency: 4{limits}}}{model}}}
steps:
  - filter: my_steps:is_wanted
  - generate:
      {{model: fast, prompt: "Label this review: {{{{ text }}}}", output: my_schemas:Label, into: label, max_tokens: 9}}
sink: {{path: out/labelled, format: {format}, segment: {{records: 10}}}}
{more}"""

STEPS = """\
def is_wanted(record):
    return record["id"] % 10 != 9
"""

SCHEMAS = """\
from typing import Literal

from pydantic import BaseModel, Field


class Label(BaseModel):
    sentiment: Literal["positive", "negative"]
    topic: str = Field(max_length=40)
"""


def write_job(
    folder: Path,
    base_url: str,
    *,
    records: int = 20,
    format: str = "jsonl",  # noqa: A002 - the word of the job file
    limits: str = "",
    model: str = "",
    more: str = "",
) -> Path:
    """A job of `records` reviews in two files; every tenth is filtered out."""
    for name, text in (("my_steps.py", STEPS), ("my_schemas.py", SCHEMAS)):
        (folder / name).write_text(text)
    (folder / "reviews").mkdir(exist_ok=True)
    half = records // 2
    write_reviews(folder / "reviews" / "a.jsonl", range(half))
    write_reviews(folder / "reviews" / "b.jsonl", range(half, records))
    job = folder / "job.yaml"
    job.write_text(JOB.format(base_url=base_url, format=format, limits=limits, model=model, more=more))
    return job


def write_reviews(path: Path, numbers: Sequence[int], *, append: bool = False) -> None:
    """Records `{"id": …, "text": …}`, one a line."""
    with path.open("a" if append else "w") as file:
        for number in numbers:
            file.write(json.dumps({"id": number, "text": f"review {number}."}) + "\n")


def list_files(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` with what it holds; compiled modules apart."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def read_landed(folder: Path) -> list[dict[str, Any]]:
    """The landed records of `out/labelled`, as its manifest has them."""
    output = folder / "out" / "labelled"
    manifest = json.loads((output / "_manifest.json").read_bytes())
    lines = [line for part in manifest["parts"] for line in (output / part["name"]).read_text().splitlines()]
    return [json.loads(line) for line in lines]
