"""What a job's author should know of it, though nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterator

from tidemill.jobs.spec.job import JobSpec
from tidemill.models.call import Call, takes_key
from tidemill.models.calling import CallNode


def find_notes(job: JobSpec) -> list[str]:
    """A sentence for each thing that `check` tells."""
    return list(_note_side_effects(job))


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
