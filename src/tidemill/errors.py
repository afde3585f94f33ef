"""Every error Tidemill raises, in one tree, by who must act.

    TidemillError
    ├── ConfigError            the author: a job file, an argument, an import path
    ├── DataError              the data: a corrupt line, a record that does not fit
    ├── CallError              the far side of an outside request
    │   ├── TransientCallError     worth another attempt
    │   └── PermanentCallError     the same request would fail again
    ├── ResourceError          something that had to be opened or released
    ├── StateError             a state, run folder or output that does not belong here
    ├── BudgetError            the budget is spent
    └── WorkerError            a user's function broke its contract, or a worker died

A message has where, expected, got (cut, secrets masked) and the next step. All errors pickle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

FailureOf = Literal["record", "run"]


@dataclass(frozen=True, slots=True)
class Place:
    """A point in a text the user wrote: `job.yaml:3:13`, with the source line for a caret.

    `line` and `column` count from 1; 0 means unknown, and `length` is the caret's width in characters.
    """

    file: str
    line: int = 0
    column: int = 0
    length: int = 1
    source_line: str = ""

    def __str__(self) -> str:
        if not self.line:
            return self.file
        return f"{self.file}:{self.line}:{self.column}" if self.column else f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in what an author wrote: where, what, and the mend.

    `path` is the key path from the root (`("steps", 1, "generate", "max_tokens")`); `message` is one
    sentence with expected and got; `hint` the suggestion or next step, empty when there is none; `overrode` where
    the value stands that the wrong one was laid over, None when there is none.
    """

    message: str
    place: Place | None = None
    path: tuple[str | int, ...] = ()
    hint: str = ""
    overrode: Place | None = None


class TidemillError(Exception):
    """The root of the tree.

    Attributes:
        message: what happened, with expected and got.
        where: file, offset, step or key path; empty when the message says it.
        hint: the next step, empty when there is none.
        step: the name of the step a record failed at, `source` for where it was read; empty outside of a stream.
        record: the record as it came to the step that failed, None where none was kept.
        has_record: whether one was kept, which may itself be None.
        given: children that a `flat_map` gave of the record kept before it failed.
        of: whose failure it is: `record` follows `on_error`, `run` stops the run, resumable.
    """

    of: FailureOf = "record"

    def __init__(self, message: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.step = ""
        self.record: Any = None
        self.has_record = False
        self.given = 0

    def keep_record(self, record: Any, *, given: int = 0) -> None:
        """Let the record that failed go along, for a quarantine to hold; `given` of its children came before."""
        self.record = record
        self.has_record = True
        self.given = given

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, dict(self.__dict__))


def _rebuild(cls: type[TidemillError], args: tuple[Any, ...], state: dict[str, Any]) -> TidemillError:
    error = cls.__new__(cls)
    Exception.__init__(error, *args)
    error.__dict__.update(state)
    return error


class ConfigError(TidemillError, ValueError):
    """What the author wrote cannot be run; `problems` holds every one found, in file order."""

    def __init__(self, message: str, *, problems: Sequence[Problem] = (), where: str = "", hint: str = "") -> None:
        super().__init__(message, where=where, hint=hint)
        self.problems = tuple(problems)


class DataError(TidemillError):
    """A record or a file that cannot be taken as it is.

    Attributes:
        raw: the bytes as they stood in the source, None when there were none.
        offset: where they stood, in bytes from the start of the (decompressed) file, None when unknown.
        is_cut: whether `raw` is not all that stood there, so that nothing can be decoded from it.
        is_foreign: whether this puts its cause into words, an error that is none of Tidemill's.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        hint: str = "",
        raw: bytes | None = None,
        offset: int | None = None,
        is_cut: bool = False,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.raw = raw
        self.offset = offset
        self.is_cut = is_cut
        self.is_foreign = False


class CallError(TidemillError):
    """An outside request that gave no usable answer.

    Attributes:
        status: the HTTP status, None when no response came.
        retry_after_s: seconds the server asked to wait, None when it did not say.
        attempts: attempts made for this call, 0 when it was never sent.
    """

    def __init__(
        self,
        message: str,
        *,
        where: str = "",
        hint: str = "",
        of: FailureOf = "record",
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message, where=where, hint=hint)
        self.of = of
        self.status = status
        self.retry_after_s = retry_after_s
        self.attempts = 0


class TransientCallError(CallError):
    """The same request may succeed on another attempt: 429, 5xx, a timeout, a cut connection."""


class PermanentCallError(CallError):
    """The same request would fail again: 400 for the record's content, 401 or an unknown model for the run."""


class ResourceError(TidemillError):
    """A resource could not be opened, used or released: an optional package, a local server, a disk.

    Attributes:
        is_release: whether it could not be released: what it was used for is done.
    """

    is_release = False

    of = "run"


class StateError(TidemillError):
    """A saved state, a run folder or an output that does not belong to what is being run."""

    of = "run"


class BudgetError(TidemillError):
    """The budget does not allow another call; what is finished is kept and the run can go on with more."""

    of = "run"


class WorkerError(TidemillError):
    """A user's function broke its contract (raised StopIteration, say) or a worker died."""
