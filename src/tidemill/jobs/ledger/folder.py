"""The folders of a run: where its output, its ledger and its quarantine stand, and how a command names them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from tidemill.data.sources.versions import MANIFEST, VERSIONS
from tidemill.disk import Disk
from tidemill.errors import StateError

RUN_FOLDER = ".run"
RUN_INFO = "run.json"


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The paths of one run.

    Attributes:
        output: where the sealed output parts and the manifest stand.
        run: where everything else of the run stands.
    """

    output: Path
    run: Path

    @property
    def ledger(self) -> Path:
        """The SQLite file, which is also the run's lock."""
        return self.run / "ledger.sqlite"

    @property
    def info(self) -> Path:
        """What a command needs to find its way: the run's id, its output folder, its job file."""
        return self.run / RUN_INFO

    @property
    def config(self) -> Path:
        """The configuration it was last started with, each value with its origin; none where Python started it."""
        return self.run / "config.json"

    @property
    def status(self) -> Path:
        """What the run is doing, rewritten once a second while it runs."""
        return self.run / "status.json"

    @property
    def control(self) -> Path:
        """What a running run is asked to do; it looks about once a second, and takes the file away."""
        return self.run / "control.json"

    @property
    def kept(self) -> Path:
        """What the steps of the source half keep on disk, where they name no folder of their own."""
        return self.run / "kept"

    @property
    def report(self) -> Path:
        """What the last run came to."""
        return self.run / "report.json"

    @property
    def manifest(self) -> Path:
        """Which parts of the output folder are the output."""
        return self.output / MANIFEST

    def version(self, content: str) -> Path:
        """The manifest of the version whose content hash this is."""
        return self.output / VERSIONS / f"{content}.json"

    def quarantine_part(self, number: int) -> Path:
        """The failed records of one segment, as JSON lines."""
        return self.run / "quarantine" / f"part-{number:05d}.jsonl"

    def call_part(self, number: int) -> Path:
        """The replies of one segment, as zstd-compressed JSON lines."""
        return self.run / "calls" / f"part-{number:05d}.jsonl.zst"

    def output_part(self, number: int, suffix: str) -> Path:
        """The landed records of one segment."""
        return self.output / f"part-{number:05d}{suffix}"

    def list_output_files(self, suffix: str) -> tuple[Path, ...]:
        """One file of each kind that stands in the output folder."""
        return (self.output_part(1, suffix), self.manifest)

    def list_run_files(self) -> tuple[Path, ...]:
        """One file of each kind that stands in the run folder."""
        parts = (self.quarantine_part(1), self.call_part(1))
        return (*parts, self.ledger, self.info, self.config, self.status, self.report)

    def load_info(self) -> dict[str, Any] | None:
        """The run's own description, None when there is none.

        Raises:
            StateError: it cannot be read.
        """
        return _load_json(self.info, "run's description")

    def load_manifest(self) -> dict[str, Any] | None:
        """The manifest, None when there is none.

        Raises:
            StateError: it cannot be read.
        """
        return _load_json(self.manifest, "manifest")

    def keep_version(self, disk: Disk, manifest: Mapping[str, Any]) -> None:
        """Have what the manifest lists stay readable under its content hash, durably; nothing where nothing landed."""
        path = self.version(manifest["hash"])
        if not manifest["parts"] or path.exists():
            return
        disk.make_folder(path.parent)
        saved_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        disk.write_file(path, _dump({**manifest, "saved_at": saved_at}))
        disk.sync_folder(path.parent)

    def save_manifest(self, disk: Disk, manifest: Mapping[str, Any]) -> None:
        """Rewrite the manifest, durably."""
        disk.write_file(self.manifest, _dump(manifest))
        disk.sync_folder(self.output)


def _dump(manifest: Mapping[str, Any]) -> bytes:
    return orjson.dumps(manifest, option=orjson.OPT_INDENT_2)


def _load_json(path: Path, name: str) -> dict[str, Any] | None:
    try:
        loaded: dict[str, Any] = orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as exc:
        raise StateError(f"the {name} cannot be read: {exc}", where=str(path)) from exc
    return loaded


def locate_run(target: str | Path) -> RunFolder:
    """The folders of the run that `target` names: an output folder or a run folder.

    Raises:
        StateError: there is no run there.
    """
    path = Path(target)
    if (path / "ledger.sqlite").exists():
        return RunFolder(_find_output(path), path)
    manifest = RunFolder(path, path / RUN_FOLDER).load_manifest()
    run = Path(manifest["run_folder"]) if manifest and manifest.get("run_folder") else path / RUN_FOLDER
    folder = RunFolder(path, run if run.is_absolute() else path / run)
    if not folder.ledger.exists():
        raise StateError(
            "expected a run: a job file, its output folder or its run folder",
            where=str(target),
            hint="`tidemill run JOB.yaml` makes one",
        )
    return folder


def _find_output(run: Path) -> Path:
    if run.name == RUN_FOLDER:
        return run.parent
    try:
        return Path(orjson.loads((run / RUN_INFO).read_bytes())["output"])
    except (OSError, ValueError, LookupError) as exc:
        raise StateError(f"the run folder does not say where its output stands: {exc}", where=str(run)) from exc
