"""Random lives of one-time grants: an owner with two browsers, a thief, a mail scanner, parallel guesses, and clocks that differ.

Hypothesis makes them up. They run on the real part and a real SQLite file. What each link and each code is worth is computed here
a second time, from the history.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from handstamp.crypto.identifiers import hash_secret
from handstamp.crypto.one_time import OneTimeCodes
from handstamp.crypto.seal import MasterSecret, Pseudonyms
from handstamp.domain.one_time import Purpose
from handstamp.errors import InvalidCode
from handstamp.service.parts.audit import Audit
from handstamp.service.parts.caller import Caller
from handstamp.service.parts.one_time import Issued, OneTimeGrants, Shown, keep_browser_secret
from handstamp.service.parts.throttling import Throttling
from handstamp.storage.sqlite.store import SqliteStore
from tests.builders import HOUR_MS, MINUTE_MS, NOW_MS, SECOND_MS, an_account
from tests.prepared import prepare_database

T = TypeVar("T")
SECRET = MasterSecret(b"a master secret for the tests of grants")
BROWSERS = ("laptop", "phone", "thief")
PURPOSES: tuple[Purpose, ...] = ("sign_in", "verify_email")
SKEWS_MS = st.sampled_from([0, -19_997, 19_997])
"""The clock of the node that answers. An odd number, so that no two grants have the same time."""
EMAIL = "ada@example.com"


class Model(msgspec.Struct):
    """What the history says about one grant."""

    purpose: Purpose
    browser: str
    issued: Issued
    at_ms: int
    epoch: int
    email: str
    looks: int = 0
    state: str = "living"


class LivesOfGrants(RuleBasedStateMachine):
    """The thief has a browser of their own, reads no mail at first, and may get a copy of every old mail later."""

    @initialize()
    def start(self) -> None:
        """Open a store with one account."""
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.store = SqliteStore(prepare_database(Path(self.folder.name) / "store.db"))
        self.run(self.store.open())
        throttling = Throttling(Pseudonyms(SECRET), Audit(), people_per_network=10_000)
        self.grants = OneTimeGrants(
            store=self.store, codes=OneTimeCodes(SECRET), throttling=throttling, issuer_url="https://a.test"
        )
        self.account = an_account(email=EMAIL)
        self.run(self.store.transact(lambda rows: rows.accounts.insert(self.account)))
        self.browsers = {name: keep_browser_secret() for name in BROWSERS}
        self.now_ms = NOW_MS
        self.issued: list[Model] = []
        self.uses: list[int] = []

    def teardown(self) -> None:
        """Close the store."""
        self.run(self.store.close())
        self.loop.close()
        self.folder.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def caller(self, skew_ms: int) -> Caller:
        """Return the caller of a request that a node with this clock answers."""
        return Caller(now_ms=self.now_ms + skew_ms, ip="192.0.2.1")

    # What the history says.

    def verdict(self, grant: Model, now_ms: int, *, by_code: bool) -> str:
        """Return what a link or a right code of a grant is worth at `now_ms`."""
        lifetime_ms = 10 * MINUTE_MS if by_code else HOUR_MS
        table = [
            (grant.state == "gone", "void"),
            (grant.state == "used", "used"),
            (now_ms >= grant.at_ms + lifetime_ms, "expired"),
            (by_code and grant.looks >= 5, "exhausted"),
            ((self.account.epoch, self.account.email) != (grant.epoch, grant.email), "void"),
            (self.account.disabled_at_ms is not None, "void"),
            (True, "accepted"),
        ]
        return next(verdict for condition, verdict in table if condition)

    def compared(self, purpose: Purpose, browser: str) -> list[Model]:
        """Return the grants with which a code that is typed in a browser is compared."""
        own = [grant for grant in self.issued if (grant.purpose, grant.browser) == (purpose, browser) and grant.state != "gone"]
        return sorted(own, key=lambda grant: -grant.at_ms)[:5]

    def consume(self, chosen: Model, shown: Shown, skew_ms: int) -> str:
        """Use a grant up, as a use case does. Return the verdict."""
        caller = self.caller(skew_ms)
        try:
            proven = self.run(self.grants.prove(chosen.purpose, shown, caller))
            self.run(self.store.transact(lambda rows: self.grants.consume(rows, proven.grant, self.account.id, caller)))
        except InvalidCode as refused:
            return refused.verdict
        self.note_use(chosen)
        return "accepted"

    def note_use(self, used: Model) -> None:
        """Note that a grant was used, which voids the others of its purpose and address."""
        self.uses.append(id(used))
        for other in self.issued:
            if (other.purpose, other.email) == (used.purpose, used.email):
                other.state = "gone"
        used.state = "used"

    # What happens.

    @rule(browser=st.sampled_from(BROWSERS), purpose=st.sampled_from(PURPOSES), skew_ms=SKEWS_MS)
    def ask(self, browser: str, purpose: Purpose, skew_ms: int) -> None:
        """Anybody asks for a mail to the owner. It never disturbs an earlier one."""
        self.now_ms += 1
        caller, account = self.caller(skew_ms), self.account
        issued = self.run(
            self.store.transact(
                lambda rows: self.grants.issue(
                    rows, purpose, email=account.email, account=account, browser=self.browsers[browser], caller=caller
                )
            )
        )
        self.issued.append(Model(purpose, browser, issued, caller.now_ms, account.epoch, account.email))

    @precondition(lambda self: self.issued)
    @rule(data=st.data(), browser=st.sampled_from(["", *BROWSERS]), skew_ms=SKEWS_MS)
    def scan(self, data: st.DataObject, browser: str, skew_ms: int) -> None:
        """A mail scanner opens a link, any number of times. Nothing changes, which the other rules would notice."""
        grant = data.draw(st.sampled_from(self.issued))
        shown = Shown(token=token_of(grant), browser=self.browsers.get(browser, ""))
        expected = self.verdict(grant, self.now_ms + skew_ms, by_code=False)
        if expected == "accepted":
            proven = self.run(self.grants.prove(grant.purpose, shown, self.caller(skew_ms)))
            assert proven.in_same_browser is (browser == grant.browser)
        else:
            with pytest.raises(InvalidCode) as refused:
                self.run(self.grants.prove(grant.purpose, shown, self.caller(skew_ms)))
            assert refused.value.verdict == expected

    @precondition(lambda self: self.issued)
    @rule(data=st.data(), skew_ms=SKEWS_MS)
    def press_the_button(self, data: st.DataObject, skew_ms: int) -> None:
        """Somebody who has the mail uses its link."""
        grant = data.draw(st.sampled_from(self.issued))
        expected = self.verdict(grant, self.now_ms + skew_ms, by_code=False)
        assert self.consume(grant, Shown(token=token_of(grant)), skew_ms) == expected

    @precondition(lambda self: self.issued)
    @rule(data=st.data(), skew_ms=SKEWS_MS)
    def press_it_twice_at_once(self, data: st.DataObject, skew_ms: int) -> None:
        """Two requests use one link at once: one succeeds, or none."""
        grant = data.draw(st.sampled_from(self.issued))
        caller, shown = self.caller(skew_ms), Shown(token=token_of(grant))

        async def press() -> str:
            try:
                proven = await self.grants.prove(grant.purpose, shown, caller)
                await self.store.transact(lambda rows: self.grants.consume(rows, proven.grant, self.account.id, caller))
            except InvalidCode as refused:
                return refused.verdict
            return "accepted"

        async def press_both() -> list[str]:
            return sorted(await asyncio.gather(press(), press()))

        expected = self.verdict(grant, caller.now_ms, by_code=False)
        assert self.run(press_both()) == (["accepted", "used"] if expected == "accepted" else [expected, expected])
        if expected == "accepted":
            self.note_use(grant)

    @precondition(lambda self: self.issued)
    @rule(data=st.data(), browser=st.sampled_from(BROWSERS), skew_ms=SKEWS_MS)
    def type_the_code(self, data: st.DataObject, browser: str, skew_ms: int) -> None:
        """The owner types the code of a mail, or the thief one that was read over a shoulder: only where it was asked for."""
        grant, now_ms = data.draw(st.sampled_from(self.issued)), self.now_ms + skew_ms
        compared = self.compared(grant.purpose, browser)
        is_among = any(other is grant for other in compared)
        expected = self.verdict(grant, now_ms, by_code=True) if is_among else "elsewhere or wrong"
        verdict = self.consume(grant, Shown(code=grant.issued.code, browser=self.browsers[browser]), skew_ms)
        assert (verdict == "accepted") is (expected == "accepted")
        assert verdict != "accepted" or browser == grant.browser
        self.count_looks(compared, now_ms)

    @precondition(lambda self: self.issued)
    @rule(data=st.data(), count=st.sampled_from([7, 1, 3]), skew_ms=SKEWS_MS)
    def guess(self, data: st.DataObject, count: int, skew_ms: int) -> None:
        """Many wrong codes arrive at once. No grant is looked at more than five times."""
        target = data.draw(st.sampled_from(self.issued))
        purpose, browser = target.purpose, target.browser
        now_ms, compared = self.now_ms + skew_ms, self.compared(purpose, browser)
        wrong = next(code for code in ("000000", "000001") if code not in {grant.issued.code for grant in compared})

        async def guess_all() -> list[object]:
            shown, caller = Shown(code=wrong, browser=self.browsers[browser]), self.caller(skew_ms)
            guesses = [self.grants.prove(purpose, shown, caller) for _ in range(count)]
            return await asyncio.gather(*guesses, return_exceptions=True)

        assert all(isinstance(answer, InvalidCode) and answer.verdict != "accepted" for answer in self.run(guess_all()))
        for _ in range(count):
            self.count_looks(compared, now_ms)

    def count_looks(self, compared: list[Model], now_ms: int) -> None:
        """Note that a code was compared with these grants."""
        for grant in compared:
            if grant.state == "living" and now_ms < grant.at_ms + 10 * MINUTE_MS:
                grant.looks = min(5, grant.looks + 1)

    @rule(what=st.sampled_from(["password", "address", "disable", "enable"]))
    def change_the_account(self, what: str) -> None:
        """What voids a grant: a new password or the end of all sessions (the epoch), a new address, a disabled account."""
        changes: dict[str, dict[str, Any]] = {
            "password": {"epoch": self.account.epoch + 1},
            "address": {"email": f"a{self.account.epoch}{self.account.email}"[-60:]},
            "disable": {"disabled_at_ms": self.now_ms},
            "enable": {"disabled_at_ms": None},
        }
        self.account = msgspec.structs.replace(self.account, **changes[what])
        self.run(self.store.transact(lambda rows: rows.accounts.update(self.account)))

    @rule(pause_ms=st.sampled_from([SECOND_MS, MINUTE_MS, 9 * MINUTE_MS, 20 * MINUTE_MS, HOUR_MS]))
    def wait(self, pause_ms: int) -> None:
        """Let time pass."""
        self.now_ms += pause_ms

    @invariant()
    def each_grant_is_used_at_most_once(self) -> None:
        """The promise."""
        assert len(self.uses) == len(set(self.uses))

    @invariant()
    def no_grant_is_looked_at_more_than_five_times(self) -> None:
        """As the rows say, and as the history says."""
        for grant in self.issued:
            row = self.run(self.store.read(lambda rows, grant=grant: rows.one_time.get_by_link(link_hash_of(grant))))  # type: ignore[misc]
            if grant.state == "gone":
                assert row is None
            elif row is not None and grant.state == "living":
                assert row.looks == grant.looks <= 5


def token_of(grant: Model) -> str:
    """Return the token of a grant's link."""
    return grant.issued.link.partition("token=")[2]


def link_hash_of(grant: Model) -> bytes:
    """Return the hash under which a grant is stored."""
    return hash_secret(token_of(grant))


TestLivesOfGrants = LivesOfGrants.TestCase
TestLivesOfGrants.settings = settings(max_examples=30, stateful_step_count=25)
