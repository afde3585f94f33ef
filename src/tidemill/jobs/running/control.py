"""What a running run is told from outside: `control.json` in its run folder."""

from __future__ import annotations

import logging
import os
from typing import Any

import orjson

from tidemill.errors import StateError
from tidemill.jobs.ledger.database import explaining_disk
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.running.inspect import read_status
from tidemill.jobs.running.status import RUNNING

logger = logging.getLogger(__name__)

STOPS = {"gently": 1, "now": 2}
"""The values of `stop`, each as the number of signals it stands for."""

KNOWN = "known is `stop`: `gently` or `now`"


def send_stop(folder: RunFolder, *, now: bool = False) -> dict[str, Any]:
    """Ask the process that runs here to stop, as a first signal would, or with `now` a second one; gives its status.

    It looks about once a second. Returns once the request is there, not once the run has ended.

    Raises:
        StateError: no process is running here.
        ResourceError: there is no room to ask it.
    """
    status = read_status(folder)
    if not isinstance(status, dict) or status["state"] != RUNNING:
        raise StateError(
            "no process is running here, there is nothing to stop",
            where=str(folder.run),
            hint="`tidemill status` shows how the run ended",
        )
    temporary = folder.control.with_suffix(".tmp")
    with explaining_disk():
        temporary.write_bytes(orjson.dumps({"stop": "now" if now else "gently"}))
        os.replace(temporary, folder.control)
    return status


def take_stop(folder: RunFolder) -> int:
    """The number of signals that `control.json` stands for, 0 when there is none; the file is removed.

    What it holds besides is logged and passed over: nobody may end a run by a slip of the pen.
    """
    try:
        text = folder.control.read_bytes()
        folder.control.unlink()
    except FileNotFoundError:
        return 0
    except OSError as exc:
        logger.warning("%s cannot be read and removed: %s", folder.control, exc)
        return 0
    try:
        asked = orjson.loads(text)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        logger.warning("%s: expected a JSON object, got %r; %s", folder.control, text[:80], KNOWN)
        return 0
    for key in asked.keys() - {"stop"}:
        logger.warning("%s: there is nothing called `%s`; %s", folder.control, key, KNOWN)
    stop = asked.get("stop")
    if stop is not None and (not isinstance(stop, str) or stop not in STOPS):
        logger.warning("%s: `stop` cannot be %r; %s", folder.control, stop, KNOWN)
        return 0
    return 0 if stop is None else STOPS[stop]
