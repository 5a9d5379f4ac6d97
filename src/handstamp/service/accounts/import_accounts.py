"""Import accounts of other systems, in batches."""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from ...crypto.foreign_hashes import UnusableHash, read_foreign_hash
from ...crypto.identifiers import new_id
from ...domain.account import Account, normalise_name
from ...domain.account_record import AccountRecord, normalise_language
from ...domain.event import Event
from ...domain.grant import parse_grant, parse_subject
from ...errors import InvalidFields
from ...storage.store import Rows, Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.email_address import normalise_email
from ..parts.hashing import Hashing

Outcome = Literal["added", "unchanged", "address taken", "id taken", "id deleted"]
"""What became of an account. `unchanged`: an earlier import, or an earlier run of the same, has added it."""


class Candidate(NamedTuple):
    """An account that is to be added, and the record that describes it."""

    record: AccountRecord
    account: Account


class ImportAccounts:
    """The use case behind `handstamp users import`. It adds accounts and never changes one that exists."""

    def __init__(self, *, store: Store, hashing: Hashing, audit: Audit) -> None:
        self._store = store
        self._hashing = hashing
        self._audit = audit

    async def prepare(self, record: AccountRecord, caller: Caller, *, drops_hashes: bool = False) -> Candidate:
        """Return the account that a record describes. Its password hash is read and bounded, and computed at the sign-in only.

        A name or a language that cannot be used is left out.

        Args:
            record: The record of a file.
            caller: The time of the import.
            drops_hashes: True to make an account without a password if its hash cannot be checked here.

        Raises:
            InvalidFields: If there is no address, if a field is invalid, or if the password hash cannot be checked here.
        """
        if not record.email:
            raise InvalidFields([("email", "is missing")])
        if record.created_at_ms is not None and record.created_at_ms > caller.now_ms:
            raise InvalidFields([("createdAt", "is in the future")])
        if "@" in record.id:  # tokens contain no personal data
            raise InvalidFields([("id", "contains an e-mail address, which tokens must not: leave it out, or use --new-ids")])
        password_hash = record.password_hash
        if password_hash:
            try:
                read_foreign_hash(password_hash)
            except UnusableHash as unusable:
                if not drops_hashes:
                    raise InvalidFields([("passwordHash", str(unusable))]) from None
                password_hash = ""
        name = ""
        with suppress(InvalidFields):
            name = normalise_name(record.name)
        account = Account(
            id=parse_subject(record.id) if record.id else new_id(),
            email=await normalise_email(record.email),
            password_hash=password_hash,
            roles=parse_grant(roles=record.roles).roles,
            created_at_ms=caller.now_ms if record.created_at_ms is None else record.created_at_ms,
            disabled_at_ms=record.disabled_at_ms,
            email_verified=record.email_verified,
            name=name,
            language=normalise_language(record.language),
        )
        return Candidate(record, account)

    async def add(self, candidates: Sequence[Candidate], caller: Caller) -> list[Outcome]:
        """Add accounts in one transaction. Return what became of each. Two of them must not share an address or an id.

        Raises:
            Unavailable: If the store does not answer. Then nothing is added.
        """

        async def add(rows: Transaction) -> list[Outcome]:
            deleted = await _find_deleted(rows, candidates)
            added = await rows.accounts.insert_many([each.account for each in candidates if each.account.id not in deleted])
            await rows.events.insert_many([_created(account_id, caller) for account_id in added])
            left = [each for each in candidates if each.account.id not in added]
            outcomes = iter(await self._judge(rows, left, deleted))
            return ["added" if each.account.id in added else next(outcomes) for each in candidates]

        outcomes = await self._store.transact(add)
        for candidate, outcome in zip(candidates, outcomes, strict=True):
            if outcome == "added":
                self._audit.log(_created(candidate.account.id, caller))
        return outcomes

    async def look(self, candidates: Sequence[Candidate]) -> list[Outcome]:
        """Return what would become of each account, and add none."""

        async def look(rows: Rows) -> list[Outcome]:
            return await self._judge(rows, candidates, await _find_deleted(rows, candidates))

        return await self._store.read(look)

    async def _judge(self, rows: Rows, candidates: Sequence[Candidate], deleted: Container[str]) -> list[Outcome]:
        """Return what would become of each account. `deleted` are ids that must not be given again."""
        accounts = [each.account for each in candidates]
        existing = await rows.accounts.list_of(emails=[each.email for each in accounts], ids=[each.id for each in accounts])
        by_email, ids = {each.email: each for each in existing}, {each.id for each in existing}

        def judge(record: AccountRecord, account: Account) -> Outcome:
            other = by_email.get(account.email)
            if other is not None:
                return "unchanged" if self._has_added(other, record) else "address taken"
            if account.id in deleted:
                return "id deleted"
            return "id taken" if account.id in ids else "added"

        return [judge(*each) for each in candidates]

    def _has_added(self, existing: Account, record: AccountRecord) -> bool:
        """Return True if an earlier import has added the account. Since then its password may have been hashed again."""
        if record.id:
            return existing.id == record.id
        if record.created_at_ms is not None:
            return existing.created_at_ms == record.created_at_ms
        return existing.password_hash == record.password_hash or not self._hashing.is_outdated(existing.password_hash)


async def _find_deleted(rows: Rows, candidates: Sequence[Candidate]) -> set[str]:
    """Return the ids that the candidates must not have: an id stands for one person for good."""
    kept = [candidate.record.id for candidate in candidates if candidate.record.id]
    return await rows.events.list_deleted(kept) if kept else set()


def _created(account_id: str, caller: Caller) -> Event:
    return caller.event("account_created", subject=account_id, detail={"how": "imported"})
