"""The one observer of a run: all that happens is an event, a line of a file, and now and then one on the terminal."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Event = Mapping[str, Any]
"""What happened: `event` says what, `step` after which step, the others how much."""


class Log:
    """Called with an event, it writes it down; held by a `with`, whose end closes the file.

    A float is written in its shortest exact form: equal text, equal bits. One line is one write, so a process that is
    killed leaves at most its last one unfinished, which `rewind` cuts off.

    Args:
        path: of the JSON Lines; its folder is made.
        report_every: of the steps, one in so many is told on the terminal; all other events are.
    """

    def __init__(self, path: Path, report_every: int = 1) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(path, "ab")  # noqa: SIM115 - closed by `__exit__`
        self._report_every = report_every

    def __call__(self, event: Event) -> None:
        """Write the event down."""
        self._file.write(json.dumps(event).encode() + b"\n")
        self._file.flush()
        if event["event"] != "step" or event["step"] % self._report_every == 0:
            print(render_event(event), flush=True)

    def sync(self) -> int:
        """Make all lines durable; gives how many bytes they are, for a checkpoint to hold."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def rewind(self, size_bytes: int) -> None:
        """Cut off what stands behind a checkpoint: these steps are done again."""
        self._file.truncate(size_bytes)
        self._file.seek(size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def render_event(event: Event) -> str:
    """One line for the terminal: `step  120  loss 2.4153  rate 0.000981  …`."""
    shown = [f"{name} {_show(value)}" for name, value in event.items() if name not in ("event", "step")]
    return "  ".join([f"{event['event']} {event['step']:>5}", *shown])


def _show(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
