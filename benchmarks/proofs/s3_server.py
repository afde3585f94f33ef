"""A real S3 server (moto) that holds a bucket `data` of many small objects: prints its port, then serves until its
standard input ends."""

from __future__ import annotations

import logging
import sys

from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer


def main() -> None:
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # not a line for each request
    count = int(sys.argv[1])
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket("data", "us-east-1")
    for number in range(count):  # past the wire: filling it is not what is measured
        backend.put_object("data", f"in/{number:07}.jsonl", b'{"n": %d}\n' % number)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
