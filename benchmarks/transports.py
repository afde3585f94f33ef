"""What sending and reading alone costs: Tidemill's transport, pyreqwest behind the same seam, the bare aiohttp loop.

    python benchmarks/transports.py             # about three minutes
    python benchmarks/transports.py --quick     # about half a minute, rougher

Over plain HTTP and over TLS, at 64 in flight without latency and at 2,000 with 100 ms. CPU time is the client
process's, all threads, after a warm-up of 64 calls. Rounds are interleaved; figures are medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

import trustme

from children import open_server, raise_file_limit, run_child
from machine import describe_machine
from peers import make_peer
from tables import render_table
from workload import WORK

KINDS = ("aiohttp", "ours", "pyreqwest")
SETTINGS = ((64, 0.0), (2_000, 0.1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a fifth of the calls")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    raise_file_limit()
    print(describe_machine(WORK), flush=True)
    (folder,) = (make_peer("pyreqwest").parent.parent / "lib").glob("python*/site-packages")
    certificate, trusted = make_certificate(WORK / "tls")
    os.environ["SSL_CERT_FILE"] = str(trusted)  # what Tidemill's transport goes by
    calls = 4_000 if given.quick else 20_000
    for scheme in ("http", "https"):
        for in_flight, latency_s in SETTINGS:
            rounds: dict[str, list[dict[str, Any]]] = {kind: [] for kind in KINDS}
            for _ in range(given.rounds):
                for kind in KINDS:
                    secured = [certificate] if scheme == "https" else []
                    with open_server("server_constant.py", latency_s, *secured) as port:
                        url = f"{scheme}://localhost:{port}/v1/chat/completions"
                        options = (kind, url, calls, in_flight, trusted, folder)
                        rounds[kind].append(run_child("client_transport.py", *options))
            name = f"{scheme}, {in_flight:,} in flight, {latency_s * 1e3:.0f} ms, median of {given.rounds}"
            print(f"\n{name}\n{render_rounds(rounds, calls)}", flush=True)


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """The certificate of a server on this machine, with its key, and that of the authority behind it."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    own, trusted = folder / "server.pem", folder / "authority.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(own)
    authority.cert_pem.write_to_path(trusted)
    return own, trusted


def render_rounds(rounds: dict[str, list[dict[str, Any]]], calls: int) -> str:
    """The medians as a table."""
    rows = []
    for kind, found in rounds.items():
        missing = {calls} - {one["calls"] for one in found}
        if missing:
            sys.exit(f"{kind}: not all calls were answered")
        middle = {key: statistics.median(one[key] for one in found) for key in ("cpu_s", "wall_s", "peak_rss_mb")}
        rows.append(
            (
                kind,
                f"{middle['cpu_s'] / calls * 1e6:,.0f}",
                f"{calls / middle['wall_s']:,.0f}",
                f"{middle['peak_rss_mb']:.0f}",
            )
        )
    return render_table(("transport", "CPU us/call", "calls/s", "peak RSS MB"), rows)


if __name__ == "__main__":
    main()
