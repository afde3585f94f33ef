"""What every adapter's tests share: no hub is asked, and a process in which a package is missing."""

from __future__ import annotations

import multiprocessing.resource_tracker
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"  # read when `huggingface_hub` is imported


@pytest.fixture(scope="session", autouse=True)
def tracked() -> None:
    """Start what `multiprocessing` starts with the first spawned process and keeps."""
    multiprocessing.resource_tracker.ensure_running()


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Runs code in a process of its own; gives what it printed, errors included."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).strip()

    return run
