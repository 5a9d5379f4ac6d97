"""Bind sessions to browsers, and renew bound ones (W3C Device Bound Session Credentials)."""

from __future__ import annotations

from functools import partial

import msgspec

from ...crypto.proofs import Challenges, DevicePasses, ProofKey, read_dbsc_proof
from ...domain.account import Account
from ...domain.binding import Bound, DeviceKey, Over, Refused, register
from ...domain.event import Event
from ...domain.policy import Policy
from ...domain.session import Session, end_reason
from ...errors import InvalidToken, SessionEnded
from ...storage.store import Store, Update
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.granting import Granting, combine_grants
from ..parts.tokens import TokenIssuer, TokenPair
from .refresh import Refresh


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
        passes: DevicePasses,
        granting: Granting,
        refresh: Refresh,
        policy: Policy,
        audit: Audit,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._challenges = challenges
        self._passes = passes
        self._granting = granting
        self._refresh = refresh
        self._policy = policy
        self._audit = audit

    async def start(self, shown: BrowserProof, caller: Caller) -> TokenPair | None:
        """Bind the session of a refresh cookie to the key that has signed the challenge of its sign-in.

        The challenge was in the answer to the sign-in alone, so a thief of the cookies cannot bind the session to another key.

        Returns:
            The session's current refresh token and an access token that its cookie does not outlive. None if the session stays as
            it is: it is bound to another key, it is too late, or binding is off.

        Raises:
            InvalidToken: If the token or the proof is invalid, or if the session does not use cookies.
            SessionEnded: If the session has ended.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        claims = self._tokens.read_refresh(shown.token)
        proved = read_dbsc_proof(
            shown.proof, url=shown.url, is_challenge=lambda jti: self._challenges.is_valid(jti, claims.sid, "start")
        )
        if self._policy.device_binding == "off":
            return None
        key, from_hook = DeviceKey(proved.jwk, "dbsc"), await self._granting.ask(claims.sub)

        def judge(session: Session | None, account: Account | None) -> Update[tuple[TokenPair | None, Event | None]]:
            if session is not None and (session.subject != claims.sub or session.delivery == "json"):
                raise InvalidToken("presented in another way than the session's delivery, or for another subject")
            outcome = register(session, account, key, caller.now_ms)
            if isinstance(outcome, Over):
                raise SessionEnded(outcome.reason)
            if isinstance(outcome, Refused):
                refused = caller.event(
                    "proof_failed", subject=claims.sub, sid=claims.sid, actor="visitor", detail={"why": outcome.why}
                )
                return Update((None, refused))
            grant = combine_grants(outcome.session, account, from_hook)
            pair = self._tokens.mint(outcome.session, grant, caller.now_ms, outcome="repeated")
            if not isinstance(outcome, Bound):
                return Update((pair, None))
            event = caller.event("device_bound", subject=claims.sub, sid=claims.sid, detail={"by": "dbsc"})
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
        find_fault = partial(self._find_fault, shown)
        return await self._refresh(shown.token, way="cookie", caller=caller, find_fault=find_fault)

    def _find_fault(self, shown: BrowserProof, session: Session) -> str | None:
        """Return what is wrong with a proof, "" if there is none, and None if it has signed the challenge of this generation."""
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

    async def is_active(self, sid: str, caller: Caller) -> bool:
        """Return whether a session has not ended. Raises `Unavailable` if the store does not answer."""
        session, account = (await self._store.session(sid) if sid else None) or (None, None)
        return session is not None and end_reason(session, account, caller.now_ms) is None

    def find_pass_end(self, device_pass: str, session: Session, now_ms: int) -> int | None:
        """Return until when a pass of a bound session is valid, in seconds since 1970; None if it is not."""
        return self._passes.find_end(device_pass, session.id, now_ms // 1000)
