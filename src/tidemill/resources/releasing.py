"""What leaves a block whose resources failed as they were released: the block's own error first, none of them lost."""

from __future__ import annotations

from collections.abc import Sequence


def raise_failures(error: BaseException | None, failures: Sequence[BaseException], what: str) -> None:
    """Raise the failure of a release, or the group of several; notes on `error` where the block raised that.

    Args:
        error: what the block raised, which leaves it as the very object; None where it raised nothing.
        what: names the group.
    """
    if error is not None:
        note_failures(error, failures)
        return
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise BaseExceptionGroup(what, failures)


def note_failures(error: BaseException, failures: Sequence[BaseException]) -> None:
    """Tell the failures of releases as notes on `error`, which is about to be raised."""
    for failure in failures:
        if failure is not error:
            error.add_note(f"and while releasing: {type(failure).__name__}: {failure}")
