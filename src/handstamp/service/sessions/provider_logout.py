"""End sessions because their provider has ended those by which they began (OpenID Connect Back-Channel Logout 1.0)."""

from __future__ import annotations

from ...domain.attempt import AWAY_MS
from ...domain.event import Event
from ...domain.identity import LogoutRow
from ...domain.policy import MINUTE_MS
from ...domain.provider import ProviderLogout
from ...domain.session import end_reason, revoke
from ...errors import InvalidToken
from ...storage.store import Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.provider_trips import ProviderTrips

BATCH = 25
"""Sessions of one transaction."""
LEEWAY_MS = MINUTE_MS
"""How far the clock of a provider may be behind ours."""


class ProviderLogouts:
    """The use case behind `POST /backchannel-logout/{provider}`."""

    def __init__(self, *, store: Store, trips: ProviderTrips, audit: Audit) -> None:
        self._store = store
        self._trips = trips
        self._audit = audit

    async def __call__(self, name: str, token: str, caller: Caller) -> int:
        """End the sessions that a logout token names, and refuse sign-ins of it that are in progress.

        The token counts as used in the transaction that ends the last session. If that fails, the provider sends it again.

        Args:
            name: The name of the provider.
            token: The logout token.
            caller: The time of the request and where it came from.

        Returns:
            The number of sessions that were alive.

        Raises:
            NotFound: If there is no such provider.
            InvalidToken: If the token is not valid, or was used before.
            ProviderUnavailable: If the keys of the provider cannot be fetched.
            Unavailable: If the store does not answer.
        """
        logout = await self._trips.require(name).read_logout(token, now_ms=caller.now_ms)
        ended, after = 0, ""
        while True:
            events, last = await self._store.transact(
                lambda rows, after=after: self._end_page(rows, logout, after, caller)  # type: ignore[misc]
            )
            for event in events:
                self._audit.log(event)
            ended += len(events)
            if last is None:
                return ended
            after = last

    async def _end_page(
        self, rows: Transaction, logout: ProviderLogout, after: str, caller: Caller
    ) -> tuple[list[Event], str | None]:
        page = await rows.provider_sessions.list_named(
            logout.issuer, subject=logout.subject, at_provider=logout.session_id, after=after, limit=BATCH
        )
        events: list[Event] = []
        if len(page) < BATCH and not await rows.provider_sessions.add_logout(_row(logout, caller)):
            raise InvalidToken("logout token: used")
        for link in page:
            session, account = await rows.sessions.get(link.sid) or (None, None)
            if session is None or end_reason(session, account, caller.now_ms) is not None:
                continue
            if session.created_at_ms > logout.issued_at_ms + LEEWAY_MS:
                continue  # it began after the person had signed out there
            await rows.sessions.update(revoke(session, "provider_logout", caller.now_ms))
            events.append(caller.session_ended(session, "provider_logout", actor="provider"))
            await rows.events.insert(events[-1])
        return events, page[-1].sid if len(page) == BATCH else None


def _row(logout: ProviderLogout, caller: Caller) -> LogoutRow:
    return LogoutRow(
        issuer=logout.issuer,
        jti=logout.token_id,
        subject=logout.subject,
        at_provider=logout.session_id,
        at_ms=caller.now_ms,
        expires_at_ms=max(logout.expires_at_ms, caller.now_ms + AWAY_MS),
    )
