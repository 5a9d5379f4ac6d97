"""How uvicorn serves the service: our protocol, no WebSocket, no access log, and time-outs that suit proxies."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors import Multiprocess

from .certificate import follow_certificate
from .protocol import Protocol

_STOP_TIMEOUT_S = 30
_WORKER_TIMEOUT_S = 30
"""A worker that does not answer its supervisor for so long is replaced. With less, a busy machine never gets one to start."""


def uvicorn_config(
    application: ASGIApp | str,
    *,
    request_timeout_s: int,
    keep_alive_s: int,
    stop_timeout_s: int = _STOP_TIMEOUT_S,
    certificate: tuple[Path, Path] | None = None,
    **options: Any,
) -> uvicorn.Config:
    """Return the configuration of a server.

    Args:
        application: What is served, or where a worker imports it from.
        request_timeout_s: Seconds that a client may take to send a request, and to begin one on a new connection.
        keep_alive_s: Seconds that an idle connection stays open.
        stop_timeout_s: Seconds that requests have to finish when the server stops.
        certificate: The files of a TLS certificate and its key. They are followed while the server runs.
        options: Further options of `uvicorn.Config`.
    """
    return uvicorn.Config(
        application,
        http=partial(Protocol, request_timeout_s=request_timeout_s),  # type: ignore[arg-type]
        lifespan="on",
        ws="none",
        access_log=False,
        log_config=None,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=stop_timeout_s,
        timeout_worker_healthcheck=_WORKER_TIMEOUT_S,
        timeout_keep_alive=keep_alive_s,
        ssl_context_factory=partial(follow_certificate, *certificate) if certificate else None,
        **options,
    )


def hold_hangup() -> None:
    """Block SIGHUP, whose default is to end the process, in this thread and in all threads and processes that it starts.

    Who can do something about it takes it: the servers read their certificate again, and the supervisor tells them to.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGHUP])


class Supervisor(Multiprocess):
    """Runs several server processes. On SIGHUP it passes the signal on; uvicorn's would replace every process."""

    def __init__(self, *arguments: Any, forget: Callable[[int], None] | None = None, **options: Any) -> None:
        """Create it as uvicorn's. `forget` is called with the id of a worker that has ended by itself."""
        super().__init__(*arguments, **options)
        self._forget = forget

    def keep_subprocess_alive(self) -> None:
        """Replace workers that have ended."""
        before = {worker.pid for worker in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {worker.pid for worker in self.processes}:
            if self._forget is not None and pid is not None:
                self._forget(pid)

    def terminate_all(self) -> None:
        """Stop the workers, after closing the socket here: else it would take connections that no worker accepts any more."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def handle_signals(self) -> None:
        """Handle what has arrived since the last call, half a second ago."""
        if signal.SIGHUP in signal.sigpending():
            signal.sigwait([signal.SIGHUP])
            for pid in [worker.pid for worker in self.processes if worker.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGHUP)
        super().handle_signals()
