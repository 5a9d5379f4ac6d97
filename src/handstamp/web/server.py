"""How uvicorn serves the service: our protocol, no WebSocket, no access log, and time-outs that suit proxies."""

from __future__ import annotations

from functools import partial
from typing import Any

import uvicorn
from starlette.types import ASGIApp

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
    **options: Any,
) -> uvicorn.Config:
    """Return the configuration of a server.

    Args:
        application: What is served, or where a worker imports it from.
        request_timeout_s: Seconds that a client may take to send a request, and to begin one on a new connection.
        keep_alive_s: Seconds that an idle connection stays open.
        stop_timeout_s: Seconds that requests have to finish when the server stops.
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
        **options,
    )
