"""Link people at providers to accounts, in the transaction that has the effect."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

import msgspec

from ...crypto.identifiers import new_id
from ...crypto.provider_tokens import TokenSeal
from ...domain.account import Account
from ...domain.event import Event, EventKind
from ...domain.identity import MOST, Identity, ProviderSession, SealedTokens, Through
from ...domain.mail import IdentityChanged
from ...domain.provider import ProviderIdentity
from ...domain.session import Session
from ...errors import ConfigurationError, IdentityTaken, InvalidChallenge, InvalidFields, ProviderRefused
from ...storage.store import Transaction
from ...text import mark
from ..mailing.notices import Notices
from ..mailing.undo_links import UndoLinks
from .caller import Caller
from .providers import Provider


class ProviderLinks:
    """Writes the rows of identities, with an event and a mail for each change."""

    def __init__(self, *, providers: Mapping[str, Provider], seal: TokenSeal, notices: Notices, undo_links: UndoLinks) -> None:
        self._providers = providers
        self._seal = seal
        self._notices = notices
        self._undo_links = undo_links

    async def begin(self, rows: Transaction, through: Through, session: Session, account: Account, caller: Caller) -> list[Event]:
        """Record that a session begins through a provider, and link the person there to its account.

        Returns:
            What was recorded, to be logged after the commit.

        Raises:
            ProviderRefused: If the provider has ended its session meanwhile.
            IdentityTaken: If the person there was linked to another account meanwhile.
        """
        if await rows.provider_sessions.has_logout(
            through.issuer, subject=through.subject, at_provider=through.at_provider, since_ms=through.since_ms
        ):
            raise ProviderRefused(why="signed out there meanwhile")
        events = await self.link(rows, through, account, caller, sid=session.id)
        await rows.provider_sessions.insert(
            ProviderSession(
                sid=session.id,
                issuer=through.issuer,
                subject=through.subject,
                at_provider=through.at_provider,
                expires_at_ms=session.expires_at_ms,
            )
        )
        return events

    async def link(self, rows: Transaction, through: Through, account: Account, caller: Caller, *, sid: str) -> list[Event]:
        """Link a person at a provider to an account, or write that the link was used. Return what was recorded.

        Raises:
            IdentityTaken: If the person there is linked to another account.
            InvalidChallenge: If the link was removed meanwhile, and may not be written again.
            InvalidFields: If the account has as many identities as it may.
        """
        known = await rows.identities.get(through.issuer, through.subject)
        if known is not None:
            if known.account_id != account.id:
                raise IdentityTaken
            await rows.identities.update(
                msgspec.structs.replace(known, provider=through.provider, email=through.email, used_at_ms=caller.now_ms)
            )
            return []
        if not through.may_link:
            raise InvalidChallenge("void")
        if len(await rows.identities.list_of(account.id)) >= MOST:
            raise InvalidFields([("provider", mark("there are %(most)s already: remove one first", most=MOST))])
        is_added = await rows.identities.insert(
            Identity(
                id=new_id(),
                issuer=through.issuer,
                subject=through.subject,
                account_id=account.id,
                provider=through.provider,
                email=through.email,
                created_at_ms=caller.now_ms,
                used_at_ms=caller.now_ms,
            )
        )
        if not is_added:
            raise IdentityTaken
        is_new = account.created_at_ms >= through.since_ms
        return [await self._record(rows, "identity_linked", through.provider, account, caller, sid=sid, tells=not is_new)]

    async def unlink(self, rows: Transaction, identity: Identity, account: Account, caller: Caller, *, sid: str) -> Event:
        """Remove an identity of an account with its tokens. Return what was recorded."""
        await rows.identities.delete(account.id, identity.id)
        return await self._record(rows, "identity_unlinked", identity.provider, account, caller, sid=sid)

    async def keep_tokens(self, rows: Transaction, found: ProviderIdentity, caller: Caller) -> None:
        """Seal the tokens of a person, if the provider's are kept. Google gives a refresh token at the first consent alone."""
        tokens = found.tokens
        if tokens is not None:
            kept = None if tokens.refresh_token else await rows.identities.get_tokens(found.issuer, found.subject)
            if kept is not None:
                with suppress(ConfigurationError):  # sealed with a master secret that is gone
                    before = self._seal.open(kept.sealed, found.issuer, found.subject)
                    tokens = msgspec.structs.replace(tokens, refresh_token=before.refresh_token)
            sealed = self._seal.seal(tokens, found.issuer, found.subject)
            await rows.identities.save_tokens(
                SealedTokens(issuer=found.issuer, subject=found.subject, sealed=sealed, at_ms=caller.now_ms)
            )

    def label_of(self, name: str) -> str:
        """Return what people call a provider; its name, if the settings have it no more."""
        provider = self._providers.get(name)
        return name if provider is None else provider.settings.label

    async def _record(
        self, rows: Transaction, kind: EventKind, name: str, account: Account, caller: Caller, *, sid: str, tells: bool = True
    ) -> Event:
        label = self.label_of(name)
        event = caller.event(kind, subject=account.id, sid=sid, detail={"provider": name, "label": label})
        await rows.events.insert(event)
        if tells:
            removed, undo_link = kind == "identity_unlinked", ""
            if not removed and not (await rows.factors.get(account.id)).is_any:  # with a factor, adding it needed that
                undo_link = await self._undo_links.issue(rows, "undo_factor", account, caller)
            content = IdentityChanged(label=label, was_removed=removed, undo_link=undo_link)
            await self._notices.tell(rows, account, content, caller)
        return event
