"""`tidemill init`: a first job, with a schema, a step and a test, that runs as it is."""

from __future__ import annotations

from pathlib import Path

from tidemill.errors import ConfigError

JOB = """\
# Check it:  tidemill check job.yaml
# Try it:    tidemill try job.yaml -n 2
# Run it:    tidemill run job.yaml
source: {path: "records.jsonl"}
models:
  fast: {model: local/smollm2}          # or openai/gpt-4.1-mini, with OPENAI_API_KEY set
steps:
  - filter: my_steps:has_text
  - generate:
      model: fast
      prompt: "Is this review positive or negative? {{ text }}"
      output: my_schemas:Label
      into: label
      max_tokens: 48
sink: {path: out/labelled}
"""

SCHEMAS = '''\
"""The shapes of replies."""

from typing import Literal

from pydantic import BaseModel


class Label(BaseModel):
    """What the model is to say of a review."""

    sentiment: Literal["positive", "negative"]
'''

STEPS = '''\
"""The steps of the job that are plain functions."""

from typing import Any


def has_text(record: dict[str, Any]) -> bool:
    """Keep the records with something to read."""
    return bool(record["text"].strip())
'''

TEST = '''\
"""Tests of the job: its steps, and that everything it names is there."""

from my_steps import has_text

import tidemill as tm


def test_records_without_text_are_left_out() -> None:
    assert has_text({"text": "fine"})
    assert not has_text({"text": "  "})


def test_the_job_can_run() -> None:
    tm.load_job("job.yaml").check()
'''

RECORDS = """\
{"text": "The battery lasts for days."}
{"text": "It broke after an hour."}
{"text": ""}
{"text": "A bright screen and a fair price."}
"""

FILES = {
    "job.yaml": JOB,
    "my_schemas.py": SCHEMAS,
    "my_steps.py": STEPS,
    "test_job.py": TEST,
    "records.jsonl": RECORDS,
}


def write_first_job(folder: Path) -> list[Path]:
    """Write the files of a first job into `folder`; overwrites nothing.

    Raises:
        ConfigError: one of them is there already; nothing was written.
    """
    paths = [folder / name for name in FILES]
    present = [path.name for path in paths if path.exists()]
    if present:
        raise ConfigError(
            f"{', '.join(present)} {'is' if len(present) == 1 else 'are'} there already",
            where=str(folder),
            hint="name an empty folder: tidemill init FOLDER",
        )
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in zip(paths, FILES.values(), strict=True):
        path.write_text(text)
    return paths
