"""Every store counts its rows in pieces, by what they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from handstamp.domain.event import Event, EventKind
from handstamp.domain.passkey import Passkey
from handstamp.domain.revocation import Revocation
from handstamp.domain.session import revoke
from handstamp.domain.throttle import MAX_CONSECUTIVE, Failures
from handstamp.domain.totp import Totp
from handstamp.storage.store import Store, Transaction
from handstamp.storage.store.failures import Count
from handstamp.storage.store.statistics import Piece, StatisticQueries
from tests.builders import DAY_MS, NOW_MS, a_mail, a_session, an_account
from tests.contract.test_store import Opened, another

__all__ = ["another"]
pytestmark = pytest.mark.anyio
CountPiece = Callable[[StatisticQueries, Any, int], Awaitable[Piece]]


async def expect_counts(store: Store, count_piece: CountPiece, expected: Counter[Any]) -> None:
    """Check what all pieces add up to, whatever their size. Each but the last has as many rows as were asked for."""
    for limit in (2, 3, 100):
        found: Counter[Any] = Counter()
        place = None
        for _ in range(expected.total() // limit + 1):
            piece = await store.read(
                lambda rows, place=place, limit=limit: count_piece(rows.statistics, place, limit)  # type: ignore[misc]
            )
            found.update(piece.counts)
            place = piece.last
            assert (place is None) == (sum(piece.counts.values()) < limit)
        assert place is None
        assert found == expected


async def test_accounts_are_counted_by_how_they_sign_in(another: Opened) -> None:
    """The ids have letters of all kinds: no order of a database leaves an account out, or counts one twice."""
    store = await another()
    kinds = {
        "Aa": (True, False, True, True, False),
        "aB": (True, False, True, True, False),
        "_c": (False, True, False, False, True),
        "-D": (False, False, False, True, True),
        "9e": (False, False, False, False, False),
        "zF": (True, True, True, False, False),
    }

    async def add(rows: Transaction) -> None:
        for name, (is_verified, is_disabled, has_password, has_totp, has_passkey) in kinds.items():
            account = an_account(
                id=name,
                email=f"{name.lower()}@example.com",
                email_verified=is_verified,
                disabled_at_ms=NOW_MS if is_disabled else None,
                password_hash="x" if has_password else "",
            )
            assert await rows.accounts.insert(account)
            if has_totp:
                await rows.totp.save(Totp(account_id=name, sealed=b"x", created_at_ms=0, last_step=0, used_at_ms=0))
            for number in range(2 if has_passkey else 0):
                await rows.passkeys.insert(passkey_of(name, number))

    await store.transact(add)
    await expect_counts(store, lambda rows, place, limit: rows.count_accounts(place, limit=limit), Counter(kinds.values()))


def passkey_of(account_id: str, number: int) -> Passkey:
    """Return a passkey."""
    return Passkey(
        id=f"{account_id}{number}",
        account_id=account_id,
        handle="h",
        public_key=b"k",
        sign_count=0,
        name="",
        aaguid="",
        transports=(),
        is_backed_up=False,
        created_at_ms=0,
        used_at_ms=0,
    )


async def test_sessions_are_counted_by_delivery_and_binding(another: Opened) -> None:
    """One that was revoked, has expired or was idle for too long does not live."""
    store = await another()
    plain = a_session(id="a", delivery="split")
    bound = a_session(id="B", delivery="json", bound_key="{}", bound_by="dpop", bound_at_ms=NOW_MS)
    sessions = [
        plain,
        bound,
        revoke(a_session(id="c", delivery="split"), "logout", NOW_MS),
        a_session(id="d", delivery="split", expires_at_ms=NOW_MS),
        a_session(id="E", delivery="split", rotated_at_ms=NOW_MS - plain.idle_lifetime_ms),
    ]

    async def add(rows: Transaction) -> None:
        for session in sessions:
            await rows.sessions.insert(session)

    await store.transact(add)
    expected = Counter({(True, "split", None): 1, (True, "json", "dpop"): 1, (False, "split", None): 3})
    await expect_counts(store, lambda rows, place, limit: rows.count_sessions(place, now_ms=NOW_MS, limit=limit), expected)


async def test_events_and_failures_are_counted_by_age(another: Opened) -> None:
    """Of the last day, of the last week, and before. The newest events come first, and a count of an address is told apart."""
    store = await another()
    ages: list[tuple[EventKind, int]] = [
        ("signed_in", NOW_MS - 8 * DAY_MS),
        ("signed_in", NOW_MS - 7 * DAY_MS),
        ("signed_in", NOW_MS - DAY_MS - 1),
        ("session_ended", NOW_MS - DAY_MS),
        ("signed_in", NOW_MS),
        ("signed_in", NOW_MS + 1),
    ]
    counts = [
        Count("Of-address", Failures(1000, 1, NOW_MS, NOW_MS + 1), "Of-address"),
        Count("of_locked", Failures(1000, MAX_CONSECUTIVE, NOW_MS - 2 * DAY_MS, None), "of_locked"),
        Count("of_pair", Failures(1000, MAX_CONSECUTIVE, NOW_MS, NOW_MS + 1), "of_locked"),
        Count("of_network", Failures(1000, 3, NOW_MS - 9 * DAY_MS, NOW_MS), None),
    ]

    async def add(rows: Transaction) -> None:
        await rows.failures.save_many(counts)
        for kind, at_ms in ages:
            await rows.events.insert(Event(at_ms=at_ms, kind=kind))

    await store.transact(add)
    by_kind = Counter({(0, "signed_in"): 2, (0, "session_ended"): 1, (1, "signed_in"): 2, (2, "signed_in"): 1})
    await expect_counts(store, lambda rows, place, limit: rows.count_events(place, now_ms=NOW_MS, limit=limit), by_kind)
    first = await store.read(lambda rows: rows.statistics.count_events(None, now_ms=NOW_MS, limit=2))
    assert first.counts == {(0, "signed_in"): 2}
    by_age = Counter([(True, 0, False), (True, 1, True), (False, 0, False), (False, 2, False)])
    await expect_counts(store, lambda rows, place, limit: rows.count_failures(place, now_ms=NOW_MS, limit=limit), by_age)


async def test_mails_and_revocations_are_counted(another: Opened) -> None:
    """Mail of the development inbox does not wait. A new store has one revocation, its name."""
    store = await another()

    async def add(rows: Transaction) -> None:
        for name, next_at_ms in (("a", NOW_MS), ("B", None), ("c", NOW_MS + DAY_MS)):
            await rows.mails.insert(a_mail(id=name, next_at_ms=next_at_ms))
        for name in "ab":
            await rows.revocations.insert(Revocation("sid", name, NOW_MS // 1000))

    await store.transact(add)
    await expect_counts(
        store, lambda rows, place, limit: rows.count_mails(place, limit=limit), Counter({(True,): 2, (False,): 1})
    )
    await expect_counts(store, lambda rows, place, limit: rows.count_revocations(place, limit=limit), Counter({(): 3}))
