"""Packages that not everybody has: looked for without importing them, and what is told where one is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from tidemill.errors import ResourceError


def missing_package(
    need: str, package: str, extra: str, error: ImportError | None = None, *, where: str = ""
) -> ResourceError:
    """That `need` takes a package which is not there, with the line that installs it.

    Args:
        extra: what of tidemill's brings it.
        error: what importing it raised: a package that is there and lacks one of its own says so.
    """
    is_there = error is not None and (error.name or "").partition(".")[0] != package
    why = f"cannot be imported: {error}" if is_there else "is not installed"
    message = f"{need} needs the package {package.replace('_', '-')}, which {why}"
    return ResourceError(message, where=where, hint=f'pip install "tidemill[{extra}]"')


def check_package(package: str, *, need: str, extra: str) -> None:
    """Check that a package is installed; it is not imported.

    Raises:
        ResourceError: it is not; says what `need` is, and the line that installs it.
    """
    if not is_installed(package):
        raise missing_package(need, package, extra)


def is_installed(package: str) -> bool:
    """Whether there is a package of that import name."""
    try:
        return importlib.util.find_spec(package) is not None
    except ValueError:  # it stands in `sys.modules` without a spec, or as None: blocked
        return False


def find_folder(package: str) -> Path | None:
    """The folder of the installed package of that import name, None where there is none."""
    if not is_installed(package):
        return None
    spec = importlib.util.find_spec(package)
    found = None if spec is None else spec.submodule_search_locations
    return Path(next(iter(found))) if found else None
