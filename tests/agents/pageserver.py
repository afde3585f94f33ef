"""A web server that answers each path as a test says, and keeps what it was asked."""

import contextlib
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler


@dataclass
class Asked:
    """A request: its method, its path with the query, its headers by lower-case name, its body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Answer:
    """What is answered: `body` whole, or what it gives piece by piece for as long as the client takes it."""

    body: bytes | Callable[[], Iterator[bytes]] = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class PageServer:
    """Where it listens, what it answers (by path without the query), and what it was asked."""

    port: int
    answers: dict[str, Answer]
    asked: list[Asked] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str = "/", *, host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@contextlib.contextmanager
def serve_pages(answers: Mapping[str, Answer], *, tls: ssl.SSLContext | None = None) -> Iterator[PageServer]:
    """Answers each path with its answer, and any other with 404."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            pages.asked.append(Asked(self.command, self.path, headers, body))
            answer = pages.answers.get(self.path.partition("?")[0], Answer(b"no such page", 404))
            self.send_response(answer.status)
            whole = answer.body if isinstance(answer.body, bytes) else None
            told = {} if whole is None else {"content-length": str(len(whole))}
            for name, value in {"connection": "close", **told, **answer.headers}.items():
                self.send_header(name, value)
            with contextlib.suppress(OSError):  # the client has what it wants
                self.end_headers()
                for piece in [whole] if whole is not None else answer.body():  # type: ignore[operator]
                    self.wfile.write(piece)
            self.close_connection = True
            pages.ended.set()

        do_POST = do_GET  # noqa: N815 - as `http.server` names it

        def log_message(self, *args: object) -> None:
            """Nothing is printed."""

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = False

        def handle_error(self, request: object, client_address: object) -> None:
            """A client that goes in the middle of a handshake is no error."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        pages = PageServer(server.server_address[1], dict(answers))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield pages
        finally:
            server.shutdown()
            thread.join()
