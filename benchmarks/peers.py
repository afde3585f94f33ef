"""Peers in virtual environments of their own, made when they are first needed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from workload import HERE, WORK

REQUIREMENTS = HERE.parent / "requirements"


def make_peer(name: str) -> Path:
    """The interpreter that has `requirements/peers-NAME.txt` installed; one made for other versions is made anew."""
    wanted = REQUIREMENTS / f"peers-{name}.txt"
    folder = WORK / "venvs" / name
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if installed.exists() and installed.read_text() == wanted.read_text():
        return python
    print(f"installing {wanted.name} into {folder}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(python), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--requirement", str(wanted)]
    subprocess.run(pip, check=True)
    installed.write_text(wanted.read_text())
    return python
