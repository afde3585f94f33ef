"""The folders of a job: whether they can be made, and whether the source would read what a run writes there."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from tidemill.config.paths import KeyPath
from tidemill.data.sources.read import Read
from tidemill.data.sources.row_files import RowFiles
from tidemill.errors import Problem, TidemillError
from tidemill.jobs.spec.draft import Draft


def check_folders(draft: Draft) -> Iterator[Problem]:
    """What stands in the way of the output and the run folder."""
    folders, sink = draft.folders, draft.sink
    if folders is None or sink is None:
        return
    output, run = ("sink", "path"), ("run", "dir") if draft.run.dir else ("sink", "path")
    told: dict[KeyPath, str] = {}
    for folder, path in ((folders.output, output), (folders.run, run)):
        obstacle = find_obstacle(folder)
        if obstacle is not None and path not in told:
            told[path] = obstacle
    yield from (draft.problem(path, obstacle) for path, obstacle in told.items())
    suffix = f".{sink.format}"
    if _would_read(draft, *folders.list_output_files(suffix)):
        message = f"the source would read what the sink writes into `{folders.output}`"
        yield draft.problem(output, message, "write to a folder that the source's pattern does not match")
    elif _would_read(draft, *folders.list_run_files()):
        message = f"the source would read what the run keeps in `{folders.run}`"
        yield draft.problem(run, message, "name a folder that the source's pattern does not match")


def find_obstacle(folder: Path) -> str | None:
    """Why `folder` cannot be written to, or made; None where nothing is known to stand in the way."""
    wanted = Path(os.path.abspath(folder))
    for place in (wanted, *wanted.parents):
        shown = folder if place == wanted else place
        try:
            mode = os.stat(place).st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue  # the nearest that is there decides
        except (OSError, ValueError) as exc:
            return f"expected a folder that can be made, got `{shown}`: {getattr(exc, 'strerror', None) or exc}"
        if not stat.S_ISDIR(mode):
            return f"expected a folder, `{shown}` is a file"
        return None if os.access(place, os.W_OK | os.X_OK) else f"the folder `{shown}` cannot be written to"
    return None


def _would_read(draft: Draft, *paths: Path) -> bool:
    with suppress(TidemillError):  # of a source that is not there, which is told as such
        return isinstance(draft.source, (Read, RowFiles)) and any(map(draft.source.would_read, paths))
    return False
