"""What a missing optional package gets: an error that names the extra."""

from __future__ import annotations

from tidemill.errors import ResourceError


def missing_package(error: ModuleNotFoundError, package: str, extra: str, need: str) -> ResourceError:
    """The error for `need`, which takes `package`; one that is there but lacks a package of its own says so."""
    if (error.name or "").partition(".")[0] == package:
        message = f"{need} needs the package {package}, which is not installed"
    else:
        message = f"{need} needs the package {package}, which cannot be imported: {error}"
    return ResourceError(message, hint=f'pip install "tidemill[{extra}]"')
