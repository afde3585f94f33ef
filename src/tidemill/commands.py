"""The command line: `tidemill check | try | run | stop | tune | status | show | retry | init | demo | serve-mock`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.console import Console

from tidemill.config.report.rendering import render_report
from tidemill.config.secrets import mask
from tidemill.errors import ConfigError, DataError, StateError, TidemillError
from tidemill.resources.process import find_exit_code, sigterm_as_interrupt
from tidemill.version import __version__

if TYPE_CHECKING:
    from tidemill.jobs.ledger.folder import RunFolder
    from tidemill.jobs.running.request import RunRequest
    from tidemill.jobs.spec.job import JobSpec

app = typer.Typer(
    name="tidemill",
    help="Stream records through models and land validated data, whatever kills it.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

ESTIMATE_S = 1.0
"""Seconds that a command reads for an estimate."""

JobArgument = Annotated[Path, typer.Argument(metavar="JOB", help="A job file.", show_default=False)]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="A job file, its output folder or its run folder.", show_default=False)
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Over the job file: budget.usd=40.")
]


def main() -> None:
    """Run the command line; every error ends in one message and an exit code."""
    sys.exit(run_command(lambda: app(standalone_mode=False)))


def run_command(command: Callable[[], Any]) -> int:
    """The exit code of `command`: its own, or 2 where the author must mend something, 3 for any other failure.

    SIGTERM ends it as Ctrl-C does, with 143.
    """
    try:
        with sigterm_as_interrupt():
            code = command()
            return code if isinstance(code, int) else 0
    except ConfigError as exc:
        text = render_report(exc.problems, color=sys.stderr.isatty()) if exc.problems else str(exc)
        return _fail(text, 2)
    except (DataError, StateError) as exc:
        return _fail(str(exc), 2)
    except TidemillError as exc:
        return _fail(str(exc), 3)
    except typer.Exit as exc:
        return exc.exit_code
    except KeyboardInterrupt as exc:
        code = find_exit_code(type(exc))
        return _fail("terminated" if code == 143 else "interrupted", code)
    except typer.Abort:
        return _fail("interrupted", 130)
    except typer.TyperException as exc:
        return _fail(exc.format_message(), 2)


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"{mask(text)}\n")
    return code


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=not sys.stdout.isatty())


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        _console().print(__version__)
        raise typer.Exit


@app.command()
def check(
    job: JobArgument,
    no_estimate: Annotated[
        bool, typer.Option("--no-estimate", help="Do not read a sample to say what the calls will come to.")
    ] = False,
    overrides: SetOption = None,
) -> None:
    """Find everything wrong with a job that can be known before a call. Nothing is called or written."""
    from tidemill.job import load_job
    from tidemill.jobs.running.inspect import estimate_job
    from tidemill.jobs.spec.notes import find_notes

    loaded = load_job(job, overrides or ())
    loaded.check()
    spec = loaded.spec
    found = None if no_estimate else estimate_job(spec, seconds=ESTIMATE_S)
    parts, before = len(tuple(spec.source.parts())), spec.halves[0]
    console = _console()
    console.print(f"{job}: nothing wrong; {parts} source part{'' if parts == 1 else 's'} → {spec.folders.output}")
    names = spec.names[1:-1]
    console.print(f"source half: {', '.join(names[: len(before)]) or 'no steps'}")
    console.print(f"record half: {', '.join(names[len(before) :]) or 'no steps'}")
    for line in found.describe() if found is not None else ():
        console.print(line)
    for note in find_notes(spec):
        console.print(note)


@app.command(name="try")
def try_(
    job: JobArgument,
    count: Annotated[int, typer.Option("-n", min=1, help="How many records.")] = 3,
    no_call: Annotated[bool, typer.Option("--no-call", help="Stop before the first request is sent.")] = False,
    overrides: SetOption = None,
) -> None:
    """Put a few records through a job: request as sent, tokens, cost, reply, parsed value. Nothing is written."""
    from tidemill.job import load_job
    from tidemill.jobs.spec.checks import check_job
    from tidemill.view.reports import print_trial

    loaded = load_job(job, overrides or ())
    check_job(loaded.spec, call=not no_call)
    console = _console()
    for number, trial in enumerate(loaded.preview(count, call=not no_call), 1):
        print_trial(console, number, trial)


@app.command()
def run(
    job: JobArgument,
    limit: Annotated[
        int | None, typer.Option(min=1, help="End after N records that come to the first call; later runs go on.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete this run's own output first, and begin anew.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    reuse: Annotated[
        str | None,
        typer.Option(metavar="OLD_RUN", help="An earlier run, whose replies are used where nothing changed."),
    ] = None,
    overrides: SetOption = None,
) -> int:
    """Run a job durably; run it again after a crash or Ctrl-C and it goes on."""
    from tidemill.jobs.running.request import RunRequest

    request = RunRequest(limit=limit, fresh=fresh, reuse=reuse)
    return _run(job, overrides, request, before=_confirm_fresh if fresh and not yes else None)


def _confirm_fresh(spec: JobSpec) -> None:
    """Ask before a run's output is deleted; where nobody can be asked, `--yes` must say so.

    Raises:
        ConfigError: it does not.
    """
    folders = spec.folders
    if not (folders.ledger.exists() or folders.manifest.exists()):
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"--fresh deletes this run's output in {folders.output}", hint="add --yes to do it unasked")
    if not typer.confirm(f"Delete this run's output in {folders.output}?"):
        sys.stderr.write("nothing was deleted\n")
        raise typer.Exit(1)


@app.command()
def retry(run: RunArgument, overrides: SetOption = None) -> int:
    """Try the quarantined and skipped records of a run again; nothing else is sent anew."""
    from tidemill.jobs.running.inspect import read_failures
    from tidemill.jobs.running.request import RunRequest

    folder = _find_folder(run)
    if not read_failures(folder, 1):
        _console().print("nothing to retry: no record stands in quarantine")
        return 0
    job, overrides = _find_job(run, folder, overrides or [])
    return _run(job, overrides, RunRequest(retry=True), before=lambda spec: _check_run(spec, folder))


def _check_run(spec: JobSpec, folder: RunFolder) -> None:
    """Check that the job file still describes the run that was named.

    Raises:
        ConfigError: it writes to another run folder now.
    """
    if spec.folders.ledger.resolve() != folder.ledger.resolve():
        raise ConfigError(
            f"the job file's run stands in {spec.folders.run} now, not in {folder.run}",
            hint="add what made the difference: --set sink.path=…",
        )


def _run(
    job: Path, overrides: list[str] | None, request: RunRequest, *, before: Callable[[JobSpec], None] | None = None
) -> int:
    from tidemill.job import load_job
    from tidemill.jobs.running.inspect import count_reasons, estimate_job
    from tidemill.jobs.running.progress import run_with_progress
    from tidemill.jobs.spec.checks import check_job
    from tidemill.view.reports import print_report

    spec = load_job(job, overrides or ()).spec
    if before is not None:
        before(spec)
    check_job(spec)  # before anything is read for the estimate
    if not request.retry and (request.fresh or not spec.folders.ledger.exists()):
        with suppress(DataError):  # of records that fail one by one, or a source that cannot be read, the run tells
            found = estimate_job(spec, seconds=ESTIMATE_S, limit=request.limit)
            request = replace(request, estimate=None if found is None else found.to_dict())
    report = run_with_progress(spec, request, show=True)
    print_report(_console(), report, count_reasons(spec.folders) if report.records["quarantined"] else ())
    return report.exit_code


@app.command()
def stop(
    run: RunArgument,
    now: Annotated[bool, typer.Option("--now", help="At once: calls in flight are not waited for.")] = False,
) -> None:
    """Stop a running run from elsewhere, as Ctrl-C does: what is finished is sealed, and running again goes on."""
    from tidemill.jobs.running.control import send_stop

    found = send_stop(_find_folder(run), now=now)
    end = "ends at once" if now else "starts nothing new and seals what is finished"
    _console().print(f"asked process {found['pid']} to stop: it {end}")


@app.command()
def tune(
    run: RunArgument,
    settings: Annotated[
        list[str], typer.Argument(metavar="KEY=VALUE...", help="concurrency=20 requests_per_minute=600 model=NAME.")
    ],
) -> None:
    """Change the limits of a running run, within a second; its next sitting takes the job's own again."""
    from tidemill.jobs.running.control import send_tuning
    from tidemill.jobs.running.tuning import parse_tuning

    tuning = parse_tuning(settings)
    found = send_tuning(_find_folder(run), tuning)
    whose = tuning.model or "every model"
    _console().print(f"asked process {found['pid']} to go on with {tuning} for {whose}, until it ends")


@app.command()
def status(
    run: RunArgument, as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False
) -> None:
    """Say what a run is doing, or how its last sitting ended."""
    from tidemill.jobs.running.inspect import read_status
    from tidemill.view.reports import print_report, print_status

    found = read_status(_find_folder(run))
    console = _console()
    if as_json:
        console.print_json(orjson.dumps(found if isinstance(found, dict) else found.to_dict()).decode())
    elif isinstance(found, dict):
        print_status(console, found)
    else:
        print_report(console, found)


@app.command()
def show(
    run: RunArgument,
    count: Annotated[int, typer.Option("-n", min=1, help="How many.")] = 5,
    replies: Annotated[bool, typer.Option("--replies", help="The replies, as kept.")] = False,
    failures: Annotated[bool, typer.Option("--failures", help="The records in quarantine, and why.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the records a run landed, its replies, or its failures."""
    from tidemill.jobs.running.inspect import read_failures, read_records, read_replies
    from tidemill.view.reports import print_records, print_rows

    folder = _find_folder(run)
    read = read_replies if replies else read_failures if failures else read_records
    rows = read(folder, count)
    if as_json:
        for row in rows:
            sys.stdout.write(orjson.dumps(row, default=repr).decode() + "\n")
    elif replies or failures:
        print_rows(_console(), rows)
    else:
        print_records(_console(), rows)


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write; by default here.")] = Path()) -> None:
    """Write a first job that runs as it is: a job file, a schema, a step, records and a test."""
    from tidemill.scaffold import write_first_job

    for path in write_first_job(folder):
        _console().print(f"wrote {path}")
    job = folder / "job.yaml"
    _console().print(f"next: tidemill check {job}; tidemill try {job} -n 1; tidemill run {job}", soft_wrap=True)


@app.command()
def demo(folder: Annotated[Path, typer.Argument(help="Where to work.")] = Path("demo")) -> int:
    """Run the main job on real input with the embedded model, from nothing to a loaded dataset."""
    from tidemill.demo import run_demo

    return run_demo(folder, _console())


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
    serve(read_plan(options, plan), port, _console())


def _find_folder(run: Path) -> RunFolder:
    from tidemill.job import load_job
    from tidemill.jobs.ledger.folder import locate_run

    if run.suffix in (".yaml", ".yml"):
        return locate_run(load_job(run).spec.folders.run)
    return locate_run(run)


def _find_job(run: Path, folder: RunFolder, overrides: list[str]) -> tuple[Path, list[str]]:
    """The job file of a run; and what is put in over it: of a folder what was when the run began, then `overrides`."""
    from tidemill.jobs.running.inspect import read_job_file

    return (run, overrides) if run.suffix in (".yaml", ".yml") else read_job_file(folder, overrides)
