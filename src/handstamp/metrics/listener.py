"""Serve `/metrics` on an address of its own, on a thread, so that reading it never competes with requests."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import TimeoutError as TookTooLong
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from ..errors import ConfigurationError
from .exporter import Exporter

PATIENCE_S = 10
"""How long a client may take to send its request, and the service to collect."""


@asynccontextmanager
async def listening(exporter: Exporter, host: str, port: int) -> AsyncIterator[int]:
    """Serve the metrics for the length of the block. Yield the port. Raises `ConfigurationError`.

    Each process of a service listens on the same port, and any of them answers for all.
    """
    loop = asyncio.get_running_loop()

    class Handler(_Handler):
        def render(self, accept: str) -> tuple[bytes, str]:
            return asyncio.run_coroutine_threadsafe(exporter.render(accept), loop).result(PATIENCE_S)

    try:
        server = _Server((host, port), Handler)
    except OSError as problem:
        raise ConfigurationError(
            f"Cannot listen on {host}:{port} for metrics: {problem.strerror}. Set HANDSTAMP_METRICS_ADDRESS to a free one."
        ) from None
    thread = threading.Thread(target=server.serve_forever, name="handstamp-metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_port: ClassVar[bool] = True  # type: ignore[misc]  # other processes of the service listen here too
    request_queue_size = 8

    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: a reader has gone away."""


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_S
    server_version = "Handstamp"
    sys_version = ""

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics and their media type."""
        raise NotImplementedError

    def do_GET(self) -> None:
        """Answer a request."""
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404, "Metrics are at /metrics")
            return
        try:
            body, media_type = self.render(self.headers.get("Accept", ""))
        except (TookTooLong, RuntimeError):
            self.send_error(503, "The service does not answer")
            return
        self.send_response(200)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Log nothing: readers come every few seconds."""
