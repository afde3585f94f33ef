"""What becomes of a record that did not land, and what its error says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tidemill.config.secrets import mask
from tidemill.errors import DataError, TidemillError
from tidemill.jobs.records.frames import find_user_frame


@dataclass(frozen=True, slots=True)
class Failure:
    """A record that failed at a step.

    Attributes:
        step: the step's place in the job's counts (0 is the source).
        error: what it failed with.
        record: the record as it came to the step, None when the source could not make one.
        raw: the source's bytes when it could not.
        given: children a `flat_map` gave before it failed; they stand on their own.
        path: child index at each `flat_map` passed after the source half.
        branch: the one that failed, of a step with several.
        restorable: whether `record` is still what came to the step, and not a description of it; of what the source
            could not read, whether `raw` is all of it.
    """

    step: int
    error: BaseException
    record: Any = None
    raw: bytes | None = None
    given: int = 0
    path: tuple[int, ...] = ()
    branch: str = ""
    restorable: bool = True


@dataclass(frozen=True, slots=True)
class Redo:
    """A quarantined record tried again: what enters the record half, each as `(path, record or Failure, step)`.

    Attributes:
        order: where it stands among all that the pass over the source read.
    """

    part: str
    order: int
    records: list[tuple[tuple[int, ...], Any, int]]


def explain_error(error: BaseException) -> str:
    """What `error` says, whatever it is: secrets masked, in characters that every file takes."""
    try:
        text = str(error)
    except Exception as exc:  # noqa: BLE001 - a user's exception may fail at this too
        text = f"{type(error).__name__}, whose own text fails with {type(exc).__name__}"
    return mask(text.encode("utf-8", "backslashreplace").decode()) or type(error).__name__


def describe_error(error: BaseException) -> dict[str, str]:
    """An error as JSON: its type and its text, secrets masked, and where in the user's code it came from, if it did."""
    told = error.__cause__ if isinstance(error, DataError) and error.is_foreign and error.__cause__ else error
    described = {"type": type(told).__name__, "message": explain_error(told)}
    if isinstance(error, TidemillError) and error.where:
        described["where"] = mask(error.where)
    if at := find_user_frame(told):
        described["at"] = at
    return described


def is_failure_of_run(error: BaseException) -> bool:
    """Whether `error` stops the run instead of failing its record: disk, budget, credentials, an endpoint gone."""
    return isinstance(error, TidemillError) and error.of == "run"
