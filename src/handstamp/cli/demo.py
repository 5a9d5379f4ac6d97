"""`handstamp demo`: a service to throw away, and a page that shows the whole game."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import tempfile
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from .. import logs
from ..assemble import service
from ..config import without_environment
from ..errors import ConfigurationError
from ..service.caller import Caller
from ..web.park.app import Park
from .common import said
from .serve import listen, uvicorn_config

_PORT = 8000
_ACCESS_LIFETIME_S = 30
_PERSON = ("ada@example.com", "a sentence only ada would say")


def demo(
    port: Annotated[int | None, typer.Option(help="Port to listen on; default 8000, or a free one.", min=0, max=65535)] = None,
    browser: Annotated[bool, typer.Option(help="Open the page, if there is a desktop.")] = True,
) -> None:
    """Show the life of both tokens, played with a real service that is thrown away afterwards.

    Nothing of yours is touched: it reads no settings, and its database is in a temporary folder.

    Example:  handstamp demo
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder goes, too
    try:
        listening = listen("127.0.0.1", _PORT if port is None else port)
    except ConfigurationError:
        if port is not None:
            raise
        listening = listen("127.0.0.1", 0)
    with listening, tempfile.TemporaryDirectory(prefix="handstamp-demo-") as folder, suppress(KeyboardInterrupt):
        issuer = f"http://localhost:{listening.getsockname()[1]}"
        logs.configure(logging.WARNING)
        settings = without_environment(
            database=f"sqlite:///{Path(folder) / 'handstamp.db'}", issuer=issuer, access_lifetime=_ACCESS_LIFETIME_S
        )
        running = service(settings)

        async def prepare() -> None:
            async with running.opened():
                await running.accounts.create(*_PERSON, Caller(now_ms=running.clock()))

        asyncio.run(prepare())
        said(f"The park is open: {issuer}/park")
        said(f"Sign in as {_PERSON[0]} with the password '{_PERSON[1]}'. Pages: {issuer}/account, endpoints: {issuer}/docs")
        said("Everything is in a folder that is deleted at the end. Stop with Ctrl-C.")
        if browser and _has_desktop():
            webbrowser.open(f"{issuer}/park")
        park = Park(running.asgi(), store=running.store, clock=running.clock, issuer=issuer, person=_PERSON)
        uvicorn.Server(uvicorn_config(park)).run(sockets=[listening])


def _has_desktop() -> bool:
    return sys.platform == "darwin" or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
