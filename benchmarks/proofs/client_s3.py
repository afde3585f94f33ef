"""Reads the first records of many objects on S3, and lists all: prints seconds and growth as JSON."""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from itertools import islice

import psutil
import s3fs  # noqa: F401 - what is measured is what comes on top of it

import tidemill as tm
from tidemill.data.sources.read import Read

OPTIONS = {"key": "test", "secret": "test"}
MB = 10**6


def main() -> None:
    options = {**OPTIONS, "endpoint_url": f"http://127.0.0.1:{sys.argv[1]}"}
    before = psutil.Process().memory_info().rss
    started = time.perf_counter()
    records = tm.read("s3://data/in/*.jsonl", storage_options=options).iterate()
    first = next(records)
    first_s = time.perf_counter() - started
    more = sum(1 for _ in islice(records, 99))
    state_bytes = len(json.dumps(records.state()))
    records.close()
    started = time.perf_counter()
    names = sum(1 for _ in Read(path="s3://data/in/*.jsonl", storage_options=options).parts())
    found = {
        "first": first,
        "first_s": first_s,
        "records": 1 + more,
        "names": names,
        "list_s": time.perf_counter() - started,
        "state_bytes": state_bytes,
        "growth_mb": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before) / MB,
        "threads": threading.active_count(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
