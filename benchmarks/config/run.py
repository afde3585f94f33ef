"""The same mistakes through configuration libraries, side by side: what is caught, and what the error tells.

    python benchmarks/config/run.py                     # the table; installs the peers the first time
    python benchmarks/config/run.py --markdown          # as the notes have it
    python benchmarks/config/run.py --json > all.json   # with the text of every error, to be checked by eye
    python benchmarks/config/run.py tidemill tyro       # these alone

Each library runs in a process and a virtual environment of its own, over the same files; `trials.py` has them and the
rules of taking part, `judging.py` what counts.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from children import run_child  # noqa: E402 - beside the folder of this script
from judging import judge, list_wrong  # noqa: E402
from machine import describe_machine  # noqa: E402
from peers import make_peer  # noqa: E402
from tables import render_markdown, render_table  # noqa: E402
from trials import write_trials  # noqa: E402
from workload import WORK  # noqa: E402


@dataclass(frozen=True)
class Peer:
    """A library of the table.

    Attributes:
        name: as `requirements/peers-NAME.txt` has it.
        note: how it takes part, where its own means do not do.
        python: the least version it needs.
    """

    name: str
    note: str = ""
    python: tuple[int, int] = (3, 11)

    @property
    def script(self) -> str:
        return f"config/peer_{self.name.removesuffix('-core').replace('-', '_')}.py"


BY_HAND = "has no bounds and no patterns: they are in `__post_init__`, by hand"
OURS = "tidemill"
PEERS = (
    Peer("hydra-core", BY_HAND),
    Peer("pydantic-settings"),
    Peer("prime-pydantic-config"),
    Peer("jsonargparse", "in its mode `omegaconf`, which refuses a key that is given twice; `yaml` does not"),
    Peer("cyclopts", "has no patterns: its one is a function, by hand"),
    Peer("tyro", "reads flags alone: each line of the file is one; no file has a syntax error there"),
    Peer("draccus", BY_HAND),
    Peer("dature", python=(3, 12)),
    Peer(OURS),
)
HEAD = (
    "library", "caught", "file", "line", "column", "suggestion", "all at once", "pattern", "coercions", "secret kept",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a library of the table; all unless given")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", action="store_true", help="print what came of every trial as JSON")
    given = parser.parse_args()
    if unknown := set(given.names) - {peer.name for peer in PEERS}:
        parser.error(f"no such library: {', '.join(sorted(unknown))}; known: {', '.join(peer.name for peer in PEERS)}")
    WORK.mkdir(exist_ok=True)
    peers = [peer for peer in PEERS if not given.names or peer.name in given.names]
    told = {peer: run_peer(peer) for peer in peers}
    if given.json:
        print(json.dumps({peer.name: found for peer, found in told.items()}, indent=1, ensure_ascii=False))
        return
    notes = list(dict.fromkeys(peer.note for peer in peers if peer.note))
    rows = list(list_rows(told, notes))
    print((render_markdown if given.markdown else render_table)(HEAD, rows))
    print("", *(f"[{number}] {note}." for number, note in enumerate(notes, 1)), sep="\n")
    print("\nwrong coercions:")
    for peer, found in told.items():
        print(f"  {peer.name}: {'; '.join(list_wrong(found['outcomes'])) or 'none'}")
    print(f"\n{describe_machine(WORK, ('tidemill', 'pydantic', 'pyyaml'))}")


def run_peer(peer: Peer) -> Mapping[str, Any]:
    """Its version, and what came of every trial."""
    python = Path(sys.executable) if peer.name == OURS else make_peer(peer.name, python=peer.python)
    with tempfile.TemporaryDirectory(dir=WORK) as folder:
        write_trials(Path(folder))
        return run_child(peer.script, folder, python=python)


def list_rows(told: Mapping[Peer, Mapping[str, Any]], notes: list[str]) -> Iterable[list[str]]:
    """A row of the table for each library, with the number of its note."""
    for peer, found in told.items():
        mark = f" [{notes.index(peer.note) + 1}]" if peer.note else ""
        yield [f"{peer.name} {found['version']}{mark}", *judge(found["outcomes"]).cells]


if __name__ == "__main__":
    main()
