"""`handstamp demo`: serve a demonstration and open its page."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
import webbrowser
from contextlib import suppress
from typing import Annotated

import typer
import uvicorn

from ..config.logs import configure_logging
from ..demo.run import EMAIL, PASSWORD, demonstration
from ..errors import ConfigurationError
from ..web.server import uvicorn_config
from .common import make_command, print_line
from .serve import listen

_HOST = "127.0.0.1"
_PORT = 8000
_STOP_TIMEOUT_S = 2


app: typer.Typer = make_command()


@app.command()
def demo(
    port: Annotated[int | None, typer.Option(help="Port to listen on; default 8000, or a free one.", min=0, max=65535)] = None,
    browser: Annotated[bool, typer.Option(help="Open the page, if there is a desktop.")] = True,
) -> None:
    """Show the life of both tokens with a real service that is deleted afterwards.

    It reads no settings, and its database is in a temporary folder.

    Example:  handstamp demo
    """
    _exit_on_signals()
    configure_logging(logging.WARNING)
    with _listen(port) as listening, demonstration(listening.getsockname()) as shown, suppress(KeyboardInterrupt):
        issuer = shown.settings.issuer
        _print_greeting(issuer)
        if browser and _has_desktop():
            # Some browsers return only when they are closed.
            threading.Thread(target=webbrowser.open, args=(f"{issuer}/park",), daemon=True).start()
        config = uvicorn_config(
            shown.application,
            request_timeout_s=shown.settings.request_timeout,
            keep_alive_s=shown.settings.keep_alive,
            stop_timeout_s=_STOP_TIMEOUT_S,
        )
        uvicorn.Server(config).run(sockets=[listening])


def _exit_on_signals() -> None:
    """Run the `finally` blocks, which delete the folder, when the process is stopped or its terminal is closed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))  # once the server runs, it handles SIGTERM


def _listen(port: int | None) -> socket.socket:
    if port is not None:
        return listen(_HOST, port)
    try:
        return listen(_HOST, _PORT)
    except ConfigurationError:
        return listen(_HOST, 0)


def _print_greeting(issuer: str) -> None:
    print_line(f"The park is open: {issuer}/park")
    print_line(f"Sign in as {EMAIL} with the password '{PASSWORD}'. Pages: {issuer}/account, endpoints: {issuer}/docs")
    print_line("Everything is in a folder that is deleted at the end. Stop with Ctrl-C.")


def _has_desktop() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
