"""All benches, one after the other; fails when one found something missing.

python benchmarks/bench.py                    # about half an hour on two cores, and the streams' share
python benchmarks/bench.py --quick            # about three minutes; too small to judge the memory by
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
FULL = (
    ("calls.py",),
    ("memory.py",),
    ("streams.py",),
    ("config_load.py",),
    ("scopes.py",),
    ("predict.py",),
    ("images.py",),
    ("tools_dispatch.py",),
    ("agents.py",),
    ("sources.py",),
    ("chunking.py",),
    ("across.py",),
    ("stores_lance.py",),
    ("stores_pgvector.py",),
    ("search_step.py",),
)
QUICK = (
    ("calls.py", "--quick"),
    ("memory.py", "--scale", "0.02"),
    ("streams.py", "--quick"),
    ("config_load.py", "--rounds", "1"),
    ("scopes.py", "--quick"),
    ("predict.py", "--records", "512", "--rounds", "1"),
    ("images.py", "--quick"),
    ("tools_dispatch.py", "--quick"),
    ("agents.py", "--quick"),
    ("sources.py", "--quick"),
    ("chunking.py", "--quick"),
    ("stores_lance.py", "--records", "10000", "--rounds", "2"),
    ("search_step.py", "--records", "10000", "--queries", "500", "--rounds", "3"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="less of everything")
    chosen = QUICK if parser.parse_args().quick else FULL
    codes = [
        subprocess.run([sys.executable, str(HERE / script), *arguments], check=False).returncode
        for script, *arguments in chosen
    ]
    sys.exit(max(codes))


if __name__ == "__main__":
    main()
