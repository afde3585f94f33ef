"""The same bad tool calls through agent libraries, side by side: what is caught, and what the model is told.

    python benchmarks/tools/bad_calls.py             # the table; installs the peers the first time
    python benchmarks/tools/bad_calls.py --markdown  # as the notes have it
    python benchmarks/tools/bad_calls.py --json      # with every message, to be checked by eye
    python benchmarks/tools/bad_calls.py tidemill    # this one alone

Each library runs in a process and a virtual environment of its own. It makes tools of the same two functions by its own
means, and asks a model on loopback through its own OpenAI client: that asks for the call, and keeps what it is told.
`toolcall_cases.py` has the calls, `toolcall_judging.py` what counts. Fails when Tidemill lacks a point.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from children import run_child
from peers import make_peer
from tables import render_markdown, render_table
from toolcall_judging import judge, list_ended, list_executed, list_missed


@dataclass(frozen=True)
class Peer:
    """A library of the table, in one of its settings.

    Attributes:
        package: as `requirements/peers-PACKAGE.txt` has it.
        mode: what its script is told; empty where there is one way only.
        note: what the setting is.
        python: the least version it needs.
    """

    package: str
    mode: str = ""
    note: str = ""
    python: tuple[int, int] = (3, 11)

    @property
    def name(self) -> str:
        return f"{self.package} {self.mode}".strip()

    @property
    def script(self) -> str:
        return f"tools/caller_{self.package.replace('-', '_')}.py"


OURS = "tidemill"
PEERS = (
    Peer("pydantic-ai"),
    Peer(
        "openai-agents",
        "strict",
        "as it comes: with strict schemas, which OpenAI's server holds a model to, and the one here does not",
    ),
    Peer("openai-agents", "loose", "`strict_mode=False`"),
    Peer(
        "openai-agents",
        "shown",
        "with a `failure_error_function` that has the error's text, `tool_not_found_behavior` and "
        "`OPENAI_AGENTS_DONT_LOG_TOOL_DATA=0`",
    ),
    Peer("inspect-ai", note="takes no bounds from a signature"),
    Peer(OURS),
)
HEAD = ("library", "caught", "told", "field named", "right name", "expected", "oddly written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help="a library of the table; all unless given")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    parser.add_argument("--json", action="store_true", help="print what came of every call as JSON")
    given = parser.parse_args()
    known = list(dict.fromkeys(peer.package for peer in PEERS))
    if unknown := set(given.packages) - set(known):
        parser.error(f"no such library: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    told = {peer: run_peer(peer) for peer in PEERS if not given.packages or peer.package in given.packages}
    if given.json:
        print(json.dumps({peer.name: found for peer, found in told.items()}, indent=1, ensure_ascii=False))
    else:
        print_table(told, markdown=given.markdown)
    missed = [each for peer, found in told.items() if peer.package == OURS for each in list_missed(found["outcomes"])]
    if missed:
        sys.exit("\n".join(["BROKEN:", *missed]))


def run_peer(peer: Peer) -> Mapping[str, Any]:
    """Its version, and what came of every call."""
    python = Path(sys.executable) if peer.package == OURS else make_peer(peer.package, python=peer.python)
    return run_child(peer.script, *filter(None, [peer.mode]), python=python)


def print_table(told: Mapping[Peer, Mapping[str, Any]], *, markdown: bool) -> None:
    notes = list(dict.fromkeys(peer.note for peer in told if peer.note))
    print((render_markdown if markdown else render_table)(HEAD, list(list_rows(told, notes))))
    print("", *(f"[{number}] {note}." for number, note in enumerate(notes, 1)), sep="\n")
    for title, list_calls in (("executed although bad", list_executed), ("ended the run", list_ended)):
        print(f"\n{title}:")
        for peer, found in told.items():
            print(f"  {peer.name}: {'; '.join(list_calls(found['outcomes'])) or 'none'}")


def list_rows(told: Mapping[Peer, Mapping[str, Any]], notes: list[str]) -> Iterable[list[str]]:
    """A row of the table for each library, with the number of its note."""
    for peer, found in told.items():
        mark = f" [{notes.index(peer.note) + 1}]" if peer.note else ""
        yield [f"{peer.package} {found['version']}{mark}", *judge(found["outcomes"]).cells]


if __name__ == "__main__":
    main()
