"""A process in which a package is not installed."""

from __future__ import annotations

import subprocess
import sys


def error_without(package: str, code: str) -> str:
    """What `code` fails with where `package` cannot be imported."""
    blocked = f"import sys; sys.modules[{package!r}] = None; {code}"
    done = subprocess.run([sys.executable, "-c", blocked], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stdout
    return done.stderr.strip()
