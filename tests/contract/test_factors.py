"""Second factors on every store."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from handstamp.crypto.recovery_codes import hash_code
from handstamp.crypto.seal import MasterSecret, Pseudonyms
from handstamp.crypto.totp import TotpSecrets, make_code
from handstamp.domain.factor import Factors
from handstamp.domain.recovery_code import RecoveryCode
from handstamp.domain.totp import STEP_MS, Totp
from handstamp.errors import InvalidCode, Unavailable
from handstamp.service.mailing.notices import Notices
from handstamp.service.mailing.outbox import Letters, Outbox
from handstamp.service.parts.audit import Audit
from handstamp.service.parts.caller import Caller
from handstamp.service.parts.throttling import Throttling
from handstamp.service.signing_in.recovery_code import RecoveryCodeProver
from handstamp.service.signing_in.totp import TotpProver
from handstamp.storage.store import Store, Transaction
from tests.builders import NOW_MS, a_passkey, an_account
from tests.contract.test_store import Opened, another

__all__ = ["another"]
pytestmark = pytest.mark.anyio
SECRET = MasterSecret(b"the master secret of a test: 0123456789")


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


async def test_passkeys(another: Opened) -> None:
    """A credential id is stored once, for one account. What names another account changes nothing."""
    store = await another()
    of_ada = [a_passkey("a", "ada-id", NOW_MS + 1), a_passkey("b", "ada-id", NOW_MS)]
    of_eve = a_passkey("e", "eve-id", NOW_MS)

    async def add(rows: Transaction) -> list[bool]:
        taken = msgspec.structs.replace(of_eve, id="a")
        return [await rows.passkeys.insert(each) for each in (*of_ada, of_eve, taken)]

    assert await store.transact(add) == [True, True, True, False]
    assert await store.read(lambda rows: rows.passkeys.get("a")) == of_ada[0]
    assert await store.read(lambda rows: rows.passkeys.list_of("ada-id")) == of_ada[::-1]
    assert (await store.read(lambda rows: rows.factors.get("ada-id"))).passkeys == 2
    used = msgspec.structs.replace(of_ada[0], name="My key", sign_count=2**32 - 1, is_backed_up=False, used_at_ms=NOW_MS + 9)
    await store.transact(lambda rows: rows.passkeys.update(used))
    assert await store.read(lambda rows: rows.passkeys.get("a")) == used

    async def remove(rows: Transaction) -> list[bool]:
        removed = [await rows.passkeys.delete(account, "a") for account in ("eve-id", "ada-id", "ada-id")]
        await rows.passkeys.delete_of("ada-id")
        return removed

    assert await store.transact(remove) == [False, True, False]
    assert await store.read(lambda rows: rows.passkeys.list_of("ada-id")) == []
    assert await store.read(lambda rows: rows.passkeys.list_of("eve-id")) == [of_eve]


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


async def test_one_of_many_requests_uses_a_code(another: Opened) -> None:
    """Two processes, one database: a code of an app, and a recovery code, work once however many requests carry them."""
    stores = [await another(), await another()]
    secrets, audit = TotpSecrets(SECRET), Audit()
    secret, code = secrets.generate(), "0123456789abcdefghjkmnpq"
    step = NOW_MS // STEP_MS

    async def add(rows: Transaction) -> None:
        await rows.accounts.insert(an_account())
        sealed = secrets.seal(secret, "ada-id")
        await rows.totp.save(Totp(account_id="ada-id", sealed=sealed, created_at_ms=NOW_MS, last_step=0, used_at_ms=0))
        hashed = RecoveryCode(account_id="ada-id", hash=hash_code("ada-id", code), created_at_ms=NOW_MS)
        await rows.recovery_codes.replace("ada-id", [hashed])

    await stores[0].transact(add)
    caller = Caller(now_ms=NOW_MS)
    throttling = Throttling(Pseudonyms(SECRET), audit, people_per_network=10_000)
    notices = Notices(Outbox(Letters(SECRET), way="off", confirms_sign_up=False, notices=frozenset()))

    async def use(store: Store, kind: str, typed: str) -> str:
        try:
            if kind == "app":
                prover = TotpProver(store=store, secrets=secrets, throttling=throttling, audit=audit)
                proof = await prover.prove("ada-id", typed, caller)
            else:
                proof = await RecoveryCodeProver(store=store, notices=notices, audit=audit).prove("ada-id", typed, caller)
            await store.transact(proof.confirm)
        except InvalidCode as refused:
            return refused.verdict
        except Unavailable:
            return "busy"
        return "used"

    for kind, typed, refusal in (
        ("app", make_code(secret, step), "used_app_code"),
        ("recovery", code, "wrong_recovery_code"),
    ):
        outcomes = await asyncio.gather(*(use(store, kind, typed) for store in stores * 4))
        assert outcomes.count("used") == 1, outcomes
        assert set(outcomes) <= {"used", refusal, "busy"}
        assert await use(stores[1], kind, typed) == refusal
    assert await use(stores[1], "app", make_code(secret, step - 1)) == "used_app_code"
    assert await use(stores[1], "app", make_code(secret, step + 1)) == "used"
