"""Generators and magic methods: many payloads, and the rows they land as."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from children import run_child
from rows import Cell, Row, Setting

GENERATORS = "generators, lazy evaluation"
_WAYS = ("list", "generator", "stream")


def show_consumed(setting: Setting) -> Row:
    return _show("consumed", "looked at once", setting)


def show_kept(setting: Setting) -> Row:
    return _show("kept", "a result of 100 characters kept of each", setting)


def show_landed(setting: Setting) -> Row:
    note = "Tidemill's is durable and goes on after a crash; its memory is the segment being written, at any length"
    return _show("landed", "landed in Parquet", setting, note)


def show_rows(setting: Setting) -> Row:
    """What landed, as a generator, a list and a dataset: `len`, `[7]`, `[-1]`, `[10:20]`, `for`."""
    count = setting.payloads
    folder = _land(setting, "rows")
    cells = []
    for way in ("generator", "list", "dataset"):
        found, empty = _both("client_rows.py", (way, folder / "stream", count, "all"), (way, folder, count, "empty"))
        peak = found["peak_mb"] - empty["peak_mb"]
        uses = len(found["uses"])
        cells.append(Cell(f"{uses} of 5, RSS +{peak:.0f} MB", {"uses": uses, "rss_mb": peak}))
    name = f"{count:,} landed rows: `len`, `[7]`, `[-1]`, `[10:20]`, `for`"
    return Row("magic methods", f"{name}, as generator / list / dataset", cells)


def show_own(setting: Setting) -> Row:
    """What landed, handed as it is to PyTorch, Hugging Face, NumPy, the standard library and another process."""
    count = setting.payloads
    folder = _land(setting, "own") / "stream"
    with ThreadPoolExecutor(2) as pool:
        ways = ("generator", "class", "dataset")
        found = list(pool.map(lambda way: run_child("client_own.py", way, folder, count), ways))
    uses = ", ".join(found[0]["all"])
    return Row(
        "magic methods",
        f"{count:,} landed rows handed as they are to {uses}, as generator / hand-written class / dataset",
        [Cell(f"{len(one['uses'])} of {len(one['all'])}", {"uses": len(one["uses"])}) for one in found],
    )


def _land(setting: Setting, name: str) -> Path:
    """A folder in which the payloads landed, in `stream`."""
    folder = _fresh(setting.folder / name)
    run_child("client_payloads.py", "stream", "landed", setting.payloads, "rss", folder)
    return folder


def _show(use: str, words: str, setting: Setting, note: str = "") -> Row:
    cells = [_measure(way, use, setting) for way in _WAYS]
    name = f"{setting.payloads:,} payloads of 500 B as list / generator / stream, {words}"
    return Row(GENERATORS, name, cells, note)


def _measure(way: str, use: str, setting: Setting) -> Cell:
    """The peak of memory above what the same program takes for one payload: pyarrow loads pandas with the first."""
    script, count = "client_payloads.py", setting.payloads
    folders = [_fresh(setting.folder / f"{way}-{use}-{number}") for number in range(3)]
    traced = run_child(script, way, use, count, "tracemalloc", folders[0])
    full, one = _both(script, (way, use, count, "rss", folders[1]), (way, use, 1, "rss", folders[2]))
    for found in (traced, full):
        assert found["seen"] == count, f"{way} saw {found['seen']} of {count} payloads"
    peak, resident = traced["peak_mb"], max(0.0, full["peak_mb"] - one["peak_mb"])
    return Cell(f"{peak:.1f} MB (RSS +{resident:.0f})", {"peak_mb": peak, "rss_mb": resident})


def _both(script: str, *calls: tuple[object, ...]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Two children side by side: it is their memory that is measured."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda arguments: run_child(script, *arguments), calls)
    return first, second


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
