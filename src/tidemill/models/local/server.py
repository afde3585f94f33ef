"""Local models: a llama.cpp server in this process, opened as a resource and spoken to like any other endpoint.

`local/smollm2` is the embedded model (`weights.py`), `local/PATH.gguf` any other GGUF file. The server answers the
OpenAI wire format on a free loopback port, JSON-schema-constrained replies included.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidemill.config.wording.suggest import find_near
from tidemill.errors import ConfigError, ResourceError
from tidemill.models.local.weights import embedded_weights
from tidemill.packages import check_package

logger = logging.getLogger(__name__)

PREFIX = "local/"
EMBEDDED = "local/smollm2"
HOST = "127.0.0.1"

# More gain nothing beyond the noise on two cores, and each takes memory (docs/lab-notes.md).
MAX_SLOTS = 4
# A bound for large machines, not measured there: threads that wait for each other gain less the more they are.
MAX_THREADS = 8


@contextmanager
def open_local_server(
    name: str,
    *,
    slots: int = 4,
    context_tokens: int = 2048,
    threads: int | None = None,
    folder: Path | None = None,
) -> Iterator[str]:
    """The base URL (`http://127.0.0.1:PORT/v1`) of a server for `name`, running for the length of the block.

    Opened again with the same arguments in this process, the running server is shared; the last one to leave stops
    it. Stopping cuts the requests in flight. A server still open when the interpreter exits is stopped then.

    Entering blocks for the load (2 s for the embedded model, and its download on first use), leaving for about 1 s
    when requests are in flight. Both may happen in any thread, not the same one; the interpreter lock is held while
    the weights load. llama.cpp's log is silent unless the logger `tidemill.models.local.server` is at DEBUG.

    Args:
        name: `local/smollm2` or `local/PATH.gguf`.
        slots: requests that may be open at once. Up to four are computed together, the others wait their turn.
        context_tokens: the most for prompt and reply of one request together; kept for each request computed.
        threads: that compute; by default one fewer than this process has processors, at most 8.
        folder: what a relative PATH is relative to; by default the working folder.

    Raises:
        ConfigError: `name` is no local model, or its file is not there.
        ResourceError: xllamacpp is not installed, the weights cannot be fetched, or llama.cpp refuses them.
    """
    check_local_model(name, folder=folder)
    path = embedded_weights() if name == EMBEDDED else _named_file(name, folder)
    plan = _Plan(
        os.getpid(), path.resolve(), name.removeprefix(PREFIX), slots, context_tokens, threads or _default_threads()
    )
    shared = _acquire(plan)
    try:
        yield f"{shared.address}/v1"
    finally:
        _release(plan)


def check_local_model(name: str, *, folder: Path | None = None) -> None:
    """Refuse a `name` that cannot be opened; reads a few bytes at most and fetches nothing.

    Raises:
        ConfigError: `name` is no local model, or its file is not there or not GGUF.
        ResourceError: xllamacpp is not installed.
    """
    if not (name == EMBEDDED or (name.startswith(PREFIX) and name.endswith(".gguf"))):
        raise ConfigError(
            f"no local model that writes is called `{name}`",
            hint=f"did you mean `{EMBEDDED}`?"
            if find_near(name.removeprefix(PREFIX), [EMBEDDED.removeprefix(PREFIX)])
            else f"there are `{EMBEDDED}` and `{PREFIX}PATH.gguf`; `{PREFIX}minilm` and folders make vectors (`embed`)",
        )
    check_package("xllamacpp", need="a local model", extra="local")
    if name != EMBEDDED:
        _check_file(_named_file(name, folder), folder)


def _check_file(path: Path, folder: Path | None) -> None:
    try:
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as exc:
        raise ConfigError(
            f"the model file {path} cannot be read: {exc.strerror}",
            hint=f"a path after `local/` is relative to {(folder or Path()).resolve()}",
        ) from exc
    if magic != b"GGUF":
        raise ConfigError(f"the model file {path} is not GGUF: it starts with {magic!r}, not b'GGUF'")


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one server is started from; equal plans share it. A forked child (another `pid`) shares nothing."""

    pid: int
    path: Path
    alias: str
    slots: int
    context_tokens: int
    threads: int


@dataclass(slots=True)
class _Shared:
    server: Any
    address: str
    users: int = 0


# Guards `_open`, and makes starts and stops take turns: llama.cpp's log level and backend are process-wide.
_lock = threading.Lock()
_open: dict[_Plan, _Shared] = {}


def _acquire(plan: _Plan) -> _Shared:
    with _lock:
        shared = _open.get(plan)
        if shared is None:
            shared = _open[plan] = _start(plan)
        shared.users += 1
        return shared


def _release(plan: _Plan) -> None:
    if plan.pid != os.getpid():
        return  # a fork inside the block: the server is the parent's
    with _lock:
        shared = _open.get(plan)
        if shared is None:
            return  # the interpreter is exiting and has stopped it
        shared.users -= 1
        if shared.users == 0:
            del _open[plan]
            _stop(shared)


@atexit.register
def _stop_all() -> None:
    with _lock:
        for plan in [plan for plan in _open if plan.pid == os.getpid()]:
            _stop(_open.pop(plan))


def _start(plan: _Plan) -> _Shared:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(plan.path)
    params.model_alias = {plan.alias}  # what replies name as their model, instead of a path on this machine
    params.n_parallel = min(plan.slots, MAX_SLOTS)
    params.n_ctx = params.n_parallel * plan.context_tokens
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = plan.threads
    params.use_jinja = True
    params.hostnames = [HOST]
    params.port = 0
    params.n_threads_http = plan.slots + 4  # one for each open connection, or a kept-alive one shuts others out
    params.verbosity = 3 if logger.isEnabledFor(logging.DEBUG) else 0
    params.cache_ram_mib = 0  # by default up to 8 GiB of old prompts are kept
    params.fit_params = False
    params.ui = False
    params.endpoint_slots = False
    params.endpoint_metrics = True  # for `_start`'s own round trip below
    params.cors_origins = ""  # no web page open on this machine may read replies
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as exc:
        raise ResourceError(
            f"llama.cpp could not load {plan.path}",
            hint="the file may be cut, too large for this machine's memory, or of a newer kind than this xllamacpp;"
            " set the logger `tidemill.models.local.server` to DEBUG to see llama.cpp's own log",
        ) from exc
    # A server stopped before its loop runs waits for ever (xllamacpp 2026.10); this request goes through the loop.
    server.handle_metrics()
    logger.info("%s serves %s", server.listening_address, plan.path)
    return _Shared(server, server.listening_address)


def _stop(shared: _Shared) -> None:
    """Stop the server and wait until its threads are gone.

    xllamacpp stops a server when it is deallocated, holding the interpreter lock until every request has ended,
    which a client in this process then never lets happen. So its sockets are shut down from here first, and the
    lock is free while its handlers notice (llama.cpp looks once a second).
    """
    port = int(shared.address.rpartition(":")[2])
    while _shut_down_sockets(port):
        time.sleep(0.01)
    shared.server = None
    logger.info("%s stopped", shared.address)


def _shut_down_sockets(port: int) -> int:
    """Shut down every socket this process holds on its own loopback `port`; how many there were.

    Only a look that finds none has missed none: a connection accepted during a look is seen by the next one.
    """
    found = 0
    for name in os.listdir("/dev/fd"):
        try:
            ours = socket.socket(fileno=int(name))
        except OSError:
            continue  # no socket, or closed meanwhile
        try:
            if ours.family == socket.AF_INET and ours.getsockname() == (HOST, port):
                listens = ours.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                found += not listens  # whether or not its peer has gone: its owner has to notice
                ours.shutdown(socket.SHUT_RDWR)
                found += listens  # macOS refuses to, and it would be found for ever
        except OSError:
            continue  # its peer, or its owner, was faster
        finally:
            # Never closed from here, nor through a duplicate: that is the owner's, and would drop the file locks
            # of a database whose number it were by then.
            ours.detach()
    return found


def _named_file(name: str, folder: Path | None) -> Path:
    return (folder or Path()) / Path(name.removeprefix(PREFIX)).expanduser()


def _default_threads() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    # llama.cpp's threads wait for each other spinning: one that loses its processor to other work, this program's own
    # included, stalls them all (measured in docs/lab-notes.md), so one processor is left free.
    return min(max(1, count - 1), MAX_THREADS)
