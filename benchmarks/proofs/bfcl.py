"""Every ground-truth call of BFCL v4 is taken, and each, spoilt in five ways, refused with what is wrong named.

    python benchmarks/proofs/bfcl.py             # 3,152 calls, 15,760 spoilt ones: about half a minute
    python benchmarks/proofs/bfcl.py --every 20  # a sample of them

A few answers are not of their own function's schema (a misspelt value, an argument the function does not have). Each
is listed in `bfcl_calls.CONTRADICTIONS`, has to be refused at just the arguments listed, and is taken once the schema
has the answer as one more alternative. Fails when a call is not taken, or a spoilt one is, or is refused unnamed.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bfcl_calls import CALLS, MUTATIONS, check_call, count_calls, load_calls
from tables import Target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="take each n-th call only")
    every = parser.parse_args().every
    total = count_calls()
    checked = load_calls(every)
    kinds: Counter[str] = Counter()
    failures = [failure for call in checked for failure in check_call(call, kinds)]
    print(*failures, sep="\n")
    for kind, count in kinds.most_common():
        print(f"{count:>6,}  {kind}")
    targets = [
        Target("ground-truth calls", f"{total:,}", f"{CALLS:,}", total == CALLS),
        Target("spoilt calls", f"{kinds.total():,}", f"{MUTATIONS} each", kinds.total() == MUTATIONS * len(checked)),
        Target("not as they should be", f"{len(failures):,}", "none", not failures),
    ]
    print("\n".join(map(str, targets)))
    if not all(target.met for target in targets):
        sys.exit("BROKEN: " + ", ".join(target.name for target in targets if not target.met))


if __name__ == "__main__":
    main()
