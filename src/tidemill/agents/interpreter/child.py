"""What an interpreter's process does: run the code that it is sent, in one namespace, until its input ends.

A program of its own, sent as text to a `python -c`, so that it needs no file where it runs; the standard library alone,
for Python 3.9 and newer. Requests come by the standard input and answers go to the standard output, as frames
(`resources.children`). Both are moved out of the code's way: its own input is empty, and all it writes goes to the
standard error, where a marker ends what one call wrote.

A request is `{code, number, marker}`; an answer has the `value` of a last expression, an `error`, what `stopped` the
code from within and the `limit` it ran into, as far as there is any. An empty frame while code runs interrupts it: the
kernel tells of it by SIGIO, so that no thread has to wait for it.
"""

from __future__ import annotations

import ast
import errno
import fcntl
import io
import json
import linecache
import math
import os
import resource
import select
import signal
import sys
import traceback
import types

TYPE_CHECKING = False  # as `typing` has it, whose import would be an eighth of the start
if TYPE_CHECKING:
    from typing import Any, NoReturn

_FD = 100  # from where on the moved streams are, out of the way of code that counts its own

_LIMITS = {
    errno.EFBIG: "file",
    errno.EMFILE: "open_files",
    errno.EAGAIN: "processes",
}


_NAME = "<interpreter>"  # what tracebacks call this program


class _Stop(BaseException):
    """Raised within the code that is to end."""


def main(settings: dict[str, Any]) -> NoReturn:
    """Answer requests until there are no more; never returns.

    Args:
        settings: the `limits` by their names, the `environment`, the `folder`, and how many characters a text that is
            sent back may have, `max_text`.
    """
    os.environ.update(settings["environment"])
    os.chdir(settings["folder"])
    sys.path.append(settings["folder"])  # behind everything: a file of the code's hides no module
    session = _Session(settings)
    _set_limits(settings["limits"])
    session.send({})
    while True:
        request = session.receive()
        if request is None:
            os._exit(0)
        if request:
            session.answer(json.loads(request))


def _set_limits(limits: dict[str, Any]) -> None:
    memory = limits["memory"]
    _bound(resource.RLIMIT_CORE, 0)
    _bound(resource.RLIMIT_FSIZE, limits["file"])
    _bound(resource.RLIMIT_NOFILE, limits["open_files"])
    _bound(resource.RLIMIT_DATA, memory)
    _bound(resource.RLIMIT_AS, memory + limits["shared"])
    if limits["processes"] is not None:
        _bound(resource.RLIMIT_NPROC, _count_tasks() + limits["processes"])


def _bound(what: int, limit: int) -> None:
    hard = resource.getrlimit(what)[1]
    limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
    try:
        resource.setrlimit(what, (limit, limit))
    except (ValueError, OSError):
        if sys.platform == "linux":  # elsewhere a system may know a limit and not set it
            raise


def _count_tasks() -> int:
    """The processes and threads that this user has."""
    count = 0
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        try:
            if name.isdigit() and os.stat("/proc/" + name).st_uid == os.getuid():
                count += len(os.listdir("/proc/" + name + "/task"))
        except OSError:  # it has ended
            continue
    return count


class _Session:
    def __init__(self, settings: dict[str, Any]) -> None:
        self._folder = settings["folder"]
        self._max_text = settings["max_text"]
        self._cpu_s = settings["limits"]["cpu_s"]
        self._grace_s = settings["limits"]["grace_s"]
        self._pid = os.getpid()
        self._is_running = False
        self._figures = 0
        self._streams: list[io.TextIOWrapper] = []
        self._requests, self._answers, self._output = (fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FD) for fd in range(3))
        try:
            fcntl.fcntl(self._requests, fcntl.F_SETOWN, self._pid)
            fcntl.fcntl(self._requests, fcntl.F_SETFL, fcntl.fcntl(self._requests, fcntl.F_GETFL) | os.O_ASYNC)
        except OSError:  # a system that tells of no pipe: what does not end in time is killed at once
            pass
        module = types.ModuleType("__main__")
        sys.modules["__main__"] = module
        sys.argv = [""]
        self._names = module.__dict__
        self._put_back()

    def receive(self) -> bytes | None:
        """The next frame; None at the end."""
        head = self._read(4)
        return head and self._read(int.from_bytes(head, "big"))

    def send(self, answer: dict[str, Any]) -> None:
        """Send a frame."""
        data = json.dumps(answer).encode()
        data = len(data).to_bytes(4, "big") + data
        while data:
            data = data[os.write(self._answers, data) :]

    def answer(self, request: dict[str, Any]) -> None:
        """Run the code of a request and send what became of it."""
        self._put_back()
        answer = self._run(request["code"], f"<call {request['number']}>")
        if os.getpid() != self._pid:  # a fork that the code made has come to the code's end
            if "error" in answer:
                os.write(2, answer["error"].encode())
            os._exit(1 if "error" in answer else 0)
        try:
            os.set_blocking(self._output, True)  # a program that the code ran may have changed it
            os.write(self._output, request["marker"].encode())
        except OSError:
            answer["is_unmarked"] = True
        self.send(answer)

    def _run(self, code: str, name: str) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        try:
            self._arm()
            self._is_running = True
            try:
                value = self._evaluate(code, name)
                if value is not None:
                    answer["value"] = self._clean(value)
            except _Stop:
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the code raises is told
                answer.update(self._describe(error))
            self._save_figures(answer)
            self._flush()
        except _Stop as stop:
            answer["stopped"] = stop.args[0]
            answer.update(self._describe(stop))
        except BaseException as error:  # noqa: BLE001 - of what describes an error, or the like
            answer.update({"error": type(error).__name__, "limit": _find_limit(error)})
        finally:
            self._is_running = False
            signal.setitimer(signal.ITIMER_PROF, 0)
        self._flush()
        return answer

    def _evaluate(self, code: str, name: str) -> str | None:
        linecache.cache[name] = (len(code), None, code.splitlines(True), name)
        tree: Any = compile(code, name, "exec", ast.PyCF_ONLY_AST, True)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, name, "exec", 0, True), self._names)  # noqa: S102 - what this is for
        if last is None:
            return None
        value = eval(compile(ast.Expression(last.value), name, "eval", 0, True), self._names)  # noqa: S307
        if value is None:
            return None
        self._names["_"] = value
        return repr(value)

    def _save_figures(self, answer: dict[str, Any]) -> None:
        pyplot: Any = sys.modules.get("matplotlib.pyplot")
        for number in pyplot.get_fignums() if pyplot else ():
            path = ""
            while not path or os.path.lexists(path):
                self._figures += 1
                path = os.path.join(self._folder, f"figure-{self._figures}.png")
            try:
                pyplot.figure(number).savefig(path, bbox_inches="tight")
            except Exception as error:  # noqa: BLE001 - its text may be no mathematics: the others are saved
                told = self._describe(error)
                told["error"] = "\n".join(filter(None, [answer.get("error"), f"figure {number}:", told["error"]]))
                answer.update(told)
            pyplot.close(number)

    def _describe(self, error: BaseException) -> dict[str, str]:
        """The error as Python shows it, from the code's own lines on."""
        frames = error.__traceback__
        while frames is not None and not frames.tb_frame.f_code.co_filename.startswith("<call "):
            frames = frames.tb_next
        if isinstance(error, _Stop):
            own = [each for each in traceback.extract_tb(frames) if each.filename != _NAME]
            text = "".join(["Stopped in:\n", *traceback.format_list(own)])
        else:
            text = "".join(traceback.format_exception(type(error), error, frames))
        return {"error": self._clean(text.rstrip()), "limit": _find_limit(error)}

    def _clean(self, text: str) -> str:
        """The text without what is no character, and without its middle where it is long."""
        left_out = len(text) - self._max_text
        if left_out > 0:
            half = self._max_text // 2
            text = f"{text[:half]}\n[… {left_out} characters left out …]\n{text[-half:]}"
        return text.encode("utf-8", "backslashreplace").decode()

    def _arm(self) -> None:
        """Bound the processor time of a call: the code is told, and killed a little later if it does not hear."""
        usage = resource.getrusage(resource.RUSAGE_SELF)
        used = usage.ru_utime + usage.ru_stime
        soft = math.ceil(used) + self._cpu_s  # the limit is of whole seconds, and of all calls together
        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
        signal.setitimer(signal.ITIMER_PROF, soft - used + self._grace_s)

    def _put_back(self) -> None:
        """Streams and signal handlers as they were, whatever the code did to them."""
        handled: dict[int, Any] = {
            signal.SIGIO: self._interrupt,
            signal.SIGXCPU: self._stop_for_time,
            signal.SIGPROF: signal.SIG_DFL,
            signal.SIGINT: signal.default_int_handler,
        }
        for number, handler in handled.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, handled)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        if nothing:
            os.close(nothing)
        for fd in (1, 2):
            try:
                os.dup2(self._output, fd)
            except OSError:  # the code closed it
                os.dup2(0, fd)
        if not self._streams or any(stream.closed for stream in self._streams):
            buffer = open(1, "wb", closefd=False)  # noqa: SIM115 - one for both: what is written comes in its order
            self._streams = [
                io.TextIOWrapper(buffer, "utf-8", "backslashreplace", line_buffering=True, write_through=True)
                for _ in range(2)
            ]
            sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - as long as the process
        sys.stdout, sys.stderr = self._streams

    def _flush(self) -> None:
        streams: list[Any] = [getattr(sys, "stdout", None), getattr(sys, "stderr", None), *self._streams]
        for stream in streams:
            try:
                stream.flush()
            except (OSError, ValueError, AttributeError):  # the code closed it, or put something else there
                continue

    def _interrupt(self, *_: object) -> None:
        if os.getpid() != self._pid or not self._is_running or not select.select([self._requests], [], [], 0)[0]:
            return
        if not self._read(4):  # nobody is there any more
            os._exit(0)
        self._is_running = False
        raise _Stop("asked")

    def _stop_for_time(self, *_: object) -> None:
        if self._is_running:
            self._is_running = False
            raise _Stop("cpu")

    def _read(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            more = os.read(self._requests, size - len(data))
            if not more:
                return None
            data += more
        return data


def _find_limit(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "memory"
    return _LIMITS.get(error.errno or 0, "") if isinstance(error, OSError) else ""
