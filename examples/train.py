"""Train a small language model, kill it, and start it again: `python examples/train.py --help`.

It reads the standard library's sources, so it needs no download; `pip install "tidemill[torch]"`.
"""

from __future__ import annotations

import sys

import tidemill as tm
from training.config import Train


def main() -> int:
    """The exit code: 0 when the last step is done, 2 for what is to be mended first, 130 and 143 for a signal."""
    cfg = tm.cli(Train, environment="TRAIN")  # a mistake ends the script here

    from training.log import Log
    from training.loop import train  # torch, the data: not before

    try:
        with Log(cfg.run.folder / "log.jsonl", cfg.run.report_every) as log:
            return train(cfg, log)
    except tm.TidemillError as error:  # it says what to do; a traceback of the loop says no more
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
