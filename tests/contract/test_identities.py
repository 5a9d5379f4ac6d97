"""Identities at other providers, their tokens, and the sessions that began there, on every store."""

from __future__ import annotations

import msgspec
import pytest

from handstamp.crypto.provider_tokens import TokenSeal
from handstamp.crypto.seal import MasterSecret
from handstamp.domain.identity import (
    UNCLAIMED_MS,
    Identity,
    LogoutRow,
    ProviderSession,
    SealedTokens,
)
from handstamp.domain.provider import ProviderTokens
from handstamp.service.operating.reseal import BATCH, ResealTokens
from handstamp.service.parts.audit import Audit
from handstamp.storage.store import Rows, Store, Transaction
from tests.builders import NOW_MS, Clock, a_session
from tests.contract.test_store import Opened, another
from tests.deployment import operator

__all__ = ["another"]
pytestmark = pytest.mark.anyio
GOOGLE = "https://accounts.example"


@pytest.fixture
async def store(another: Opened) -> Store:
    """Return an empty store."""
    return await another()


def identity(subject: str, *, account: str = "ada-id", issuer: str = GOOGLE, at_ms: int = NOW_MS) -> Identity:
    """Return the link of a person at a provider to an account."""
    return Identity(
        id=f"id of {subject} at {issuer}",
        issuer=issuer,
        subject=subject,
        account_id=account,
        provider="google",
        email="ada@example.com",
        created_at_ms=at_ms,
        used_at_ms=at_ms,
    )


def tokens(subject: str, *, at_ms: int = NOW_MS) -> SealedTokens:
    """Return the row of a person's tokens."""
    return SealedTokens(issuer=GOOGLE, subject=subject, sealed=b"sealed", at_ms=at_ms)


async def test_one_person_at_a_provider_has_one_account(store: Store) -> None:
    """Issuer and subject are unique together; the same subject at another issuer is another person."""

    async def add(rows: Transaction) -> list[bool]:
        links = [
            identity("1"),
            msgspec.structs.replace(identity("1", account="eve-id"), id="another id"),
            identity("1", account="eve-id", issuer="https://other.example"),
            identity("2", at_ms=NOW_MS - 1),
        ]
        return [await rows.identities.insert(each) for each in links]

    assert await store.transact(add) == [True, False, True, True]
    found = await store.read(lambda rows: rows.identities.get(GOOGLE, "1"))
    assert found == identity("1")
    assert [each.subject for each in await store.read(lambda rows: rows.identities.list_of("ada-id"))] == ["2", "1"]
    assert await store.read(lambda rows: rows.identities.get(GOOGLE, "3")) is None

    changed = msgspec.structs.replace(identity("1"), email="new@example.com", used_at_ms=NOW_MS + 1)
    await store.transact(lambda rows: rows.identities.update(changed))
    assert await store.read(lambda rows: rows.identities.get(GOOGLE, "1")) == changed


async def test_only_the_own_account_removes_a_link(store: Store) -> None:
    """The tokens go with the link; those of other people stay."""

    async def fill(rows: Transaction) -> None:
        for subject, account in (("1", "ada-id"), ("2", "ada-id"), ("3", "eve-id")):
            await rows.identities.insert(identity(subject, account=account))
            await rows.identities.save_tokens(tokens(subject))

    async def kept(rows: Rows) -> list[str]:
        return [each.subject for each in await rows.identities.list_tokens(after=("", ""), limit=9)]

    await store.transact(fill)
    first = identity("1").id
    assert not await store.transact(lambda rows: rows.identities.delete("eve-id", first))
    assert await store.read(kept) == ["1", "2", "3"]
    assert await store.transact(lambda rows: rows.identities.delete("ada-id", first))
    assert await store.read(kept) == ["2", "3"]
    await store.transact(lambda rows: rows.identities.delete_of("ada-id"))
    assert await store.read(kept) == ["3"]
    assert await store.read(lambda rows: rows.identities.list_of("ada-id")) == []
    assert len(await store.read(lambda rows: rows.identities.list_of("eve-id"))) == 1


async def test_tokens_of_sign_ins_that_never_end_are_deleted(store: Store) -> None:
    """Those of a linked identity are kept however old they are."""

    async def fill(rows: Transaction) -> None:
        await rows.identities.insert(identity("linked"))
        for subject, at_ms in (("linked", 0), ("old", NOW_MS - UNCLAIMED_MS), ("young", NOW_MS - UNCLAIMED_MS + 1)):
            await rows.identities.save_tokens(tokens(subject, at_ms=at_ms))

    await store.transact(fill)
    assert await store.transact(lambda rows: rows.purge(now_ms=NOW_MS, limit=9)) == 1
    left = await store.read(lambda rows: rows.identities.list_tokens(after=("", ""), limit=9))
    assert [each.subject for each in left] == ["linked", "young"]
    after = await store.read(lambda rows: rows.identities.list_tokens(after=(GOOGLE, "linked"), limit=9))
    assert [each.subject for each in after] == ["young"]


async def test_tokens_are_sealed_again_with_the_current_secret(store: Store) -> None:
    """`keys reseal` finds them on every page, and one row's seal opens no other row."""
    old, new = MasterSecret(b"the old secret of a test: 0123456789abc"), MasterSecret(b"the new secret of a test: 0123456789abc")
    plain = ProviderTokens(access_token="hush-hush", refresh_token="rt", scope="mail", expires_at_ms=NOW_MS)
    subjects = [f"{number:03}" for number in range(BATCH + 2)]

    async def fill(rows: Transaction) -> None:
        for subject in subjects:
            sealed = TokenSeal(old).seal(plain, GOOGLE, subject)
            await rows.identities.save_tokens(SealedTokens(issuer=GOOGLE, subject=subject, sealed=sealed, at_ms=NOW_MS))

    await store.transact(fill)
    both = TokenSeal(new.beside([old]))
    reseal, who = ResealTokens(store=store, seal=both, audit=Audit()), operator(Clock())
    assert await reseal(who) == len(subjects)
    assert await reseal(who) == 0
    row = await store.read(lambda rows: rows.identities.get_tokens(GOOGLE, subjects[-1]))
    assert row is not None
    assert TokenSeal(new).open(row.sealed, GOOGLE, subjects[-1]) == plain
    assert not TokenSeal(new).is_current(row.sealed, GOOGLE, subjects[0])
    assert "hush-hush" not in repr(plain)


async def test_a_logout_token_finds_the_sessions_that_it_names(store: Store) -> None:
    """By the person, by the session there, or by both; page by page; those of deleted accounts are gone."""
    links = [("s1", "ada", "x"), ("s2", "ada", "y"), ("s3", "eve", "x"), ("s4", "ada", "")]

    async def fill(rows: Transaction) -> None:
        for sid, subject, at_provider in links:
            await rows.sessions.insert(a_session(id=sid, subject=f"{subject}-id"))
            await rows.provider_sessions.insert(
                ProviderSession(sid=sid, issuer=GOOGLE, subject=subject, at_provider=at_provider, expires_at_ms=NOW_MS + 1)
            )

    await store.transact(fill)

    async def named(subject: str = "", at_provider: str = "", *, after: str = "", issuer: str = GOOGLE) -> list[str]:
        found = await store.read(
            lambda rows: rows.provider_sessions.list_named(issuer, subject=subject, at_provider=at_provider, after=after, limit=2)
        )
        return [each.sid for each in found]

    assert await named("ada") == ["s1", "s2"]
    assert await named("ada", after="s2") == ["s4"]
    assert await named(at_provider="x") == ["s1", "s3"]
    assert await named("eve", "x") == ["s3"]
    assert await named("eve", "y") == []
    assert await named("ada", issuer="https://other.example") == []
    assert len(await store.read(lambda rows: rows.provider_sessions.list_of("ada-id", limit=9))) == 3
    await store.transact(lambda rows: rows.provider_sessions.delete_of("ada-id"))
    assert await named("ada") == []
    await store.transact(lambda rows: rows.purge(now_ms=NOW_MS, limit=9))
    assert await named("eve") == ["s3"]
    await store.transact(lambda rows: rows.purge(now_ms=NOW_MS + 1, limit=9))
    assert await named("eve") == []


async def test_a_logout_token_counts_once(store: Store) -> None:
    """It is remembered until it expires, and stops the sign-ins that it names and that began before it."""
    logout = LogoutRow(issuer=GOOGLE, jti="j", subject="ada", at_provider="", at_ms=NOW_MS, expires_at_ms=NOW_MS + 10)
    assert await store.transact(lambda rows: rows.provider_sessions.add_logout(logout))
    assert not await store.transact(lambda rows: rows.provider_sessions.add_logout(logout))
    elsewhere = msgspec.structs.replace(logout, issuer="https://other.example", subject="", at_provider="x")
    assert await store.transact(lambda rows: rows.provider_sessions.add_logout(elsewhere))

    async def stops(subject: str, at_provider: str, since_ms: int, issuer: str = GOOGLE) -> bool:
        return await store.read(
            lambda rows: rows.provider_sessions.has_logout(issuer, subject=subject, at_provider=at_provider, since_ms=since_ms)
        )

    assert await stops("ada", "x", NOW_MS)
    assert not await stops("ada", "x", NOW_MS + 1)
    assert not await stops("eve", "x", NOW_MS)
    assert await stops("eve", "x", NOW_MS, "https://other.example")
    assert not await stops("eve", "y", NOW_MS, "https://other.example")
    assert await store.transact(lambda rows: rows.purge(now_ms=NOW_MS + 9, limit=9)) == 0
    assert await store.transact(lambda rows: rows.purge(now_ms=NOW_MS + 10, limit=9)) == 2
