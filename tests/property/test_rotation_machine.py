"""Random lives of one session: tabs, lost answers, a thief, pauses, crashes, restored backups and sign-outs.

Hypothesis makes them up. They run on the real use case and a real SQLite file. Every answer is compared with the table of the
rules, which is written here a second time in another way.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from handstamp.assemble.deployment import Deployment
from handstamp.crypto.strict import base64url_decode
from handstamp.domain.claims import AccessClaims, RefreshClaims
from handstamp.domain.policy import Policy
from handstamp.domain.session import Session
from handstamp.errors import SessionEnded
from handstamp.service.parts.tokens import TokenPair
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Clock
from tests.deployment import caller, crash, settings_in, start_session

POLICY = Policy()
PAUSES_MS = st.sampled_from(
    [0, 1, SECOND_MS, 10 * SECOND_MS, 10 * SECOND_MS + 1, MINUTE_MS, HOUR_MS, DAY_MS - 1, DAY_MS, 13 * DAY_MS, 15 * DAY_MS]
)


def expected(row: Session, generation: int, now_ms: int) -> str:
    """Return the outcome for a refresh token of `generation` by the table of the rules."""
    over = (
        row.revoked_why is not None
        or now_ms >= row.expires_at_ms
        or now_ms >= (min(row.rotated_at_ms + row.idle_lifetime_ms, row.expires_at_ms) // 1000) * 1000
    )
    lag = row.generation - generation
    window_opened = [row.rotated_at_ms] + ([row.recovered_at_ms] if row.recovered_at_ms else [])
    in_grace = any(now_ms - opened <= POLICY.grace_ms for opened in window_opened if opened >= row.rotated_at_ms)
    ration_left = row.recovered_at_ms is None or now_ms - row.recovered_at_ms >= DAY_MS
    table = [
        (over, "ended"),
        (lag == 0, "rotate"),
        (lag < 0, "catch up"),
        (lag == 1 and in_grace, "repeat"),
        (lag == 1 and ration_left, "recover"),
        (True, "reuse"),
    ]
    return next(outcome for condition, outcome in table if condition)


def claims_in(token: str, shape: type[Any]) -> Any:
    """Return the claims of a token without checking it: the service has just made it."""
    return msgspec.json.decode(base64url_decode(token.split(".")[1]), type=shape)


class LifeOfASession(RuleBasedStateMachine):
    """All tabs of the owner's browser share one cookie jar. The thief has an old copy of it."""

    @initialize()
    def sign_in(self) -> None:
        """Begin."""
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.running = self.open()
        session, pair = self.run(start_session(self.running, self.clock))
        self.sid, self.end_ms, self.signed_in_s = session.id, session.expires_at_ms, self.clock() // 1000
        self.jar = pair.refresh_token
        self.stolen: str | None = None
        self.backup: Session | None = None
        self.acknowledged_end = self.restored = False
        self.minted: dict[tuple[int, int], str] = {}
        self.remember(pair)

    def open(self) -> Deployment:
        """Start a service on the file, as a new process would."""
        running = Deployment(settings_in(Path(self.folder.name)), clock=self.clock)
        self.run(running.store.open())
        self.run(running.keys.maintain(self.clock()))
        return running

    def run(self, work: Any) -> Any:
        """Run a coroutine to its end."""
        return self.loop.run_until_complete(work)

    def row(self) -> Session:
        """Return the session's row as it was committed."""
        found = self.run(self.running.store.read(lambda rows: rows.sessions.get(self.sid)))
        session: Session = found[0]
        return session

    def refresh(self, token: str) -> str | None:
        """Present a token, compare the answer with the table, and return the new refresh token."""
        claims: RefreshClaims = claims_in(token, RefreshClaims)
        row, now_ms = self.row(), self.clock()
        want = "ended" if now_ms >= claims.exp * 1000 else expected(row, claims.gen, now_ms)
        pair: TokenPair | None = None
        with suppress(SessionEnded):
            pair = self.run(self.running.refresh(token, way="body", caller=caller(self.clock)))
        after = self.row()
        assert (pair is None) == (want in ("ended", "reuse")), want
        changed = {name for name in row.__struct_fields__ if getattr(row, name) != getattr(after, name)}
        assert (
            changed
            <= {
                "ended": set(),
                "repeat": set(),
                "recover": {"recovered_at_ms", "seen_at_ms"},
                "rotate": {"generation", "rotated_at_ms", "seen_at_ms"},
                "catch up": {"generation", "rotated_at_ms", "seen_at_ms"},
                "reuse": {"revoked_at_ms", "revoked_why"},
            }[want]
        )
        if pair is None:
            return None
        self.remember(pair)
        answered: RefreshClaims = claims_in(pair.refresh_token, RefreshClaims)
        assert (
            answered.gen
            == after.generation
            == {"rotate": row.generation + 1, "catch up": claims.gen + 1}.get(want, row.generation)
        )
        return pair.refresh_token

    def remember(self, pair: TokenPair) -> None:
        """Check what must be true of every pair."""
        refresh: RefreshClaims = claims_in(pair.refresh_token, RefreshClaims)
        access: AccessClaims = claims_in(pair.access_token, AccessClaims)
        assert not self.acknowledged_end, "a success after an acknowledged end"
        assert self.minted.setdefault((refresh.gen, refresh.iat), pair.refresh_token) == pair.refresh_token
        assert refresh.exp * 1000 <= self.end_ms
        assert access.exp * 1000 <= self.end_ms
        assert access.auth_time == self.signed_in_s
        assert self.running.verifier.verify(pair.access_token).sid == self.sid

    @rule(answer_is_lost=st.booleans())
    def owner_renews(self, answer_is_lost: bool) -> None:
        """A tab refreshes. The answer may get lost."""
        answered = self.refresh(self.jar)
        if answered is not None and not answer_is_lost:
            self.jar = answered

    @rule(tabs=st.integers(min_value=2, max_value=5))
    def tabs_renew_at_once(self, tabs: int) -> None:
        """Several tabs send the same token at the same instant: all get the same answer, or none gets any."""

        async def all_at_once() -> list[TokenPair | BaseException]:
            asked = (self.running.refresh(self.jar, way="body", caller=caller(self.clock)) for _ in range(tabs))
            return await asyncio.gather(*asked, return_exceptions=True)

        answers = self.run(all_at_once())
        pairs = [answer for answer in answers if isinstance(answer, TokenPair)]
        assert len(pairs) in (0, tabs), answers
        assert all(isinstance(answer, TokenPair | SessionEnded) for answer in answers), answers
        assert len({pair.refresh_token for pair in pairs}) <= 1
        assert len({pair.access_token for pair in pairs}) == len(pairs)
        for pair in pairs:
            self.remember(pair)
            self.jar = pair.refresh_token

    @rule()
    def thief_copies_the_jar(self) -> None:
        """The thief copies the cookie jar."""
        self.stolen = self.jar

    @precondition(lambda self: self.stolen is not None)
    @rule()
    def thief_renews(self) -> None:
        """The thief refreshes with the copy."""
        assert self.stolen is not None
        self.stolen = self.refresh(self.stolen) or self.stolen

    @rule(ms=PAUSES_MS)
    def time_passes(self, ms: int) -> None:
        """Time passes without requests."""
        self.clock.advance(ms=ms)

    @rule()
    def process_crashes(self) -> None:
        """The process dies without a shutdown, and another one opens the file."""
        crash(self.running)
        self.running = self.open()

    @rule()
    def backup_is_made(self) -> None:
        """The operator copies the database."""
        self.backup = self.row()

    @precondition(lambda self: self.backup is not None)
    @rule()
    def backup_is_restored(self) -> None:
        """The operator restores the copy. The database has lost what happened since, even a sign-out."""
        assert self.backup is not None
        values: list[Any] = [self.backup.generation, self.backup.rotated_at_ms, self.backup.recovered_at_ms]
        values += [self.backup.revoked_at_ms, self.backup.revoked_why, self.backup.seen_at_ms, self.sid]
        with closing(sqlite3.connect(Path(self.folder.name) / "handstamp.db", isolation_level=None)) as database:
            database.execute(
                "UPDATE session SET generation = ?, rotated_at_ms = ?, recovered_at_ms = ?, revoked_at_ms = ?, "
                "revoked_why = ?, seen_at_ms = ? WHERE id = ?",
                values,
            )
        self.acknowledged_end, self.restored = self.backup.revoked_why is not None, True

    @rule(by_thief=st.booleans())
    def somebody_signs_out(self, by_thief: bool) -> None:
        """Any token of the session ends it, current or not."""
        token = self.stolen if by_thief and self.stolen is not None else self.jar
        self.run(self.running.sign_out.end_by_tokens([token], caller(self.clock)))
        assert self.row().revoked_why is not None or self.clock() >= claims_in(self.jar, RefreshClaims).exp * 1000
        self.acknowledged_end = True

    @invariant()
    def there_is_one_row(self) -> None:
        """However often the session was refreshed."""
        with closing(sqlite3.connect(Path(self.folder.name) / "handstamp.db")) as database:
            assert database.execute("SELECT count(*) FROM session").fetchone() == (1,)

    @invariant()
    def the_chain_never_forks(self) -> None:
        """Each generation has one refresh token, unless a backup was restored."""
        if not self.restored:
            assert len({generation for generation, _ in self.minted}) == len(self.minted)

    def teardown(self) -> None:
        """Close everything."""
        if hasattr(self, "running"):
            self.run(self.running.store.close())
            self.running.hashing.close()
            self.loop.close()
            self.folder.cleanup()


TestLifeOfASession = LifeOfASession.TestCase
TestLifeOfASession.settings = settings(max_examples=40, stateful_step_count=30)
