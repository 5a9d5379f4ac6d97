"""Refresh: a presented refresh token becomes the next pair, or the same pair again, or the end of its session."""

from __future__ import annotations

from typing import Literal, assert_never

from ...domain.account import Account
from ...domain.claims import RefreshClaims
from ...domain.event import Event, EventKind
from ...domain.policy import Policy
from ...domain.rotation import CatchUp, Ended, Outcome, Recover, Repeat, Reuse, Rotate, decide
from ...domain.session import Session, end_reason
from ...errors import InvalidToken, SessionEnded
from ...storage.store import Store, Update
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.granting import Granting, combine_grants
from ..parts.tokens import Decided, TokenIssuer, TokenPair

Way = Literal["body", "cookie"]


class Refresh:
    """The use case behind `POST /refresh`."""

    def __init__(self, *, store: Store, tokens: TokenIssuer, granting: Granting, policy: Policy, audit: Audit) -> None:
        """Take what it works with."""
        self._store = store
        self._tokens = tokens
        self._granting = granting
        self._policy = policy
        self._audit = audit

    async def __call__(self, token: str, *, way: Way, caller: Caller) -> TokenPair:
        """Return the pair that follows `token`, which came by `way`.

        The decision is taken with the session's row held, and the pair is minted before the commit: if signing fails the old
        token stays good. An error is raised only after what must be remembered is durable. Raises `InvalidToken`,
        `SessionEnded`, `Unavailable`.
        """
        claims = self._tokens.read_refresh(token)
        if caller.now_ms >= claims.exp * 1000:
            # Over by its own time. It revokes nothing: an old backup's tokens are no sign of theft.
            raise await self._over_by_time(claims, caller)

        asked = await self._granting.ask(claims.sub)

        def judge(session: Session | None, account: Account | None) -> Update[tuple[Outcome, TokenPair | None, Event | None]]:
            if session is not None and (session.subject != claims.sub or (session.delivery == "json") != (way == "body")):
                raise InvalidToken("presented by another way than its session's, or for another subject")
            outcome = decide(session, account, claims, caller.now_ms, self._policy)
            pair: TokenPair | None = None
            if not isinstance(outcome, Reuse | Ended):
                grant = combine_grants(outcome.session, account, asked)
                pair = self._tokens.mint(outcome.session, grant, caller.now_ms, outcome=_DECIDED[type(outcome)])
            event = _event(outcome, claims, caller)
            to_keep = (event,) if event is not None and isinstance(outcome, Recover | Reuse | CatchUp) else ()
            return Update((outcome, pair, event), _row_to_write(outcome), to_keep)

        outcome, pair, event = await self._store.update_session(claims.sid, judge)
        if event is not None:
            self._audit.log(event)
        if pair is None:
            raise SessionEnded(outcome.reason if isinstance(outcome, Ended) else "reuse")
        return pair

    async def _over_by_time(self, claims: RefreshClaims, caller: Caller) -> SessionEnded:
        session, account = await self._store.session(claims.sid) or (None, None)
        if session is None:
            return SessionEnded("expired")
        reason = end_reason(session, account, caller.now_ms)
        return SessionEnded(reason or "idle", session_lives=reason is None)


_DECIDED: dict[type, Decided] = {Rotate: "rotated", Repeat: "repeated", Recover: "recovered", CatchUp: "caught_up"}
_KINDS: dict[type, EventKind] = {
    Rotate: "refreshed",
    Repeat: "repeated",
    Recover: "recovered",
    Reuse: "reuse_detected",
    CatchUp: "caught_up",
}


def _row_to_write(outcome: Outcome) -> Session | None:
    match outcome:
        case Rotate(session) | Recover(session) | Reuse(session) | CatchUp(session):
            return session
        case Repeat() | Ended():
            return None
        case _:
            assert_never(outcome)


def _event(outcome: Outcome, claims: RefreshClaims, caller: Caller) -> Event | None:
    if isinstance(outcome, Ended):
        return None  # it was recorded when it ended
    detail: dict[str, str | int | None] = {"presented": claims.gen, "generation": outcome.session.generation}
    kind = _KINDS[type(outcome)]
    return Event(at_ms=caller.now_ms, kind=kind, subject=claims.sub, sid=claims.sid, ip=caller.ip, detail=detail)
