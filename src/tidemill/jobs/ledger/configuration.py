"""`config.json` of a run folder: the configuration a run was last started with, value by value."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from tidemill.calls.credentials import label_endpoint
from tidemill.config.inspection import Entry
from tidemill.config.layers.origins import Origin
from tidemill.config.secrets import MASK
from tidemill.disk import Disk
from tidemill.errors import StateError
from tidemill.jobs.ledger.folder import RunFolder


def save_configuration(folder: RunFolder, disk: Disk, fingerprint: str, entries: Iterable[Entry]) -> None:
    """Rewrite the file where it says something else, durably; without anything that may be a credential."""
    values = [
        {"path": each.path, "value": _conceal(each), "places": each.origin.places, "via": each.origin.via}
        for each in entries
    ]
    whole = {"fingerprint": fingerprint, "values": values}
    data = orjson.dumps(whole, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str)
    if not folder.config.exists() or folder.config.read_bytes() != data:
        disk.write_file(folder.config, data)
        disk.sync_folder(folder.run)


def load_configuration(folder: RunFolder) -> list[Entry]:
    """The values that a run was last started with.

    Raises:
        StateError: there are none: it was started from Python, or before they were kept.
    """
    try:
        values = orjson.loads(folder.config.read_bytes())["values"]
        return [Entry(tuple(each["path"]), each["value"], _read_origin(each)) for each in values]
    except (OSError, ValueError, LookupError, TypeError) as exc:
        raise StateError(
            "the run keeps no configuration",
            where=str(folder.run),
            hint="one that is started from a job file does",
        ) from exc


def _read_origin(value: dict[str, Any]) -> Origin:
    return Origin(tuple(value["places"]), tuple(value["via"]))


def _conceal(entry: Entry) -> Any:
    """The value, without a header's, which may be a credential under any name, and without an address's user."""
    if "headers" in entry.path[:-1]:
        return MASK
    if entry.path[-1:] == ("base_url",) and isinstance(entry.value, str):
        return label_endpoint(entry.value)
    return entry.value
