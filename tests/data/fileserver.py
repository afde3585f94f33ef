"""aiohttp's own server of static files, over TLS: ranges, ETags and all as somebody else wrote them."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web


@contextmanager
def serve_files(folder: Path, context: ssl.SSLContext) -> Iterator[str]:
    """The address of `folder` on a loopback port of its own."""
    started: Future[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        app = web.Application()
        app.router.add_static("/", folder)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        ended = asyncio.Event()
        started.set_result((runner.addresses[0][1], asyncio.get_running_loop(), ended))
        await ended.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    port, loop, ended = started.result(30)
    try:
        yield f"https://localhost:{port}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
