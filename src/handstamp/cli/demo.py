"""`handstamp demo`: a service to throw away, and a page that shows the whole game."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from ..assemble.deployment import Service, service
from ..config import logs
from ..config.settings import without_environment
from ..demo.park import Park
from ..errors import ConfigurationError
from ..service.parts.caller import Caller
from .common import said
from .serve import listen, uvicorn_config

_HOST = "127.0.0.1"
_PORT = 8000
_ACCESS_LIFETIME_S = 30
_STOP_PATIENCE_S = 2
_PERSON = ("ada@example.com", "a sentence only ada would say")


def demo(
    port: Annotated[int | None, typer.Option(help="Port to listen on; default 8000, or a free one.", min=0, max=65535)] = None,
    browser: Annotated[bool, typer.Option(help="Open the page, if there is a desktop.")] = True,
) -> None:
    """Show the life of both tokens, played with a real service that is thrown away afterwards.

    Nothing of yours is touched: it reads no settings, and its database is in a temporary folder.

    Example:  handstamp demo
    """
    _end_tidily_when_told()
    listening = _listen(port)
    with listening, tempfile.TemporaryDirectory(prefix="handstamp-demo-") as folder, suppress(KeyboardInterrupt):
        address: tuple[str, int] = listening.getsockname()
        issuer = f"http://localhost:{address[1]}"
        logs.configure(logging.WARNING)
        running = service(
            without_environment(
                database=f"sqlite:///{Path(folder) / 'handstamp.db'}", issuer=issuer, access_lifetime=_ACCESS_LIFETIME_S
            )
        )
        asyncio.run(_admit(running))
        _greet(issuer)
        if browser and _has_desktop():
            # Some browsers come back only when they are closed.
            threading.Thread(target=webbrowser.open, args=(f"{issuer}/park",), daemon=True).start()
        park = Park(
            running.asgi(),
            tokens=running.tokens,
            store=running.store,
            clock=running.clock,
            issuer=running.issuer,
            address=address,
            person=_PERSON,
        )
        uvicorn.Server(
            uvicorn_config(
                park,
                request_timeout_s=running.settings.request_timeout,
                keep_alive_s=running.settings.keep_alive,
                stop_patience_s=_STOP_PATIENCE_S,
            )
        ).run(sockets=[listening])


def _end_tidily_when_told() -> None:
    """End by way of `finally` also when somebody stops the process or closes its terminal, so that the folder goes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # which the server waits for, once it runs


async def _admit(running: Service) -> None:
    """Make the person to sign in as."""
    async with running.opened():
        await running.accounts.create(*_PERSON, Caller(now_ms=running.clock()))


def _listen(port: int | None) -> socket.socket:
    if port is not None:
        return listen(_HOST, port)
    try:
        return listen(_HOST, _PORT)
    except ConfigurationError:
        return listen(_HOST, 0)


def _greet(issuer: str) -> None:
    said(f"The park is open: {issuer}/park")
    said(f"Sign in as {_PERSON[0]} with the password '{_PERSON[1]}'. Pages: {issuer}/account, endpoints: {issuer}/docs")
    said("Everything is in a folder that is deleted at the end. Stop with Ctrl-C.")


def _has_desktop() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
