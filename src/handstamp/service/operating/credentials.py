"""Clients: the other services that may introspect tokens and follow the revocations."""

from __future__ import annotations

import re
from typing import Literal

from ...crypto.identifiers import hash_secret, new_id, new_secret, secret_matches
from ...domain.credential import Client
from ...domain.event import Event
from ...errors import ConfigurationError, InvalidClient, NotFound
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_NOBODYS = hash_secret("")


class Clients:
    """The use cases around service credentials."""

    def __init__(self, *, store: Store, audit: Audit) -> None:
        """Take what it works with."""
        self._store = store
        self._audit = audit

    async def create(self, name: str, caller: Caller) -> tuple[Client, str]:
        """Add a client; return it with its secret, which is nowhere else. Raises `ConfigurationError` if the name cannot be."""
        if _NAME.fullmatch(name) is None:
            raise ConfigurationError(
                "A client's name has 1 to 64 characters of A-Z a-z 0-9 . _ - and begins with one of the first."
            )
        secret = new_secret()
        client = Client(id=new_id(), name=name, secret_hash=hash_secret(secret), created_at_ms=caller.now_ms)
        event = _event("client_added", client, caller)

        async def add(rows: Transaction) -> bool:
            added = await rows.credentials.insert(client)
            if added:
                await rows.events.insert(event)
            return added

        if not await self._store.transact(add):
            raise ConfigurationError(f"There is a client named {name} already. Remove it first: handstamp clients remove {name}")
        self._audit.log(event)
        return client, secret

    async def all(self) -> list[Client]:
        """Return all clients in the order of their names."""
        return await self._store.read(lambda rows: rows.credentials.list_all())

    async def remove(self, name_or_id: str, caller: Caller) -> Client:
        """Remove a client; its credential is refused from the next request on. Raises `NotFound`."""

        async def remove(rows: Transaction) -> tuple[Client, Event] | None:
            for client in await rows.credentials.list_all():
                if name_or_id in (client.name, client.id):
                    event = _event("client_removed", client, caller)
                    await rows.credentials.delete(client.id)
                    await rows.events.insert(event)
                    return client, event
            return None

        removed = await self._store.transact(remove)
        if removed is None:
            raise NotFound(f"There is no client {name_or_id}. See: handstamp clients list")
        self._audit.log(removed[1])
        return removed[0]

    async def authenticate(self, credential: tuple[str, str] | None) -> Client:
        """Return the client of an (id, secret) pair. Raises `InvalidClient` for none or a wrong one (RFC 6749 §2.3)."""
        if credential is None:
            raise InvalidClient("This needs a service credential: make one with 'handstamp clients create NAME'.")
        client_id, secret = credential
        client = await self._store.read(lambda rows: rows.credentials.get(client_id))
        if not secret_matches(client.secret_hash if client else _NOBODYS, secret) or client is None:
            raise InvalidClient("This service credential is not known here.")
        return client


def _event(kind: Literal["client_added", "client_removed"], client: Client, caller: Caller) -> Event:
    return Event(at_ms=caller.now_ms, kind=kind, ip=caller.ip, detail={"client": client.id, "name": client.name})
