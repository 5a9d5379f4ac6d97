"""Random lives of one session that is bound to its device: an owner with the key, and a thief who copies everything else.

Hypothesis makes them up. They run on the real use cases and a real SQLite file.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from handstamp.assemble.deployment import Deployment
from handstamp.crypto.jws import split
from handstamp.domain.session import Session
from handstamp.errors import ExpiredToken, InvalidToken, ProofRequired
from handstamp.service.parts.tokens import TokenPair
from handstamp.service.sessions.bind import BrowserProof
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from tests.deployment import ISSUER, caller, crash, settings_in, start_session
from tests.devices import Device

T = TypeVar("T")
ACCESS_LIFETIME_MS, LEEWAY_MS = 15 * MINUTE_MS, 5 * SECOND_MS
PAUSES_MS = st.sampled_from([0, 1, 10 * SECOND_MS + 1, MINUTE_MS, ACCESS_LIFETIME_MS + LEEWAY_MS, HOUR_MS, DAY_MS])
URL = f"{ISSUER}/device/refresh"


class Jar(msgspec.Struct, frozen=True):
    """What a browser holds, but for its key: the tokens, the pass, the challenge, and its last proof."""

    refresh: str
    access: str
    device_pass: str
    challenge: str
    proof: str = ""


class LifeOfABoundSession(RuleBasedStateMachine):
    """The thief may copy the jar and every proof that was sent, as often as they like, and forge proofs with their own key."""

    @initialize(delivery=st.sampled_from(["cookie", "split"]))
    def sign_in(self, delivery: Any) -> None:
        """Begin, and bind the session."""
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.owner, self.thief = Device(), Device()
        self.running = self.open()
        self.session, pair = self.run(start_session(self.running, self.clock, delivery=delivery))
        self.registration = self.owner.prove(self.running.challenges.make(self.session.id, "start"), registers=True)
        bound = self.register(pair.refresh_token)
        assert bound is not None
        self.jar = self.keep(bound)
        self.copies: list[Jar] = []
        self.renewals = 0
        self.stolen_until_ms = 0

    def open(self) -> Deployment:
        """Start a service on the file, as a new process would."""
        running = Deployment(settings_in(Path(self.folder.name)), clock=self.clock)
        self.run(running.store.open())
        self.run(running.keys.maintain(self.clock()))
        return running

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def row(self) -> Session:
        """Return the session's row as it was committed."""
        found = self.run(self.running.store.session(self.session.id))
        assert found is not None
        return found[0]

    def keep(self, pair: TokenPair, proof: str = "") -> Jar:
        """Return what a browser keeps of an answer."""
        self.proved_at_ms = self.clock()
        return Jar(pair.refresh_token, pair.access_token, pair.binding.device_pass, pair.binding.challenge, proof)

    def register(self, token: str) -> TokenPair | None:
        """Send the registration with a refresh token."""
        shown = BrowserProof(token, self.registration, f"{ISSUER}/device/start")
        return self.run(self.running.bind.start(shown, caller(self.clock)))

    def renew(self, jar: Jar, proof: str) -> TokenPair:
        """Ask for a renewal."""
        pair = self.run(self.running.bind.renew(BrowserProof(jar.refresh, proof, URL, self.session.id), caller(self.clock)))
        assert pair is not None
        return pair

    @rule(answer_is_lost=st.booleans())
    def owner_renews(self, answer_is_lost: bool) -> None:
        """The browser renews. The answer may get lost, and then the browser has to sign again."""
        proof = self.owner.prove(self.jar.challenge)
        try:
            pair = self.renew(self.jar, proof)
        except ProofRequired as asked:
            proof = self.owner.prove(asked.challenge)
            pair = self.renew(self.jar, proof)
        self.jar = msgspec.structs.replace(self.jar, proof=proof) if answer_is_lost else self.keep(pair, proof)
        self.renewals += 1
        assert self.row().generation == self.renewals

    @rule()
    def thief_copies_everything(self) -> None:
        """The thief copies the jar, with the last proof that was sent."""
        self.copies.append(self.jar)
        self.stolen_until_ms = max(self.stolen_until_ms, self.proved_at_ms + ACCESS_LIFETIME_MS)

    @precondition(lambda self: self.copies)
    @rule(data=st.data(), forged=st.booleans())
    def thief_renews(self, data: st.DataObject, forged: bool) -> None:
        """The thief sends a copy, with a proof of their own or one that was used, and never gets a renewal."""
        copy, before = data.draw(st.sampled_from(self.copies)), self.row()
        proof = self.thief.prove(self.jar.challenge) if forged else copy.proof
        try:
            self.renew(copy, proof)
        except ProofRequired:
            assert self.row() == before
        else:
            raise AssertionError("the thief has renewed the session")

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def thief_registers_again(self, data: st.DataObject) -> None:
        """The thief sends the registration once more, with its proof. It is worth no more than its first answer."""
        copy, before = data.draw(st.sampled_from(self.copies)), self.row()
        pair = self.register(copy.refresh)
        if pair is not None:
            assert self.clock() + pair.expires_in_s * 1000 <= self.stolen_until_ms + SECOND_MS
        assert self.row() == before

    @precondition(lambda self: self.copies)
    @rule(data=st.data())
    def thief_refreshes_as_a_script(self, data: st.DataObject) -> None:
        """The thief uses what was copied as a script would. It is worth nothing after the life of the last copied token."""
        copy, before = data.draw(st.sampled_from(self.copies)), self.row()

        def find_end(session: Session) -> int | None:
            if session.delivery == "split":
                return self.running.passes.find_end(copy.device_pass, session.id, self.clock() // 1000)
            try:
                claims = self.running.verifier.verify(copy.access)
            except (ExpiredToken, InvalidToken):
                return None
            return claims.exp if self.clock() < claims.exp * 1000 else None

        try:
            pair = self.run(self.running.refresh(copy.refresh, way="cookie", caller=caller(self.clock), find_end=find_end))
        except ProofRequired:
            pass
        else:
            assert self.clock() + pair.expires_in_s * 1000 <= self.stolen_until_ms + SECOND_MS
            assert split(pair.access_token)
        assert self.row() == before

    @rule(ms=PAUSES_MS)
    def time_passes(self, ms: int) -> None:
        """Time passes, never so long that the session has been idle."""
        if self.clock() + ms < self.row().rotated_at_ms + 13 * DAY_MS:
            self.clock.advance(ms=ms)

    @rule()
    def process_crashes(self) -> None:
        """The process dies without a shutdown, and another one opens the file."""
        crash(self.running)
        self.running = self.open()

    @invariant()
    def the_session_lives(self) -> None:
        """Nobody without the key ends it, and the key stays."""
        if hasattr(self, "running"):
            row = self.row()
            assert row.revoked_why is None
            assert row.bound_key is not None

    def teardown(self) -> None:
        """Close everything."""
        if hasattr(self, "running"):
            self.run(self.running.store.close())
            self.running.hashing.close()
            self.loop.close()
            self.folder.cleanup()


TestLifeOfABoundSession = LifeOfABoundSession.TestCase
TestLifeOfABoundSession.settings = settings(max_examples=25, stateful_step_count=25)
