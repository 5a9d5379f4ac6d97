"""A service with mail in this process, on a real SQLite file, with browsers in front and a clock that a test moves.

Mail stays in the outbox, as in the development inbox, where the test reads it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from handstamp.config.secret_file import load_master_secret
from handstamp.domain.mail import Letter
from handstamp.embedded import Handstamp
from handstamp.service.mailing.outbox import Letters
from handstamp.service.parts.caller import Caller
from tests.builders import Clock

ORIGIN = "http://localhost"
PASSWORD = "a sentence that nobody else would say"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
BROWSER = {"sec-fetch-site": "same-origin", "user-agent": FIREFOX}


class Mailed:
    """A running service. `browser` and `program` return new clients of it."""

    def __init__(self, auth: Handstamp, clock: Clock, stack: AsyncExitStack) -> None:
        self.auth = auth
        self.deployment = auth._deployment
        self.clock = clock
        self._stack = stack

    async def browser(self, ip: str = "192.0.2.1") -> httpx.AsyncClient:
        """Return a browser, which stores cookies and says that its requests come from our own pages."""
        return await self._client(ip, BROWSER)

    async def program(self, ip: str = "192.0.2.1") -> httpx.AsyncClient:
        """Return a client that is no browser."""
        return await self._client(ip, {"user-agent": "program/1.0"})

    async def _client(self, ip: str, headers: dict[str, str]) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.auth.asgi, client=(ip, 1234))
        return await self._stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers=headers))

    async def letters(self) -> list[Letter]:
        """Return the letters that are sent, oldest first."""
        mails = await self.deployment.store.read(lambda rows: rows.mails.list_newest(limit=1000))
        letters = Letters(load_master_secret(self.deployment.settings))
        return [letter for letter in map(letters.open, reversed(mails)) if letter.to]

    async def content(self, to: str | None = None) -> Any:
        """Return the content of the newest letter, or of the newest one to an address."""
        return [letter for letter in await self.letters() if to in (None, letter.to)][-1].content

    async def create_account(self, email: str, **fields: Any) -> str:
        """Create an account whose address is not verified, as an operator does. Return its id."""
        account = await self.deployment.create_account(email, PASSWORD, Caller(now_ms=self.clock(), actor="operator"), **fields)
        return account.id


@asynccontextmanager
async def mailed(folder: Path, *, has_real_clock: bool = False, **settings: Any) -> AsyncIterator[Mailed]:
    """Run a service with mail in `folder`, with a new clock that the test moves unless it has the clock of this machine."""
    clock = Clock()
    defaults = {"database": f"sqlite:///{folder}/handstamp.db", "issuer": ORIGIN, "smtp_url": "inbox"}
    async with AsyncExitStack() as stack:
        auth = Handstamp(clock=None if has_real_clock else clock, **defaults | settings)
        await stack.enter_async_context(auth)
        yield Mailed(auth, clock, stack)


def token_in(link: str) -> str:
    """Return the token of a link."""
    return link.partition("token=")[2]
