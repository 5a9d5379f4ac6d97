"""A proxy in front of PostgreSQL that cuts connections at a COMMIT."""

from __future__ import annotations

import asyncio
import random
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_COMMIT = b"COMMIT;\0"
"""The end of the message in which asyncpg sends COMMIT, by the simple query protocol."""


class CuttingProxy:
    """Relays connections. With probability `chance` it cuts one at its COMMIT: before the server gets it, or before the answer.

    It can also drop all data but keep connections open, like a firewall that has lost its connection table.
    """

    def __init__(self, url: str) -> None:
        """Set the target to the database's URL. The attribute `url` is the URL through the proxy."""
        self._target = urlsplit(url)
        self.url = ""
        self.chance = 0.0
        self.cuts = {"before": 0, "after": 0}
        self._connections = 0
        self._silent = 0

    async def __aenter__(self) -> Self:
        """Listen on a loopback port."""
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        host = self._target.netloc.rpartition("@")
        self.url = urlunsplit(self._target._replace(netloc=f"{host[0]}{host[1]}127.0.0.1:{port}"))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        self._server.close()

    def silence(self) -> None:
        """Drop all further data on the current connections."""
        self._silent = self._connections

    async def _relay(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, onward = await asyncio.open_connection(self._target.hostname, self._target.port)
        self._connections = number = self._connections + 1
        answering = asyncio.create_task(self._pass(far, back, number))
        try:
            while asked := await near.read(65536):
                if number <= self._silent:
                    continue
                where = random.choice(tuple(self.cuts)) if asked.endswith(_COMMIT) and random.random() < self.chance else ""
                if where == "after":
                    answering.cancel()
                    await asyncio.wait([answering])
                    onward.write(asked)
                    await far.read(1)  # the server has committed, and the client gets no answer
                if where:
                    self.cuts[where] += 1
                    break
                onward.write(asked)
                await onward.drain()
        except OSError:
            pass
        finally:
            answering.cancel()
            onward.transport.abort()
            back.transport.abort()

    async def _pass(self, far: asyncio.StreamReader, back: asyncio.StreamWriter, number: int) -> None:
        try:
            while answer := await far.read(65536):
                if number <= self._silent:
                    continue
                back.write(answer)
                await back.drain()
        except OSError:
            pass
        back.transport.abort()
