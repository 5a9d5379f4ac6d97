"""Second factors on every store."""

from __future__ import annotations

import pytest

from handstamp.domain.factor import Factors
from handstamp.domain.recovery_code import RecoveryCode
from handstamp.domain.totp import Totp
from handstamp.storage.store import Transaction
from tests.builders import NOW_MS
from tests.contract.test_store import Opened, another

__all__ = ["another"]
pytestmark = pytest.mark.anyio


def codes_of(account: str, count: int) -> list[RecoveryCode]:
    """Return rows with different hashes."""
    return [RecoveryCode(account_id=account, hash=bytes([number]) * 32, created_at_ms=NOW_MS) for number in range(count)]


async def test_the_summary_counts_what_an_account_has(another: Opened) -> None:
    """Used codes do not count, nor those of other accounts, nor those that were replaced."""
    store = await another()
    assert await store.read(lambda rows: rows.factors.get("ada-id")) == Factors()

    async def add(rows: Transaction) -> tuple[bool, bool, bool, Factors]:
        await rows.totp.save(Totp(account_id="ada-id", sealed=b"sealed", created_at_ms=NOW_MS, last_step=1, used_at_ms=NOW_MS))
        for account, count in (("ada-id", 3), ("eve-id", 10), ("ada-id", 7)):
            await rows.recovery_codes.replace(account, codes_of(account, count))
        first, second = [await rows.recovery_codes.use("ada-id", bytes([3]) * 32, NOW_MS + each) for each in (1, 2)]
        unknown = await rows.recovery_codes.use("ada-id", bytes([8]) * 32, NOW_MS)
        return first, second, unknown, await rows.factors.get("ada-id")

    assert await store.transact(add) == (True, False, False, Factors(has_totp=True, recovery_codes=6))
    used = [code.used_at_ms for code in await store.read(lambda rows: rows.recovery_codes.list_of("ada-id"))]
    assert sorted(used, key=bool) == [None] * 6 + [NOW_MS + 1]

    async def remove(rows: Transaction) -> None:
        await rows.totp.delete("ada-id")
        await rows.recovery_codes.replace("ada-id", [])

    await store.transact(remove)
    assert await store.read(lambda rows: rows.factors.get("ada-id")) == Factors()
    assert await store.read(lambda rows: rows.factors.get("eve-id")) == Factors(recovery_codes=10)


async def test_apps_are_listed_in_pages(another: Opened) -> None:
    """Each exactly once, in the order of the accounts."""
    store = await another()
    names = [f"account {number:03}" for number in range(7)]

    async def add(rows: Transaction) -> None:
        for name in reversed(names):
            await rows.totp.save(Totp(account_id=name, sealed=b"", created_at_ms=1, last_step=1, used_at_ms=1))

    await store.transact(add)
    for after, expected in (("", names[:3]), (names[2], names[3:6]), (names[5], names[6:]), (names[6], [])):
        page = await store.read(lambda rows, after=after: rows.totp.list_page(after=after, limit=3))  # type: ignore[misc]
        assert [totp.account_id for totp in page] == expected
