"""The packages that stores take: looked for without importing them, which takes seconds and would hold up a loop."""

from __future__ import annotations

import importlib.util

from tidemill.errors import ResourceError


def check_package(package: str, *, need: str, extra: str) -> None:
    """Check that a package is installed; it is not imported.

    Raises:
        ResourceError: it is not; says what `need` is, and the line that installs it.
    """
    try:
        found = importlib.util.find_spec(package)
    except ValueError:  # it stands in `sys.modules` as None: blocked
        found = None
    if found is None:
        message = f"{need} needs the package {package}, which is not installed"
        raise ResourceError(message, hint=f'pip install "tidemill[{extra}]"')
