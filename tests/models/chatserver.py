"""A small server in OpenAI's format, run by its path, that comes up late, dies, or leaves processes behind as told."""

import argparse
import json
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

IDLE = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('idle', flush=True); signal.pause()"


class Handler(BaseHTTPRequestHandler):
    """Answers as it is told by the class's own counts."""

    loading = 0
    answers = 0

    def do_GET(self) -> None:
        Handler.loading -= 1
        self._answer(503 if Handler.loading >= 0 else 200, {"data": []})

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1]["content"]
        Handler.answers -= 1
        if Handler.answers < 0:
            sys.stderr.write("CUDA error: the card is gone\n")
            sys.stderr.flush()
            signal.raise_signal(signal.SIGKILL)
        message = {"role": "assistant", "content": f"{self.headers.get('authorization')}: {question}"}
        self._answer(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})

    def _answer(self, status: int, body: object) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--loading", type=int, default=0, help="looks that get 503 first")
    options.add_argument("--answers", type=int, default=10**9, help="calls answered before it dies in the next one")
    options.add_argument("--child", action="store_true", help="start a process that ignores SIGTERM")
    options.add_argument("--leaves", action="store_true", help="in a session of its own")
    options.add_argument("--deaf", action="store_true", help="ignore SIGTERM as well")
    given = options.parse_args()
    Handler.loading, Handler.answers = given.loading, given.answers
    if given.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if given.child:
        child = subprocess.Popen([sys.executable, "-c", IDLE], stdout=subprocess.PIPE, start_new_session=given.leaves)
        assert child.stdout is not None
        child.stdout.readline()
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    with ThreadingHTTPServer(("127.0.0.1", given.port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
