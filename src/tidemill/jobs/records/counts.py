"""How many records each step took and gave: the books a run must be able to close."""

from __future__ import annotations

from collections.abc import Sequence

from tidemill.errors import StateError

IN, PASSED, DROPPED, SKIPPED, QUARANTINED, EMITTED = range(6)
FIELDS = ("in", "passed", "dropped", "skipped", "quarantined", "emitted")

Counts = list[list[int]]
"""One row a step (the source first, the sink last), one number a field of `FIELDS`."""


def new_counts(steps: int) -> Counts:
    """All zeros for `steps` steps."""
    return [[0] * len(FIELDS) for _ in range(steps)]


def add_counts(total: Counts, more: Counts) -> None:
    """Add `more` to `total`, in place."""
    for row, extra in zip(total, more, strict=True):
        for field, number in enumerate(extra):
            row[field] += number


def check_counts(counts: Counts, names: Sequence[str]) -> None:
    """Check that nothing was lost: `in` is the sum of outcomes, and the next step's `in` what this one emitted.

    Raises:
        StateError: they do not add up; names the step.
    """
    for position, (row, name) in enumerate(zip(counts, names, strict=True)):
        outcomes = row[PASSED] + row[DROPPED] + row[SKIPPED] + row[QUARANTINED]
        if row[IN] != outcomes:
            raise StateError(f"step `{name}` took {row[IN]} records and accounts for {outcomes}")
        if position + 1 < len(counts) and counts[position + 1][IN] != row[EMITTED]:
            raise StateError(
                f"step `{name}` emitted {row[EMITTED]} records and `{names[position + 1]}` took "
                f"{counts[position + 1][IN]}"
            )


def count_outcomes(counts: Counts) -> dict[str, int]:
    """Records by outcome over all steps; landed ones are those the sink passed."""
    return {
        "landed": counts[-1][PASSED],
        "dropped": sum(row[DROPPED] for row in counts),
        "skipped": sum(row[SKIPPED] for row in counts),
        "quarantined": sum(row[QUARANTINED] for row in counts),
    }


def describe_steps(counts: Counts, names: Sequence[str]) -> list[dict[str, int | str]]:
    """The counts as JSON rows, one a step."""
    return [{"step": name, **dict(zip(FIELDS, row, strict=True))} for name, row in zip(names, counts, strict=True)]
