"""Start a session for somebody whom the application has signed in by itself."""

from __future__ import annotations

from ...crypto.identifiers import new_id
from ...domain.delivery import Delivery
from ...domain.event import Event
from ...domain.grant import Grant, parse_subject
from ...domain.policy import Policy
from ...domain.session import start
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.granting import Granting, combine_grants
from ..parts.tokens import TokenIssuer, TokenPair


class Start:
    """The use case for subjects that are no accounts of ours."""

    def __init__(self, *, store: Store, tokens: TokenIssuer, granting: Granting, policy: Policy, audit: Audit) -> None:
        """Take what it works with."""
        self._store = store
        self._tokens = tokens
        self._granting = granting
        self._policy = policy
        self._audit = audit

    async def __call__(
        self, subject: str, *, grant: Grant, delivery: Delivery, amr: tuple[str, ...], caller: Caller
    ) -> TokenPair:
        """Return the first pair of a new session. Raises `InvalidFields` for a subject that cannot be, `Unavailable`."""
        session = start(
            new_id(),
            subject=parse_subject(subject),
            epoch=None,
            delivery=delivery,
            amr=amr,
            user_agent=caller.user_agent,
            ip=caller.ip,
            now_ms=caller.now_ms,
            policy=self._policy,
            granted=grant,
        )
        asked = await self._granting.ask(subject)
        event = Event(
            at_ms=caller.now_ms, kind="signed_in", subject=subject, sid=session.id, ip=caller.ip, detail={"delivery": delivery}
        )

        async def begin(rows: Transaction) -> TokenPair:
            await rows.sessions.insert(session)
            await rows.events.insert(event)
            return self._tokens.mint(session, combine_grants(session, None, asked), caller.now_ms)

        pair = await self._store.transact(begin)
        self._audit.log(event)
        return pair
