"""Fifty kills of a job of agents: what is committed is never done twice, and what is repeated has the same key.

    python benchmarks/proofs/agent_kills.py [KILLS]

The job runs in a process of its own, which is killed by SIGKILL in the middle of turns; its model and what its tools do
stand behind a server of this process, which counts. About a minute and a half. Fails where an effect was committed and
done again, where a key came with other arguments, where more was repeated than was in flight, or an answer is another.
"""

from __future__ import annotations

import random
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1] / "tests" / "agents")]

from agentworld import CONCURRENCY, Killed, kill_again  # noqa: E402 - what the test of it is made of

KILLS = 50
RECORDS = 120


def main() -> None:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else KILLS
    with tempfile.TemporaryDirectory() as folder:
        killed = kill_again(Path(folder), records=RECORDS, kills=kills, rng=random.Random(1))
    print(render(killed))
    if killed.problems:
        sys.exit("\n".join(killed.problems))


def render(killed: Killed) -> str:
    return (
        f"{killed.kills} kills, {CONCURRENCY} agents at once: {killed.effects:,} effects of "
        f"{killed.wanted_effects:,} keys, "
        f"{killed.model_calls:,} replies to {killed.wanted_calls:,} requests; {killed.repeated:,} repeated, "
        f"at most {killed.most_repeated:,} allowed"
    )


if __name__ == "__main__":
    main()
