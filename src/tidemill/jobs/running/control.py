"""What a running run is told from outside: `control.json` in its run folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tidemill.errors import ConfigError, StateError
from tidemill.jobs.ledger.database import explaining_disk
from tidemill.jobs.ledger.folder import RunFolder
from tidemill.jobs.running.inspect import read_status
from tidemill.jobs.running.status import RUNNING
from tidemill.jobs.running.tuning import Tuning, check_tuning, find_lanes
from tidemill.jobs.spec.written import load_job_document

logger = logging.getLogger(__name__)

STOPS = {"gently": 1, "now": 2}
"""The values of `stop`, each as the number of signals it stands for."""

KNOWN = "known are `stop`: `gently` or `now`, and `tune`: a list of limits"


@dataclass(frozen=True, slots=True)
class Orders:
    """What a run was asked to do.

    Attributes:
        stops: the number of signals asked for, 0 when it is not to stop.
        tunings: the limits to change, in order.
    """

    stops: int = 0
    tunings: tuple[Tuning, ...] = ()


def send_stop(folder: RunFolder, *, now: bool = False) -> dict[str, Any]:
    """Ask the process that runs here to stop, as a first signal would, or with `now` a second one; gives its status.

    It looks about once a second. Returns once the request is there, not once the run has ended.

    Raises:
        StateError: no process is running here.
        ResourceError: there is no room to ask it.
    """
    status = _read_running(folder, "there is nothing to stop")
    _send(folder, lambda waiting: {**waiting, "stop": "now" if now else "gently"})
    return status


def send_tuning(folder: RunFolder, tuning: Tuning) -> dict[str, Any]:
    """Ask the process that runs here to go by other limits; gives its status.

    It looks about once a second. What it is asked holds until it ends: the next sitting takes the job's own.

    Args:
        tuning: its `model` may also be a name under `models:` in the job file.

    Raises:
        StateError: no process is running here.
        ConfigError: the run has no such model.
        ResourceError: there is no room to ask it.
    """
    status = _read_running(folder, "there is nothing to tune; set the limits in the job file")
    model = tuning.model
    lanes = status.get("limits", {})
    if model is not None and model not in lanes:
        model = _load_aliases(folder).get(model, model)
    find_lanes(lanes, model)
    asked = Tuning(tuning.limits, model).to_dict()
    _send(folder, lambda waiting: {**waiting, "tune": [*_list_tunings(waiting), asked]})
    return status


def take_orders(folder: RunFolder) -> Orders:
    """What `control.json` asks for; the file is removed.

    What it holds besides is logged and passed over: nobody may end a run by a slip of the pen.
    """
    try:
        text = folder.control.read_bytes()
        folder.control.unlink()
    except FileNotFoundError:
        return Orders()
    except OSError as exc:
        logger.warning("%s cannot be read and removed: %s", folder.control, exc)
        return Orders()
    try:
        asked = orjson.loads(text)
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        logger.warning("%s: expected a JSON object, got %r; %s", folder.control, text[:80], KNOWN)
        return Orders()
    for key in asked.keys() - {"stop", "tune"}:
        logger.warning("%s: there is nothing called `%s`; %s", folder.control, key, KNOWN)
    return Orders(_read_stop(folder, asked.get("stop")), tuple(_read_tunings(folder, asked)))


def _read_stop(folder: RunFolder, stop: Any) -> int:
    if stop is None:
        return 0
    if not isinstance(stop, str) or stop not in STOPS:
        logger.warning("%s: `stop` cannot be %r; %s", folder.control, stop, KNOWN)
        return 0
    return STOPS[stop]


def _read_tunings(folder: RunFolder, asked: Mapping[str, Any]) -> list[Tuning]:
    tunings = []
    for values in _list_tunings(asked):
        if not isinstance(values, dict):
            logger.warning("%s: `tune` cannot be %r; %s", folder.control, values, KNOWN)
            continue
        try:
            tunings.append(check_tuning(values))
        except ConfigError as exc:
            logger.warning("%s: `tune` cannot be %r: %s", folder.control, values, exc.message)
    return tunings


def _list_tunings(asked: Mapping[str, Any]) -> list[Any]:
    """What stands under `tune`: one mapping, or a list of them."""
    tune = asked.get("tune")
    return tune if isinstance(tune, list) else [] if tune is None else [tune]


def _read_running(folder: RunFolder, otherwise: str) -> dict[str, Any]:
    status = read_status(folder)
    if not isinstance(status, dict) or status["state"] != RUNNING:
        raise StateError(
            f"no process is running here, {otherwise}",
            where=str(folder.run),
            hint="`tidemill status` shows how the run ended",
        )
    return status


def _load_aliases(folder: RunFolder) -> dict[str, str]:
    """The names that the job file, if the run has one that can be read, gives its models."""
    info = folder.load_info()
    if info is None or info["job_file"] is None:
        return {}
    try:
        written = load_job_document(Path(info["job_file"]), info.get("overrides", ())).value
    except ConfigError:
        return {}
    models = written.get("models") if isinstance(written, dict) else None
    if not isinstance(models, dict):
        return {}
    return {name: str(model["model"]) for name, model in models.items() if isinstance(model, dict) and "model" in model}


def _send(folder: RunFolder, add: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Put what `add` makes of the orders that still wait in their place.

    The run may take those meanwhile: it is then asked the same twice, which changes nothing.
    """
    try:
        waiting = orjson.loads(folder.control.read_bytes())
    except (OSError, ValueError):
        waiting = {}
    temporary = folder.control.with_suffix(f".{os.getpid()}.tmp")
    with explaining_disk():
        temporary.write_bytes(orjson.dumps(add(waiting if isinstance(waiting, dict) else {})))
        os.replace(temporary, folder.control)
