"""What a job's author should know of it, though nothing is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from tidemill.config.types.templates import Template
from tidemill.data.nodes.keeping import Join, find_other, iter_streams
from tidemill.data.nodes.single import Catch, Chunk
from tidemill.jobs.spec.flow import find_added
from tidemill.jobs.spec.job import JobSpec
from tidemill.models.steps.call import Call, takes_key
from tidemill.models.steps.calling import CallNode
from tidemill.models.steps.generate import Generate
from tidemill.models.structured.telling import explain_plan
from tidemill.stores.steps.index import Index

_BRACED = re.compile(r"\{ *([A-Za-z_]\w*) *\}")
"""A name as Python's `str.format` takes it."""
_PATH = re.compile(r"\S+")


def find_notes(job: JobSpec) -> list[str]:
    """A sentence for each thing that `check` tells."""
    return [
        *_note_sameness(job),
        *_note_outputs(job),
        *_note_side_effects(job),
        *_note_chunk_ids(job),
        *_note_others(job),
    ]


def _note_others(job: JobSpec) -> Iterator[str]:
    """Of each join whose other stream passes over records that fail: they are no records of the job."""
    for name, node in zip(job.names[1:-1], job.steps, strict=True):
        if not isinstance(node, Join):
            continue
        read = chain.from_iterable((source, *nodes) for source, nodes in iter_streams(*find_other(node)))
        if any(getattr(each, "on_error", None) == "skip" or isinstance(each, Catch) for each in read):
            yield f"step `{name}`: what fails in the other source is passed over; the report has how many"


def _note_sameness(job: JobSpec) -> Iterator[str]:
    """Of each step that asks all records the same once: probably a column was meant."""
    for name, node in zip(job.names[1:-1], job.steps, strict=True):
        for label, _, call in node.iter_calls() if isinstance(node, CallNode) else ():
            templates = [template for _, template in call.iter_templates()]
            varies = any(template.variables for template in templates) or any(call.iter_columns())
            if templates and not varies and getattr(call, "n", 1) == 1:
                step = f"{name}.{label}" if label else name
                yield f"step `{step}`: every record is asked the same: {_find_slip(templates, job.folder)}"


def _find_slip(templates: Sequence[Template], folder: Path) -> str:
    """What was probably meant by texts that use no column."""
    for template in templates:
        if found := _BRACED.search(template.text):
            return f"write `{{{{ {found[1]} }}}}` for `{found[0]}`, if the column is meant"
        if _PATH.fullmatch(template.text) and (folder / template.text).is_file():
            return f"write `{{file: {template.text}}}` for the text of that file"
    if not any(template.text.strip() for template in templates):
        return "its text is empty; a column is written `{{ column }}`, a file `{file: prompt.txt}`"
    return "its text uses no column; one is written `{{ column }}`"


def _note_outputs(job: JobSpec) -> Iterator[str]:
    """Of each step with an output: what its provider does not hold replies to, or why another way is taken."""
    for name, node in zip(job.names[1:-1], job.steps, strict=True):
        for label, _, call in node.iter_calls() if isinstance(node, CallNode) else ():
            plan = call.plan_output() if isinstance(call, Generate) else None
            if plan is not None and (told := explain_plan(plan)):
                yield f"step `{name}.{label}`: {told}" if label else f"step `{name}`: {told}"


def _note_side_effects(job: JobSpec) -> Iterator[str]:
    for name, node in zip(job.names[1:-1], job.steps, strict=True):
        called = (
            [call.fn for _, _, call in node.iter_calls() if isinstance(call, Call)]
            if isinstance(node, CallNode)
            else []
        )
        for fn in called:
            function = getattr(fn, "__qualname__", type(fn).__qualname__)
            told = "it gets the call's key" if takes_key(fn) else "a parameter `key` would get the call's key"
            yield (
                f"step `{name}`: what `{function}` does outside is done at least once: a call that a crash finds before"
                f" its commit is made again; {told}, which stays the same then"
            )


def _note_chunk_ids(job: JobSpec) -> Iterator[str]:
    """Of each `index` that puts all chunks of a record in under one id, of which the last alone is then there."""
    telling: set[str] | None = None
    for name, node in zip(job.names[1:-1], job.steps, strict=True):
        if isinstance(node, Chunk):
            telling = set(node.added)
        elif isinstance(node, Index) and telling is not None and not telling & node.id.variables.keys():
            written = node.id.text
            yield (
                f"step `{name}`: all chunks of a record have the id `{written}`, and the last alone stays in the store;"
                f' write `id: "{written}/{{{{ chunk }}}}"`'
            )
        elif telling is not None:
            added = find_added(node)
            telling = None if added is None else telling | set(added)
