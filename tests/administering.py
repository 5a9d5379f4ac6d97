"""Operators of a service in this process: credentials, and people with the role of administrators."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.crypto.identifiers import new_id
from handstamp.domain.account import Account
from handstamp.domain.credential import CredentialScope
from handstamp.domain.delivery import Delivery
from handstamp.domain.event import Event
from handstamp.domain.grant import NOTHING, Grant
from handstamp.domain.proof import Proof
from handstamp.domain.session import start
from handstamp.service.parts.caller import Caller
from handstamp.service.parts.tokens import TokenPair
from handstamp.storage.store import Transaction
from tests.builders import NOW_MS, Clock
from tests.deployment import ISSUER, caller, deployed

PASSWORD = "kelp lantern rivet 41 of the tests"


class Service:
    """The service, with what tests of operators need."""

    def __init__(self, running: Deployment, clock: Clock, client: httpx.AsyncClient) -> None:
        """Use a client of the service."""
        self.running, self.clock, self.client = running, clock, client

    @property
    def caller(self) -> Caller:
        """The operator at the command line."""
        return msgspec.structs.replace(caller(self.clock), actor="operator")

    async def account(self, email: str, *roles: str, **fields: Any) -> Account:
        """Create an account without a password: no test waits for its hash."""
        return await self.running.create_account(email, fields.pop("password", None), self.caller, roles=roles, **fields)

    async def credential(self, *scopes: CredentialScope) -> httpx.BasicAuth:
        """Create a service credential."""
        made, secret = await self.running.credentials.create(f"tests-{new_id()}", self.caller, scopes=scopes)
        return httpx.BasicAuth(made.id, secret)

    async def sign_in(
        self, account: Account, *, acr: str = "mfa", delivery: Delivery = "json", granted: Grant = NOTHING
    ) -> TokenPair:
        """Start a session whose person has proved this much, now."""
        proof = Proof(subject=account.id, account=account, amr=("pwd",), acr=acr, authenticated_at_ms=self.clock(), grant=granted)
        session = start(
            new_id(),
            proof,
            delivery=delivery,
            user_agent="Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
            ip="192.0.2.1",
            now_ms=self.clock(),
            policy=self.running.settings.policy,
        )

        async def begin(rows: Transaction) -> TokenPair:
            await rows.sessions.insert(session)
            return self.running.tokens.mint(session, granted, self.clock())

        return await self.running.store.transact(begin)

    async def administrator(self, email: str = "admin@example.com") -> tuple[Account, dict[str, str]]:
        """Create an administrator who has just proved two factors; return the account and the headers of a request."""
        account = await self.account(email, "admin")
        return account, bearer(await self.sign_in(account))

    async def events(self) -> list[Event]:
        """Return the last events, oldest first."""
        found = await self.running.store.read(
            lambda rows: rows.events.list_page(after=0, until=10**9, since_ms=0, before_ms=2**60, limit=500)
        )
        return [event for _, event in found]


def bearer(pair: TokenPair) -> dict[str, str]:
    """Return the header with an access token."""
    return {"authorization": f"Bearer {pair.access_token}"}


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[Service]:
    """Run the service. With PostgreSQL, `now_ms` must be the time of the server."""
    clock = Clock(settings.pop("now_ms", NOW_MS))
    async with (
        deployed(folder, clock, **settings) as running,
        httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER) as client,
    ):
        yield Service(running, clock, client)
