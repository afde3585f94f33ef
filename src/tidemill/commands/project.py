"""`tidemill init | demo | serve-mock`: a first job, the main one, and a server to try things against."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tidemill.commands.app import app, make_console


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write; by default here.")] = Path()) -> None:
    """Write a first job that runs as it is: a job file, a schema, a step, records and a test."""
    from tidemill.scaffold import write_first_job

    for path in write_first_job(folder):
        make_console().print(f"wrote {path}")
    job = folder / "job.yaml"
    make_console().print(f"next: tidemill check {job}; tidemill try {job} -n 1; tidemill run {job}", soft_wrap=True)


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Where to work.")] = Path("demo")) -> int:
    """Run the main job on real input with the embedded model, from nothing to a loaded dataset."""
    from tidemill.demo import run_demo

    return run_demo(folder, make_console())


@app.command(name="serve-mock")
def serve_mock(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8080,
    plan: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Everything below and more, as YAML; alone beside --port.")
    ] = None,
    latency_ms: Annotated[float | None, typer.Option(help="From a request to its answer.")] = None,
    requests_per_minute: Annotated[float | None, typer.Option(help="Beyond it, 429.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(help="Beyond it, 429; input and output together.")] = None,
    window_s: Annotated[
        float | None, typer.Option("--window", "--window-s", help="Seconds that these hold over; by default 60.")
    ] = None,
    kind: Annotated[str | None, typer.Option(help="bucket, sliding or fixed; by default bucket.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Calls in flight; beyond it, 429.")] = None,
    errors: Annotated[float | None, typer.Option(metavar="RATIO", help="Share of calls answered 500: 0.05.")] = None,
    first_token_ms: Annotated[float | None, typer.Option(help="Until the first token of a reply.")] = None,
    tokens_per_second: Annotated[float | None, typer.Option(help="The pace of those behind it.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of which calls fail; by default 0.")] = None,
) -> None:
    """Serve a mock of OpenAI and Anthropic that can be slow, limited and faulty, and counts what it would bill."""
    from tidemill.testing.mock import MockOptions, read_plan
    from tidemill.testing.mock import serve_mock as serve

    given = {
        "latency_ms": latency_ms,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "window_s": window_s,
        "kind": kind,
        "concurrency": concurrency,
        "errors": errors,
        "first_token_ms": first_token_ms,
        "tokens_per_second": tokens_per_second,
        "seed": seed,
    }
    options = MockOptions(**{name: value for name, value in given.items() if value is not None})
    serve(read_plan(options, plan), port, make_console())
