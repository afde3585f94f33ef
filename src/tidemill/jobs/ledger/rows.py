"""The JSON rows a run folder keeps: one of each call's reply, one of each record that failed."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import orjson

from tidemill.data.formats.jsonl import parse_line
from tidemill.data.records.exact import from_exact_json, to_exact_json
from tidemill.jobs.records.outcomes import Failure, describe_error, explain_error

MAX_SHOWN = 2_000
"""Characters kept of a record with values that are not kept."""

CallKey = tuple[str, int, tuple[int, ...], str, int]
"""(part, ordinal, path, step name, call number): with the request's hash, what a reply belongs to."""


def pack_call(key: CallKey, digest: str, reply: list[Any], attempts: int) -> bytes:
    """One line of the ledger and the call archive."""
    # The slice is a copy of the row's own size: orjson's bytes keep their whole buffer (4 KiB) as long as they live.
    return orjson.dumps([*key, digest, reply, attempts], option=orjson.OPT_APPEND_NEWLINE)[:-1]


def parse_call(line: bytes) -> tuple[CallKey, str, list[Any], int]:
    """The key, request hash, reply and attempts of a line of `pack_call`."""
    part, ordinal, path, step, number, digest, reply, attempts = orjson.loads(line)
    return (part, ordinal, tuple(path), step, number), digest, reply, attempts


@dataclass(frozen=True, slots=True)
class FailedRow:
    """One record in quarantine.

    Attributes:
        part, ordinal, path: its identity.
        order: where it stands among all that the pass over the source read.
        step: the failed step's place in the counts; `name` its name.
        outcome: `quarantined` or `skipped`.
        branch: the one that failed, of a step with several.
        error: type, message and place, secrets masked.
        record: the record as it came to the step; None when the source could not make one.
        raw: the source's bytes when it could not.
        given: children a `flat_map` gave before it failed.
        restorable: whether `record` is as it came, or `raw` is whole, so that `retry` can use it.
    """

    part: str
    ordinal: int
    path: tuple[int, ...]
    order: int
    step: int
    name: str
    outcome: str
    error: dict[str, str]
    record: Any = None
    raw: bytes | None = None
    given: int = 0
    restorable: bool = True
    branch: str = ""

    @property
    def place(self) -> str:
        """The step, and the branch of it, by name."""
        return f"{self.name}.{self.branch}" if self.branch else self.name

    @classmethod
    def from_failure(
        cls, part: str, ordinal: int, failure: Failure, name: str, outcome: str, *, order: int
    ) -> FailedRow:
        """The row of a failure."""
        record, restorable = _keep(failure.record)
        return cls(
            part,
            ordinal,
            failure.path,
            order,
            failure.step,
            name,
            outcome,
            describe_error(failure.error),
            record,
            failure.raw,
            failure.given,
            restorable and failure.restorable,
            failure.branch,
        )

    def to_line(self) -> bytes:
        """The row as one JSON line; `exact` says that its record is written as `tidemill.data.records.exact` has it."""
        record = to_exact_json(self.record)
        row: dict[str, Any] = {
            "part": self.part,
            "ordinal": self.ordinal,
            "path": self.path,
            "order": self.order,
            "step": self.step,
            "name": self.name,
            "outcome": self.outcome,
            "error": self.error,
            "record": record,
        }
        if record != self.record:
            row["exact"] = True
        if self.raw is not None:
            row["raw_base64"] = base64.b64encode(self.raw).decode()
        if self.given:
            row["given"] = self.given
        if not self.restorable:
            row["restorable"] = False
        if self.branch:
            row["branch"] = self.branch
        return msgspec.json.encode(row) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> FailedRow:
        """The row of `to_line`."""
        return cls.from_row(parse_line(line))

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> FailedRow:
        """The row of the JSON object that such a line holds."""
        fields = dict(row)
        raw = fields.pop("raw_base64", None)
        fields["raw"] = None if raw is None else base64.b64decode(raw)
        if fields.pop("exact", False):
            fields["record"] = from_exact_json(row["record"])
        return cls(**{**fields, "path": tuple(row["path"])})


def _keep(record: Any) -> tuple[Any, bool]:
    """The record as it comes back, and whether that is as it was; else what JSON keeps of it, or its `repr`."""
    try:
        restored = orjson.loads(orjson.dumps(record))
        if restored == record:
            return restored, True
        shown = restored
    except Exception as exc:  # noqa: BLE001 - a user's object may fail at being compared and shown, too
        shown = _show(record, exc)
    try:
        return from_exact_json(to_exact_json(record)), True
    except (TypeError, ValueError, RecursionError):  # there is an object in it
        return shown, False


def _show(record: Any, error: Exception) -> str:
    try:
        return ascii(record)[:MAX_SHOWN]
    except Exception:  # noqa: BLE001 - as above
        return f"a {type(record).__name__} that cannot be shown: {explain_error(error)}"
