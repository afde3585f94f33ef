"""The records of the benches and the job over them. Imports nothing beyond the standard library: peers use it too."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
JOB = HERE / "job" / "job.yaml"
WORK = HERE / ".work"
"""What the benches write; may be deleted at any time."""

MODEL = "bench"
API_KEY = "bench-key"


def make_text(number: int) -> str:
    """One review, about 400 characters, no two the same."""
    return f"Review {number}: " + "the battery lasts long and the screen is nice. " * 8


def render_prompt(number: int) -> str:
    """The job's prompt over that review."""
    return f"Label this review: {make_text(number)}"


def iter_lines(start: int, stop: int) -> Iterator[str]:
    """The records as JSON lines."""
    for number in range(start, stop):
        yield json.dumps({"id": number, "text": make_text(number)}) + "\n"


def write_records(path: Path, stop: int, start: int = 0) -> Path:
    """A JSON Lines file of reviews, gzip by suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    opened = gzip.open(path, "wt", compresslevel=6) if path.suffix == ".gz" else open(path, "w")  # noqa: SIM115
    with opened as file:
        file.writelines(iter_lines(start, stop))
    return path


def append_records(path: Path, start: int, stop: int) -> None:
    """More reviews at the end of a plain file."""
    with open(path, "a") as file:
        file.writelines(iter_lines(start, stop))


def override_job(*, source: Path, output: Path, base_url: str, concurrency: int) -> list[str]:
    """What a bench sets in the job, as `--set` takes it."""
    return [
        f"source.path={json.dumps(str(source))}",
        f"sink.path={json.dumps(str(output))}",
        f"models.fast.base_url={base_url}",
        f"models.fast.limits.concurrency={concurrency}",
    ]
