"""Bind sessions to browsers, and renew bound ones (W3C Device Bound Session Credentials)."""

from __future__ import annotations

import msgspec

from ...crypto.proofs import Challenges, ProofKey, read_dbsc_proof
from ...domain.account import Account
from ...domain.binding import Bound, DeviceKey, Refused, first_access_end_ms, register
from ...domain.event import Event
from ...domain.policy import Policy
from ...domain.rotation import Ended
from ...domain.session import Session
from ...errors import InvalidToken, SessionEnded
from ...storage.store import Store, Update
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.granting import Granting
from ..parts.tokens import TokenIssuer, TokenPair
from .refresh import Refresh, require_way


class BrowserProof(msgspec.Struct, frozen=True):
    """What a browser sends to the endpoints of its device-bound session.

    Attributes:
        token: The refresh token of the cookie.
        proof: The value of `Secure-Session-Response`, "" if there is none.
        url: The public URL of the endpoint.
        sid: The value of `Sec-Secure-Session-Id`, "" if there is none.
    """

    token: str
    proof: str
    url: str
    sid: str = ""

    def __repr__(self) -> str:
        """Return a text without token and proof."""
        return f"BrowserProof(sid={self.sid!r})"


class BindSession:
    """The use cases behind `POST /device/start` and `POST /device/refresh`."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: TokenIssuer,
        challenges: Challenges,
        granting: Granting,
        refresh: Refresh,
        policy: Policy,
        audit: Audit,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._challenges = challenges
        self._granting = granting
        self._refresh = refresh
        self._policy = policy
        self._audit = audit

    async def start(self, shown: BrowserProof, caller: Caller) -> TokenPair | None:
        """Bind the session of a refresh cookie to the key that has signed the challenge of its sign-in.

        The challenge was in the answer to the sign-in alone, so a thief of the cookies cannot bind the session to another key.

        Returns:
            The session's current refresh token and an access token that its cookie does not outlive. None if the session stays as
            it is (`domain.binding.Refused`).

        Raises:
            InvalidToken: If the token or the proof is invalid, or if the session does not use cookies.
            SessionEnded: If the session has ended.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        claims = self._tokens.read_refresh(shown.token)
        proved = read_dbsc_proof(
            shown.proof, url=shown.url, is_challenge=lambda jti: self._challenges.is_valid(jti, claims.sid, "start")
        )
        key, from_hook = DeviceKey(proved.jwk, "dbsc"), await self._granting.ask(claims.sub)

        def judge(session: Session | None, account: Account | None) -> Update[tuple[TokenPair | None, Event | None]]:
            require_way(session, claims, "cookie")
            outcome = register(session, account, key, caller.now_ms, self._policy)
            if isinstance(outcome, Ended):
                raise SessionEnded(outcome.reason)
            if isinstance(outcome, Refused):
                detail = {"why": outcome.why}
                return Update(
                    (None, caller.event("proof_failed", subject=claims.sub, sid=claims.sid, actor="visitor", detail=detail))
                )
            until_s = first_access_end_ms(outcome.session, self._policy) // 1000
            grant = self._granting.combine(outcome.session, account, from_hook)
            pair = self._tokens.mint(outcome.session, grant, caller.now_ms, outcome="repeated", until_s=until_s)
            if not isinstance(outcome, Bound):
                return Update((pair, None))
            event = caller.acting_in(outcome.session).event(
                "device_bound", subject=claims.sub, sid=claims.sid, detail={"by": "dbsc"}
            )
            return Update((pair, event), outcome.session, (event,))

        pair, event = await self._store.update_session(claims.sid, judge)
        if event is not None:
            self._audit.log(event)
        return pair

    async def renew(self, shown: BrowserProof, caller: Caller) -> TokenPair | None:
        """Refresh a bound session, as `POST /refresh` does, given the proof of its key.

        Returns:
            The next pair. None if the browser asks for another session than that of its cookies, which stays as it is.

        Raises:
            InvalidToken: If the token is invalid.
            ProofRequired: If the key was not proved. Nothing has changed.
            SessionEnded: If the session has ended.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        if shown.sid and shown.sid != self._tokens.read_refresh(shown.token).sid:
            return None

        def find_fault(session: Session) -> str | None:
            if session.bound_key is None or session.bound_by != "dbsc" or not shown.proof:
                return ""
            try:
                read_dbsc_proof(
                    shown.proof,
                    url=shown.url,
                    is_challenge=lambda jti: self._challenges.is_valid(jti, session.id, session.generation),
                    key=ProofKey.from_jwk(session.bound_key),
                )
            except InvalidToken as refused:
                return refused.why
            return None

        return await self._refresh(shown.token, way="cookie", caller=caller, find_fault=find_fault)
