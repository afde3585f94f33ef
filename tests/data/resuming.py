"""Going through an iterator, failures included, and the contract that every one of them resumes exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tidemill.errors import TidemillError
from tidemill.protocols import RecordIterator, State

Open = Callable[[State | None], RecordIterator]


def next_outcome(iterator: RecordIterator) -> Any:
    """The next record, or what its failure says; None at the end."""
    try:
        return ("record", next(iterator))
    except StopIteration:
        return None
    except TidemillError as error:
        return (type(error).__name__, error.message, getattr(error, "raw", None), getattr(error, "offset", None))


def outcomes(iterator: RecordIterator, count: int | None = None) -> list[Any]:
    """All that is left, or `count` of it; the iterator is closed when it came to its end."""
    found: list[Any] = []
    while count is None or len(found) < count:
        outcome = next_outcome(iterator)
        if outcome is None:
            iterator.close()
            break
        found.append(outcome)
    return found


def check_resumes_everywhere(open_at: Open) -> list[Any]:
    """Check that going on from the state at every position gives the uninterrupted tail, twice in a row."""
    whole = outcomes(open_at(None))
    walking = open_at(None)
    for position in range(len(whole) + 1):
        state = through_json(walking.state())
        assert through_json(walking.state()) == state, "asking for the state must not move the iterator"
        assert outcomes(open_at(state)) == whole[position:]
        again = open_at(state)
        step = min(1, len(whole) - position)
        assert outcomes(again, step) == whole[position : position + step]
        assert outcomes(open_at(through_json(again.state()))) == whole[position + step :]
        again.close()
        next_outcome(walking)
    walking.close()
    return whole


def through_json(state: State) -> State:
    loaded: State = json.loads(json.dumps(state))
    return loaded
