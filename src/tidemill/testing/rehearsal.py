"""A whole job on scripted replies: no network, no keys, no waiting."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from pydantic import SecretStr

from tidemill.agents.agent import Agent
from tidemill.agents.step import RunAgent
from tidemill.agents.teams import FanOut
from tidemill.config.wording.suggest import suggest
from tidemill.data.nodes.node import Node, step_names
from tidemill.data.nodes.single import Observe
from tidemill.data.sources.iterable import FromIterable
from tidemill.errors import ConfigError
from tidemill.jobs.running.inspect import read_failures, read_records
from tidemill.jobs.running.report import Report
from tidemill.jobs.running.request import RunRequest
from tidemill.jobs.running.runner import Runner
from tidemill.jobs.spec.checks import check_job
from tidemill.jobs.spec.file import load_job_file
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.model import Model
from tidemill.models.steps.branches import Gather
from tidemill.models.steps.call import Call
from tidemill.models.steps.calling import CallNode
from tidemill.protocols import Record
from tidemill.stores.steps.index import Index
from tidemill.stores.steps.search import Search
from tidemill.testing.clock import run_virtual
from tidemill.testing.script import Asked, Script, ScriptTransport, address_step, script_function

ALL = 1 << 62


class HasSpec(Protocol):
    """A `Job`."""

    @property
    def spec(self) -> JobSpec: ...


class HasJob(Protocol):
    """A stream, which makes a job of itself for a folder."""

    def job(self, path: str) -> HasSpec: ...


AnyJob = str | PathLike[str] | JobSpec | HasSpec | HasJob
"""A job file's path, a `Job` or its description, or a stream."""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a rehearsed job came to.

    Attributes:
        records: the records that landed, in order.
        quarantined: those that failed: identity, step, why (`error`), and the record (`value`).
        report: as of a run.
        calls: what each step asked, in order, attempts and re-asks included, by its name.
    """

    records: Sequence[Record]
    quarantined: Sequence[Mapping[str, Any]]
    report: Report
    calls: Mapping[str, Sequence[Asked]]


def run(
    job: AnyJob,
    replies: Mapping[str, Any],
    *,
    records: Iterable[Record] | None = None,
    limit: int | None = None,
    folder: str | PathLike[str] | None = None,
    overrides: Sequence[str] = (),
) -> Rehearsal:
    """Run a job on scripted replies, in milliseconds: steps, checks, re-asks, retries and landing are the real ones.

        def test_a_review_gets_a_label():
            seen = tidemill.testing.run("job.yaml", {"generate": {"sentiment": "positive", "topic": "batteries"}},
                                        records=[{"text": "It lasts for days."}])
            assert seen.records[0]["label"]["topic"] == "batteries"
            assert "It lasts for days." in seen.calls["generate"][0].prompt
            assert not seen.quarantined

    Nothing is sent and no key is needed, whatever the provider. Time is virtual: limits, back-off and deadlines pass at
    once. A `call` that no reply is given for runs its own function, a `search` asks its store, an `embed` in this
    process its model, and an agent its tools; an `index` puts nothing into its store. Works inside a running event
    loop.

    Args:
        job: a job file, a `Job`, its description, or a stream.
        replies: by the name of the step that asks (`generate`, or its `name:`; of a branch `gather.user`; of an agent
            that another one of the step asks `agent.critic`), one of: a text; `ToolCalls`, which ask to have tools
            called; a dict or a Pydantic object, sent as JSON; for `embed` a list of numbers, or how many are to follow
            from the text; for `call` and `search` any JSON value; a list of such, each given once, in the order of the
            requests; an exception, which the attempt fails with (`TransientCallError("…")` is tried again); a
            `Response`, such as `error_response(429)`; or a function of the `Asked` that gives any of these but a list
            in turn.
        records: in the place of the job's source.
        limit: end after this many records of the source half.
        folder: where output and run folder are put, and stay; by default in a temporary one.
        overrides: over what a job file says, as `key.path=value`.

    Raises:
        UnansweredError: a request came that no reply was given for; names the step and shows the request. It is an
            AssertionError too.
        ConfigError: the job has something wrong, or no step of it that asks is called as a key of `replies`.
        Exception: what a function in `replies` raised.
    """
    with _open_folder(folder) as path:
        spec = _load(job, path, overrides)
        script = _write_script(spec, replies)
        scripted = _script_job(spec, script, replies, records=records, folder=path)
        check_job(scripted)
        report = _run(scripted, script, limit)
        folders = scripted.folders
        return Rehearsal(read_records(folders, ALL), read_failures(folders, ALL), report, script.asked)


@contextmanager
def _open_folder(folder: str | PathLike[str] | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder).absolute()
        return
    with TemporaryDirectory(prefix="tidemill-") as temporary:
        yield Path(temporary)


def _load(job: Any, folder: Path, overrides: Sequence[str]) -> JobSpec:
    if isinstance(job, (str, PathLike)):
        return load_job_file(Path(job), overrides)
    if overrides:
        raise ConfigError("overrides are put in over a job file, and this job is none")
    if isinstance(job, JobSpec):
        return job
    made = job if hasattr(job, "spec") else job.job(str(folder / "out"))
    spec: JobSpec = made.spec
    return spec


def _write_script(spec: JobSpec, replies: Mapping[str, Any]) -> Script:
    """The script of a job, whose calls are those that may have replies."""
    names = [
        _name_call(name, label)
        for name, node in zip(step_names(spec.steps), spec.steps, strict=True)
        if isinstance(node, CallNode)
        for label in [label for label, _, _ in node.iter_calls()] or [""]
    ]
    for name in replies:
        if name not in names:
            hint = suggest(name, names) or "it has none: a rehearsal needs no replies then"
            raise ConfigError(f"no step of this job that asks is called `{name}`", hint=hint)
    return Script(replies, names)


def _name_call(name: str, label: str) -> str:
    """What a call's replies stand under: its step's name; behind it the branch's of a `gather`, or another agent's."""
    return f"{name}.{label}" if label else name


def _script_job(
    spec: JobSpec, script: Script, replies: Mapping[str, Any], *, records: Iterable[Record] | None, folder: Path
) -> JobSpec:
    """The job, its calls made to ask the script, its records where given in the place of the source's."""
    names = step_names(spec.steps)
    steps = [_script_step(node, name, script, replies) for node, name in zip(spec.steps, names, strict=True)]
    return spec.model_copy(
        update={
            "source": spec.source if records is None else FromIterable(iterable=list(records)),
            "steps": tuple(steps),
            "sink": spec.sink.model_copy(update={"path": str(folder / "out")}),
            "run": spec.run.model_copy(update={"dir": None}),
        }
    )


def _script_step(node: Node, name: str, script: Script, replies: Mapping[str, Any]) -> Node:
    """The step, its calls made to ask the script."""
    if not isinstance(node, CallNode):
        return node
    if isinstance(node, Index):
        return Observe(fn=_let_pass, name=name)
    if isinstance(node, Search) and name in replies:
        return Call(fn=script_function(script, name), into=node.into, name=name, on_error=node.on_error)
    if isinstance(node, RunAgent):
        return node.model_copy(update={"agent": _script_agent(node.agent, name)})
    if isinstance(node, Gather):
        calls = [_script_step(call, _name_call(name, label), script, replies) for label, _, call in node.iter_calls()]
        return node.with_inner(calls)
    model = node.find_model()
    if model is not None and (name in replies or any(node.iter_calls())):
        return node.model_copy(update={"model": _script_model(model, name)})
    if name in replies:
        return node.model_copy(update={"fn": script_function(script, name)})
    return node


def _let_pass(record: Record) -> None:
    """In the place of what would put it into a store."""


def _script_agent(agent: Agent, name: str, within: str = "") -> Agent:
    """The agent, its model and those of the agents that it may ask made to ask the script.

    Args:
        name: of the step; `within` is the name of the agent, where it is not the step's own.
    """

    def script(other: Agent) -> Agent:
        return _script_agent(other, name, other.name)

    def script_tool(tool: Any) -> Any:
        if isinstance(tool, FanOut):
            return tool.model_copy(update={"agents": tuple(map(script, tool.agents))})
        return script(tool) if isinstance(tool, Agent) else tool

    return agent.model_copy(
        update={
            "model": _script_model(agent.model, _name_call(name, within)),
            "tools": tuple(map(script_tool, agent.tools)),
            "handoffs": tuple(map(script, agent.handoffs)),
        }
    )


def _script_model(model: Model, step: str) -> Model:
    """`model`, asked in its own format under an address that says which step asks."""
    return model.model_copy(
        update={
            "model": f"openai/{model.name}" if model.is_litellm else model.model,
            "base_url": address_step(step),
            "serve": None,
            "api_key": SecretStr("none-needed"),
            "headers": {},
            "price": model.lane_price,
        }
    )


def _run(scripted: JobSpec, script: Script, limit: int | None) -> Report:
    """The report of a run in virtual time; what a function of the script raised is raised."""
    request = RunRequest(limit=limit)
    runner = Runner(scripted, request, transport=lambda: ScriptTransport(script), rng=random.Random(0))
    with ThreadPoolExecutor(1, "tidemill-rehearsal") as thread:  # also where a loop is running
        report = thread.submit(lambda: run_virtual(runner.run())).result()
    if script.failure is not None:
        raise script.failure
    return report
