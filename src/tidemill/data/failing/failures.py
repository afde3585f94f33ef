"""What an error out of a step becomes: typed, with the place of its record, the step and the cause."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn

from tidemill.config.secrets import mask
from tidemill.errors import DataError, TidemillError, WorkerError

PASSED_ON = (KeyboardInterrupt, SystemExit, asyncio.CancelledError)
"""What ends the program or the task, whoever raised it: it is never turned into a record's failure."""


NO_RECORD: Any = object()
"""In place of a record that is not kept, as None may be one."""


def stop_iteration_error(step: str) -> WorkerError:
    """What a `StopIteration` out of the function of `step` becomes."""
    error = WorkerError(
        "the function raised StopIteration, which would have ended the stream",
        where=f"step `{step}`",
        hint="was it a next() on an empty iterator? next(iterator, None) gives None instead",
    )
    error.step = step
    return error


def exit_error(error: BaseException, step: str) -> WorkerError:
    """What a SystemExit or KeyboardInterrupt out of a function of `step` becomes."""
    return WorkerError(
        f"the function raised {type(error).__name__}, which would have ended the process",
        where=f"step `{step}`",
        hint="raise an ordinary error to fail the record",
    )


def explain_failure(error: BaseException, step: str, place: str = "", record: Any = NO_RECORD) -> BaseException:
    """`error` as one of ours: the step it came out of, where its record stood, and itself as the cause.

    One that has its step already, and one that ends the program, are given back as they are.

    Args:
        place: where the record stood, empty when that is unknown.
        record: the record as it came to the step, where it is kept.
    """
    if isinstance(error, PASSED_ON):
        return error
    where = f"{place}, step `{step}`" if place else f"step `{step}`"
    if isinstance(error, TidemillError) and error.where == f"step `{step}`":
        error.where = where  # where it was raised, its record's place was not known
    if isinstance(error, TidemillError) and error.step:
        return error
    explained: TidemillError
    if isinstance(error, TidemillError):
        explained = error
        explained.where = error.where or where
    elif isinstance(error, StopIteration) or isinstance(error.__cause__, StopIteration):
        explained = stop_iteration_error(step)
        explained.where = where
    elif isinstance(error, Exception):
        explained = DataError(_name(error), where=where)
        explained.is_foreign = True
    else:
        explained = WorkerError(f"the function raised {_name(error)}, which is no Exception", where=where)
    explained.step = step
    if record is not NO_RECORD and not explained.has_record:
        explained.keep_record(record)
    if explained is not error:
        explained.__cause__ = error
    return explained


def explain_isolated(error: BaseException, step: str, record: Any, *, place: str = "", given: int = 0) -> BaseException:
    """`error` as the failure of `record` at `step`, as a job has it.

    What would end the process is that, too, and so is an error that names a step of a stream within the function.

    Args:
        given: children of the record that were given before.
    """
    if isinstance(error, (SystemExit, KeyboardInterrupt)):
        error = exit_error(error, step)
    explained = explain_failure(error, step, place)
    if isinstance(explained, TidemillError):
        explained.step = step
        explained.keep_record(record, given=given)
    return explained


def raise_explained(error: BaseException, step: str, place: str = "", record: Any = NO_RECORD) -> NoReturn:
    """Raise what `explain_failure` makes of `error`."""
    explained = explain_failure(error, step, place, record)
    try:
        if explained is error:
            raise error
        raise explained from error
    finally:
        del explained, error  # they have this frame in their traceback: files would stay open until collected


def clean(text: str) -> str:
    """`text` with secrets masked, and what UTF-8 has no form for written as an escape."""
    return mask(text.encode("utf-8", "backslashreplace").decode())


def _name(error: BaseException) -> str:
    try:
        text = clean(str(error))
    except Exception as failed:  # noqa: BLE001 - a user's exception may fail at this too
        text = f"its own text fails with {type(failed).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
