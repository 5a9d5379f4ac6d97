"""The credentials of other services, which may introspect tokens and follow the revocations."""

from __future__ import annotations

import math
import re
from typing import Literal

from ...buckets import Buckets
from ...crypto.credential_secrets import CredentialSecrets
from ...crypto.identifiers import hash_secret, new_id, new_secret, secret_matches
from ...domain.credential import Credential, CredentialScope
from ...domain.event import Event
from ...domain.limits import Rate
from ...errors import (
    AdministratorProtected,
    ConfigurationError,
    CredentialLacksScope,
    InvalidClient,
    NotFound,
    TooManyAttempts,
    Unavailable,
)
from ...storage.store import Rows, Store, Transaction
from ...text import mark
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.network_budget import NetworkBudget
from ..parts.receipts import Receipts, request_repeated

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
USES = Rate(burst=4_000, per_s=2_000)
"""How often one credential may be used in each process, for introspection and the feed together: half of what a core can do."""
WRONG = Rate(burst=50, per_s=0.5)
"""How often one network may send a wrong credential, before it is told to wait."""
_DECOY = hash_secret("")
"""The hash for an unknown id, so that it takes as long as a wrong secret. No secret is empty."""


class Credentials:
    """The use cases of service credentials."""

    def __init__(self, *, store: Store, secrets: CredentialSecrets, receipts: Receipts, audit: Audit) -> None:
        self._store = store
        self._secrets = secrets
        self._receipts = receipts
        self._audit = audit
        self._uses = Buckets(burst=USES.burst, per_s=USES.per_s)
        self._wrong = NetworkBudget("wrong_credentials", WRONG)
        self._used: dict[str, bytes] = {}
        """The hashes of the credentials that were used to read in this process."""

    async def create(
        self, name: str, caller: Caller, *, scopes: tuple[CredentialScope, ...] = ("read",)
    ) -> tuple[Credential, str]:
        """Add a credential, or return the one that the same request has added before.

        Args:
            name: 1 to 64 characters of A-Z a-z 0-9 . _ - of which the first is a letter or a digit.
            caller: The time of the request.
            scopes: What it may be used for.

        Returns:
            The credential and its secret. The secret is not stored and cannot be shown again.

        Raises:
            ConfigurationError: If the name is invalid or taken.
            AdministratorProtected: If a service credential asks for one that administers.
            NewProofRequired: As `Caller.require_proof`.
            InvalidFields: If the client has used the idempotency key of `caller` for another request.
        """
        _require_may_give(scopes, caller)
        caller.require_proof()
        if _NAME.fullmatch(name) is None:
            raise ConfigurationError(
                "The name is invalid: use 1 to 64 characters of A-Z a-z 0-9 . _ - and begin with a letter or a digit."
            )
        credential_id, key = new_id(), new_secret() if caller.request is None else caller.request.key
        secret = self._secrets.make(credential_id, key)
        credential = Credential(
            id=credential_id, name=name, secret_hash=hash_secret(secret), created_at_ms=caller.now_ms, scopes=scopes
        )
        event = _make_event("credential_added", credential, caller)

        async def add(rows: Transaction) -> tuple[Credential, str, Event] | None:
            before = await self._find_added(rows, caller)
            if before is not None:
                return *before, request_repeated(None, None, caller)
            if not await rows.credentials.insert(credential):
                return None
            await rows.events.insert(event)
            await self._receipts.save_of(rows, caller, credential.id)
            return credential, secret, event

        added = await self._store.transact(add)
        if added is None:
            raise ConfigurationError(
                f"The name {name} is taken. Remove the old credential first: handstamp credentials remove {name}"
            )
        self._audit.log(added[2])
        return added[0], added[1]

    async def _find_added(self, rows: Rows, caller: Caller) -> tuple[Credential, str] | None:
        """Return the credential that the same request has added before, with its secret, if it is still there."""
        credential_id = await self._receipts.find_of(rows, caller)
        credential = None if credential_id is None else await rows.credentials.get(credential_id)
        if credential is not None and caller.request is not None:
            for secret in self._secrets.make_again(credential.id, caller.request.key):
                if secret_matches(credential.secret_hash, secret):
                    return credential, secret
        return None

    async def list_all(self) -> list[Credential]:
        """Return all credentials in the order of their names."""
        return await self._store.read(lambda rows: rows.credentials.list_all())

    async def remove(self, name_or_id: str, caller: Caller) -> Credential:
        """Remove a credential. It is refused from the next request on.

        Raises:
            NotFound: If there is none with this name or id.
            AdministratorProtected: If a service credential asks to remove one that administers.
        """

        async def remove(rows: Transaction) -> tuple[Credential, Event] | None:
            for credential in await rows.credentials.list_all():
                if name_or_id in (credential.name, credential.id):
                    _require_may_give(credential.scopes, caller)
                    event = _make_event("credential_removed", credential, caller)
                    await rows.credentials.delete(credential.id)
                    await rows.events.insert(event)
                    return credential, event
            return None

        removed = await self._store.transact(remove)
        if removed is None:
            raise NotFound(f"There is no credential {name_or_id}. See: handstamp credentials list")
        self._audit.log(removed[1])
        return removed[0]

    async def authenticate(self, presented: tuple[str, str] | None, caller: Caller, *, scope: CredentialScope) -> Credential:
        """Return the credential of an (id, secret) pair (RFC 6749 §2.3), if it has a scope.

        Raises:
            InvalidClient: If there is no pair, or if the id or the secret is wrong.
            CredentialLacksScope: If it is right and may not be used for this.
            TooManyAttempts: If the credential is used too often, or if too many of the caller's network were wrong.
        """
        try:
            credential = await self._check(presented)
        except InvalidClient:
            self._wrong.take(caller.ip)
            raise
        wait_s = self._uses.take(credential.id)
        if wait_s:
            raise TooManyAttempts(math.ceil(wait_s), limit="credential")
        if scope not in credential.scopes:
            raise CredentialLacksScope(scope)
        if scope == "read":
            self._used[credential.id] = credential.secret_hash
        return credential

    async def recognise(self, presented: tuple[str, str], caller: Caller) -> None:
        """As `authenticate` for reading. While the store does not answer, a credential that was used before is accepted.

        It is for those who ask what is wrong, and for nothing else: the credential may have been removed since.

        Raises:
            InvalidClient, CredentialLacksScope, TooManyAttempts: As `authenticate`.
            Unavailable: If the store does not answer, and the credential was not used before.
        """
        try:
            await self.authenticate(presented, caller, scope="read")
        except Unavailable:
            credential_id, secret = presented
            known = self._used.get(credential_id)
            if not secret_matches(known or _DECOY, secret) or known is None:
                raise

    async def _check(self, presented: tuple[str, str] | None) -> Credential:
        if presented is None:
            raise InvalidClient(mark("This needs a service credential: make one with 'handstamp credentials create NAME'."))
        credential_id, secret = presented
        credential = await self._store.read(lambda rows: rows.credentials.get(credential_id))
        if not secret_matches(credential.secret_hash if credential else _DECOY, secret) or credential is None:
            raise InvalidClient(mark("This service credential is unknown, or its secret is wrong."))
        return credential


def _make_event(kind: Literal["credential_added", "credential_removed"], credential: Credential, caller: Caller) -> Event:
    return caller.event(
        kind, detail={"credential": credential.id, "name": credential.name, "scopes": " ".join(credential.scopes)}
    )


def _require_may_give(scopes: tuple[CredentialScope, ...], caller: Caller) -> None:
    """Raise `AdministratorProtected` if one credential would make or remove another one that administers."""
    if caller.operator is not None and caller.operator.kind == "credential" and "admin" in scopes:
        raise AdministratorProtected
