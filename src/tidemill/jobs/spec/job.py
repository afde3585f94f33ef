"""`JobSpec`: a source, steps and a sink as frozen data, and what makes two of them the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf, field_validator
from pydantic_core import PydanticCustomError

from tidemill.calls.limits import Budget
from tidemill.config.layers.document import Document
from tidemill.config.model import Settings
from tidemill.config.objects.descriptions import describe_value, fingerprint_json
from tidemill.config.roles import Runtime
from tidemill.config.types.functions import Schema
from tidemill.data.entering.resource import Resource
from tidemill.data.nodes.fingerprints import describe_node
from tidemill.data.nodes.keeping import renew_other
from tidemill.data.nodes.node import Node, split_halves, step_names
from tidemill.data.sources.read import Read
from tidemill.data.sources.table import renew_source
from tidemill.jobs.landing.stretch import SegmentLimits
from tidemill.jobs.ledger.folder import RUN_FOLDER, RunFolder
from tidemill.protocols import Source


def _check_max_errors(value: float) -> float:
    """Check that a bound from 1 on, which is a count, is whole."""
    if value >= 1 and not value.is_integer():
        raise PydanticCustomError(
            "max_errors",
            "expected a ratio below 1 or a whole number of records, got {value}",
            {"value": value, "hint": f"for {value:g} % write {value / 100:g}" if value < 100 else ""},
        )
    return value


MaxErrors = Annotated[float, Field(ge=0), AfterValidator(_check_max_errors)]
"""The quarantined records at which a run stops: below 1 a ratio of the records, else a count."""


def check_local(path: str | None) -> str | None:
    """Check that `path` names a folder of this machine: an address would become a folder of that name."""
    if path == "":
        raise PydanticCustomError("local_path", "expected a folder, got an empty text", {"hint": "for example `out`"})
    if path is not None and "://" in path:
        raise PydanticCustomError("local_path", "expected a local folder, got `{path}`", {"path": path})
    return path


class Sink(Settings):
    """Where landed records go: a folder of sealed parts.

    Attributes:
        path: the folder; it belongs to one run.
        format: `parquet` (zstd, one row group a part) or `jsonl`.
        record_schema: `schema:` in a job file, a Pydantic model that every landing record must be of; it gives Parquet
            its columns, which without it are those of the first segment, outputs typed by their models.
        segment: when a finished stretch is sealed.
    """

    model_config = ConfigDict(populate_by_name=True, json_schema_extra={"examples": [{"path": "out"}]})

    path: Annotated[str, Runtime()]
    format: Literal["parquet", "jsonl"] = "parquet"
    record_schema: Schema | None = Field(default=None, alias="schema")
    segment: Annotated[SegmentLimits, Runtime()] = SegmentLimits()

    _check_path = field_validator("path")(check_local)


class RunOptions(Settings):
    """`run:` in a job file.

    Attributes:
        dir: the run folder; by default `.run` in the output folder.
        grace_s: seconds that calls in flight are given after the first Ctrl-C.
        latency: whether the latency blocks of the steps' functions are timed.
    """

    dir: str | None = None
    grace_s: float = Field(default=10.0, ge=0)
    latency: bool = True

    _check_dir = field_validator("dir")(check_local)


def find_folders(folder: Path, sink: Sink, run: RunOptions) -> RunFolder:
    """Where the output and the run of a job in `folder` stand."""
    output = folder / sink.path
    return RunFolder(output, folder / run.dir if run.dir else output / RUN_FOLDER)


class JobSpec(Settings):
    """A whole job.

    Attributes:
        source: where records come from.
        steps: what is done with each, in order.
        sink: where they land.
        resources: what the steps' functions are called with, by the name of the parameter; a job file's own. A step has
            what it takes of them.
        budget: the most that may be spent over the life of the run.
        max_errors: the quarantined records at which the run stops: below 1 a ratio of the records, else a count.
        run: where the run folder is, and how the run ends.
        folder: what relative paths start from; a job file's own folder.
        file: the job file it was read from.
        overrides: what was put in over what the file says, as `key.path=value`.
    """

    source: Read | InstanceOf[Source]
    steps: tuple[InstanceOf[Node], ...]
    sink: Sink
    resources: Annotated[dict[str, Resource], Runtime()] = Field(default_factory=dict)
    budget: Annotated[Budget | None, Runtime()] = None
    max_errors: Annotated[MaxErrors, Runtime()] = 0.05
    run: Annotated[RunOptions, Runtime()] = RunOptions()
    folder: Annotated[Path, Runtime()] = Path()
    file: Annotated[Path | None, Runtime()] = None
    overrides: Annotated[tuple[str, ...], Runtime()] = ()
    _document: Document | None = None

    @property
    def document(self) -> Document | None:
        """The values it was read from, with their places; None when it was made in Python."""
        return self._document

    @property
    def names(self) -> tuple[str, ...]:
        """What the counts are kept by: the source, each step, the sink."""
        return ("source", *step_names(self.steps), "sink")

    @property
    def halves(self) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
        """The source half and the record half."""
        return split_halves(self.steps)

    @property
    def folders(self) -> RunFolder:
        """Where the output and the run stand."""
        return find_folders(self.folder, self.sink, self.run)

    def renew(self) -> Self:
        """The same job, which looks anew for datasets that its file names: another job may have written since."""
        steps = tuple(map(renew_other, self.steps))
        return self.model_copy(update={"source": renew_source(self.source), "steps": steps})

    def describe(self) -> dict[str, Any]:
        """What decides the result, as JSON: source, steps, prompts, schemas, models, parameters, functions."""
        steps = [
            {"name": name, **describe_node(node)} for node, name in zip(self.steps, step_names(self.steps), strict=True)
        ]
        return {"source": self.source.describe(), "steps": steps, "sink": describe_value(self.sink)}

    @property
    def fingerprint(self) -> str:
        """A hex digest of `describe()`: equal for a chain and a job file that say the same."""
        return fingerprint_json(self.describe())
