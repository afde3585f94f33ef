"""The rows of `streams.py` that are about time."""

from __future__ import annotations

from pathlib import Path

from stream_data import make_jsonl, make_parquet
from stream_rows import Client, Results, Setting, cost_us, middle, render_results, run_rounds, speed_ratio
from tables import Target

BATCH = 1_024
"""Indices fetched together."""

OURS = "tidemill"


def measure_jsonl(setting: Setting) -> list[str]:
    """JSON Lines, read through; alone, with a policy for bad lines, and with a map and a filter."""
    path = make_jsonl(setting.records)
    faults: list[str] = []
    for floor, targets in (
        ("generator", {OURS: 1.1, f"{OURS}, skip": 1.0}),
        ("generator, map + filter", {f"{OURS}, map + filter": 1.0}),
    ):
        results, missing = _go_through((floor, *targets), path, setting)
        faults += missing
        print(f"\nJSON Lines, {setting.records:,} records, median of {setting.rounds}")
        print(render_results(results, floor))
        for name, least in targets.items():
            _tell_ratio(results, name, floor, least)
    return faults


def measure_parquet(setting: Setting) -> list[str]:
    """Parquet, read through, against pyarrow's best settings."""
    results, faults = _go_through(("pyarrow", OURS), make_parquet(setting.records), setting)
    print(f"\nParquet, {setting.records:,} records, median of {setting.rounds}")
    print(render_results(results, "pyarrow"))
    _tell_ratio(results, OURS, "pyarrow", 0.95)
    if OURS in results:
        grown = middle(results, OURS, "grown_mb")
        print(Target("growth while it is read", f"{grown:.0f} MB", "at most 64 MB", grown <= 64), flush=True)
    return faults


def measure_huggingface(setting: Setting) -> list[str]:
    """Both formats against `datasets` in streaming mode, of whose records a tenth is read."""
    faults: list[str] = []
    for kind, path, least in (
        ("json", make_jsonl(setting.records), 15.0),
        ("parquet", make_parquet(setting.records), 8.0),
    ):
        peer = f"huggingface, {kind}"
        clients = [
            Client(peer, "client_stream.py", (peer, path, setting.records // 10)),
            Client(OURS, "client_stream.py", (OURS, path, 0)),
        ]
        results, missing = run_rounds(clients, setting.rounds)
        faults += missing
        print(f"\n{kind} against Hugging Face datasets in streaming mode, median of {setting.rounds}")
        print(render_results(results, peer))
        _tell_ratio(results, OURS, peer, least)
    return faults


def measure_access(setting: Setting) -> list[str]:
    """Records of JSON Lines by number, in sorted batches."""
    path = make_jsonl(setting.accessed)
    ways = ("by hand", OURS)
    clients = [Client(way, "client_access.py", (way, path, BATCH, setting.accessed)) for way in ways]
    results, faults = run_rounds(clients, setting.rounds)
    print(f"\nrandom access in sorted batches of {BATCH:,}, {setting.accessed:,} records, median of {setting.rounds}")
    print(render_results(results, "by hand"))
    if OURS in results:
        speed = 1e6 / cost_us(results, OURS)
        ours, by_hand = (middle(results, way, "opened_s") for way in (OURS, "by hand"))
        print(f"  opened in {ours:.2f} s, by hand {by_hand:.2f} s")
        print(Target("records a CPU second", f"{speed:,.0f}", "at least 350,000", speed >= 350_000), flush=True)
    return faults + [f"{name}: wrong records" for name, found in results.items() if any(one["wrong"] for one in found)]


def measure_loader(setting: Setting) -> list[str]:
    """A DataLoader with two workers, against one over lines by hand; wall time, since three processes work."""
    path = make_jsonl(setting.records)
    clients = [Client(way, "client_loader.py", (way, path, 2)) for way in ("ideal", OURS)]
    results, faults = run_rounds(clients, setting.rounds)
    print(f"\nDataLoader with 2 workers, {setting.records:,} records, median of {setting.rounds}")
    print(render_results(results, "ideal"))
    _tell_ratio(results, OURS, "ideal", 0.9, figure="wall_s")
    return faults + [
        f"{name}: {one['different']:,} different records of {one['records']:,}, not {setting.records:,} each once"
        for name, found in results.items()
        for one in found
        if not one["records"] == one["different"] == setting.records
    ]


def measure_map(setting: Setting) -> list[str]:
    """What mapping in parallel takes a record, above a plain map."""
    ways = ("plain", "threads", "async", "processes")
    clients = [Client(way, "client_map.py", (way, setting.mapped, 8)) for way in ways]
    results, faults = run_rounds(clients, setting.rounds)
    print(f"\nmap of a function that does nothing, 8 at a time, {setting.mapped:,} records, median of {setting.rounds}")
    print(render_results(results, "plain"))
    for way, most in (("threads", 15.0), ("async", 10.0)):
        if way in results and "plain" in results:
            above = cost_us(results, way) - cost_us(results, "plain")
            print(
                Target(f"{way}, CPU a record above plain", f"{above:.1f} us", f"at most {most:.0f} us", above <= most)
            )
    return faults + _find_missing(results, setting.mapped)


def _go_through(ways: tuple[str, ...], path: Path, setting: Setting) -> tuple[Results, list[str]]:
    clients = [Client(way, "client_stream.py", (way, path, 0)) for way in ways]
    results, faults = run_rounds(clients, setting.rounds)
    faults += _find_missing(results, setting.records)
    characters = {found["characters"] for rounds in results.values() for found in rounds}
    if len(characters) > 1:
        faults.append(f"the ways read different texts: {characters} characters")
    faults += [
        f"{name}: no state could be had"
        for name, rounds in results.items()
        if name.startswith(OURS) and not all(found["resumable"] for found in rounds)
    ]
    return results, faults


def _find_missing(results: Results, records: int) -> list[str]:
    return [
        f"{name}: {found['records']:,} records, not {records:,}"
        for name, rounds in results.items()
        for found in rounds
        if found["records"] != records
    ]


def _tell_ratio(results: Results, name: str, floor: str, least: float, figure: str = "cpu_s") -> None:
    if name in results and floor in results:
        ratio = speed_ratio(results, name, floor, figure)
        print(
            Target(f"{name}, of {floor}'s speed", f"{ratio:.2f}x", f"at least {least:g}x", ratio >= least), flush=True
        )
