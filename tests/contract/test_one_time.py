"""One-time grants under load, on every store: two processes, one database."""

from __future__ import annotations

import asyncio

import pytest

from handstamp.crypto.identifiers import hash_secret
from handstamp.crypto.one_time import OneTimeCodes
from handstamp.crypto.seal import MasterSecret, Pseudonyms
from handstamp.errors import InvalidCode, Unavailable
from handstamp.service.parts.audit import Audit
from handstamp.service.parts.caller import Caller
from handstamp.service.parts.one_time import Issued, OneTimeGrants, Shown, keep_browser_secret
from handstamp.service.parts.throttling import Throttling
from handstamp.storage.store import Store, Transaction
from tests.builders import NOW_MS, an_account
from tests.contract.test_store import Opened, another

__all__ = ["another"]
pytestmark = pytest.mark.anyio
SECRET = MasterSecret(b"a master secret for the tests of grants")
ADA = an_account()
CALLER = Caller(now_ms=NOW_MS)
BROWSER = keep_browser_secret()


def grants_of(store: Store) -> OneTimeGrants:
    """Return the part over a store, as each process makes it."""
    throttling = Throttling(Pseudonyms(SECRET), Audit(), people_per_network=10_000)
    return OneTimeGrants(store=store, codes=OneTimeCodes(SECRET), throttling=throttling, issuer_url="https://auth.example.com")


async def issue(store: Store) -> Issued:
    """Create the account, and issue a grant for it."""

    async def work(rows: Transaction) -> Issued:
        await rows.accounts.insert(ADA)
        return await grants_of(store).issue(rows, "sign_in", email=ADA.email, account=ADA, browser=BROWSER, caller=CALLER)

    return await store.transact(work)


async def guess(store: Store, code: str) -> str:
    """Return the verdict on a code, or "busy" if the store could not tell."""
    try:
        await grants_of(store).prove("sign_in", Shown(code=code, browser=BROWSER), CALLER)
    except InvalidCode as refused:
        return refused.verdict
    except Unavailable:
        return "busy"
    return "accepted"


async def test_five_of_many_parallel_guesses_are_looked_at(another: Opened) -> None:
    """Whichever process answers. The right code comes too late afterwards, and the link is still accepted."""
    stores = [await another(), await another()]
    issued = await issue(stores[0])
    wrong = [f"{(int(issued.code) + number) % 1_000_000:06}" for number in range(1, 11)]
    verdicts = await asyncio.gather(*(guess(store, code) for code in wrong for store in stores))
    assert verdicts.count("wrong") <= 5
    assert "accepted" not in verdicts
    while await guess(stores[1], wrong[0]) == "wrong":
        pass
    (grant,) = await stores[0].read(lambda rows: rows.one_time.list_by_browser(hash_secret(BROWSER), "sign_in", limit=5))
    assert grant.looks == 5
    assert await guess(stores[0], issued.code) == "exhausted"
    token = issued.link.partition("token=")[2]
    proven = await grants_of(stores[1]).prove("sign_in", Shown(token=token), CALLER)
    assert not proven.in_same_browser


async def test_a_link_that_two_processes_use_at_once_is_used_once(another: Opened) -> None:
    """One of them has the effect, the other is told that it was used."""
    stores = [await another(), await another()]
    token = (await issue(stores[0])).link.partition("token=")[2]
    proven = [await grants_of(store).prove("sign_in", Shown(token=token), CALLER) for store in stores]

    async def consume(store: Store, number: int) -> str:
        try:
            await store.transact(lambda rows: grants_of(store).consume(rows, proven[number].grant, ADA.id, CALLER))
        except InvalidCode as refused:
            return refused.verdict
        return "accepted"

    assert sorted(await asyncio.gather(*map(consume, stores, (0, 1)))) == ["accepted", "used"]
