"""`tidemill check | try | run | retry | stop | tune | status | show | lineage`: one job, its run, what it made."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from tidemill.commands.app import FormatOption, JobArgument, RunArgument, SetOption, app, make_console, telling_as
from tidemill.config.layers.layer import SUFFIXES
from tidemill.config.report.rendering import raise_problems
from tidemill.errors import ConfigError, DataError, Problem

if TYPE_CHECKING:
    from tidemill.jobs.ledger.folder import RunFolder
    from tidemill.jobs.running.request import RunRequest
    from tidemill.jobs.spec.job import JobSpec

ESTIMATE_S = 1.0
"""Seconds that a command reads for an estimate."""


JobsArgument = Annotated[list[Path], typer.Argument(metavar="JOB...", help="Job files.", show_default=False)]


@app.command()
def check(
    jobs: JobsArgument,
    no_estimate: Annotated[
        bool, typer.Option("--no-estimate", help="Do not read a sample to say what the calls will come to.")
    ] = False,
    overrides: SetOption = None,
    form: FormatOption = "text",
) -> None:
    """Find everything wrong with jobs that can be known before a call. Nothing is called or written."""
    with telling_as(form):
        specs = _check_jobs(jobs, overrides or ())
    for job, spec in zip(jobs, specs, strict=True) if form == "text" else ():
        _describe_job(job, spec, estimate=not no_estimate)


def _check_jobs(jobs: Sequence[Path], overrides: Sequence[str]) -> list[JobSpec]:
    """The jobs, with nothing wrong in them.

    Raises:
        ConfigError: everything wrong in all of them.
    """
    from tidemill.job import load_job

    specs: list[JobSpec] = []
    problems: list[Problem] = []
    for job in jobs:
        try:
            loaded = load_job(job, overrides)
            loaded.check()
            specs.append(loaded.spec)
        except ConfigError as exc:
            if len(jobs) == 1 or not exc.problems:
                raise
            problems += exc.problems
    raise_problems(problems)
    return specs


def _describe_job(job: Path, spec: JobSpec, *, estimate: bool) -> None:
    from tidemill.jobs.running.inspect import estimate_job
    from tidemill.jobs.spec.notes import find_notes

    found = estimate_job(spec, seconds=ESTIMATE_S) if estimate else None
    parts, before = len(tuple(spec.source.parts())), spec.halves[0]
    console = make_console()
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
    console = make_console()
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
        make_console().print("nothing to retry: no record stands in quarantine")
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
    check_job(spec, read=not request.retry)  # before anything is read for the estimate
    if not request.retry and (request.fresh or not spec.folders.ledger.exists()):
        with suppress(DataError):  # of records that fail one by one, or a source that cannot be read, the run tells
            found = estimate_job(spec, seconds=ESTIMATE_S, limit=request.limit)
            request = replace(request, estimate=None if found is None else found.to_dict())
    report = run_with_progress(spec, request, show=True, is_checked=True)
    print_report(make_console(), report, count_reasons(spec.folders) if report.records["quarantined"] else ())
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
    make_console().print(f"asked process {found['pid']} to stop: it {end}")


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
    make_console().print(f"asked process {found['pid']} to go on with {tuning} for {whose}, until it ends")


@app.command()
def status(
    run: RunArgument, as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False
) -> None:
    """Say what a run is doing, or how its last sitting ended."""
    from tidemill.jobs.running.inspect import read_status
    from tidemill.view.reports import print_report, print_status

    found = read_status(_find_folder(run))
    console = make_console()
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
    agents: Annotated[bool, typer.Option("--agents", help="What agents did: a line a turn.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show the records a run landed, its replies, what its agents did, or its failures."""
    from tidemill.jobs.running.inspect import read_failures, read_records, read_replies
    from tidemill.jobs.running.transcripts import read_transcripts
    from tidemill.view.agents import print_transcripts
    from tidemill.view.reports import print_records, print_rows

    folder = _find_folder(run)
    read = read_replies if replies else read_failures if failures else read_transcripts if agents else read_records
    rows = read(folder, count)
    if as_json:
        for row in rows:
            sys.stdout.write(orjson.dumps(row, default=repr).decode() + "\n")
    elif agents:
        print_transcripts(make_console(), rows)
    elif replies or failures:
        print_rows(make_console(), rows)
    else:
        print_records(make_console(), rows)


@app.command()
def lineage(
    output: Annotated[
        str, typer.Argument(metavar="OUT", help="An output folder, OUT@HASH for a version, or a job file.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say where an output comes from: its versions, runs, models and prices, and what it was made of."""
    from tidemill.job import load_job
    from tidemill.jobs.running.lineage import trace_lineage
    from tidemill.view.lineage import print_lineage

    is_job = output.endswith(SUFFIXES)
    traced = trace_lineage(load_job(output).spec.folders.output if is_job else output)
    console = make_console()
    if as_json:
        console.print_json(orjson.dumps(traced).decode())
    else:
        print_lineage(console, traced)


def _find_folder(run: Path) -> RunFolder:
    from tidemill.job import load_job
    from tidemill.jobs.ledger.folder import locate_run

    if run.suffix in SUFFIXES:
        return locate_run(load_job(run).spec.folders.run)
    return locate_run(run)


def _find_job(run: Path, folder: RunFolder, overrides: list[str]) -> tuple[Path, list[str]]:
    """The job file of a run; and what is put in over it: of a folder what was when the run began, then `overrides`."""
    from tidemill.jobs.running.inspect import read_job_file

    return (run, overrides) if run.suffix in SUFFIXES else read_job_file(folder, overrides)
