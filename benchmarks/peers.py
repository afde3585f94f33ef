"""Peers in virtual environments of their own, made when they are first needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from workload import HERE, WORK

REQUIREMENTS = HERE.parent / "requirements"


def make_peer(name: str, *, python: tuple[int, int] = (3, 11)) -> Path:
    """The interpreter that has `requirements/peers-NAME.txt` installed; one made for other versions is made anew.

    Args:
        name: of the file.
        python: the least version the peer needs.

    Raises:
        SystemExit: there is no Python of that version.
    """
    wanted = REQUIREMENTS / f"peers-{name}.txt"
    folder = WORK / "venvs" / name
    own, installed = folder / "bin" / "python", folder / "installed.txt"
    if installed.exists() and installed.read_text() == wanted.read_text():
        return own
    print(f"installing {wanted.name} into {folder}", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([find_python(python), "-m", "venv", folder], check=True)
    pip = [str(own), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--requirement", str(wanted)]
    subprocess.run(pip, check=True)
    installed.write_text(wanted.read_text())
    return own


def find_python(at_least: tuple[int, int]) -> str:
    """The running interpreter where it is new enough, else one on the path or of pyenv.

    Raises:
        SystemExit: there is none.
    """
    if sys.version_info >= at_least:
        return sys.executable
    named = [shutil.which(f"python3.{minor}") for minor in range(at_least[1], at_least[1] + 9)]
    of_pyenv = sorted((Path.home() / ".pyenv" / "versions").glob("3.*/bin/python"))
    check = f"import sys; sys.exit(sys.version_info < {at_least})"
    for found in [*filter(None, named), *map(str, of_pyenv)]:
        if subprocess.run([found, "-c", check], capture_output=True, check=False).returncode == 0:
            return found
    raise SystemExit(f"needs Python {at_least[0]}.{at_least[1]} or later, and none is on the path")
