"""Begin a session, whatever the way of signing in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from weakref import WeakValueDictionary

import msgspec

from ...crypto.identifiers import new_id
from ...domain.account import Account
from ...domain.binding import bind
from ...domain.claims import READ, WRITE
from ...domain.delivery import Delivery
from ...domain.event import Event
from ...domain.factor import Lacking
from ...domain.grant import Grant
from ...domain.policy import Policy
from ...domain.proof import Proof
from ...domain.receipt import Repeatable
from ...domain.session import Session, end_reason, revoke, start
from ...errors import BindingRequired, InvalidCode, InvalidCredentials
from ...storage.store import Rows, Store, Transaction
from ..parts.audit import Audit
from ..parts.caller import Caller
from ..parts.granting import Granting
from ..parts.provider_links import ProviderLinks
from ..parts.receipts import Receipts, request_repeated
from ..parts.tokens import TokenIssuer, TokenPair
from .gate import FactorGate
from .limit import SessionLimit

Confirm = Callable[[Transaction], Awaitable[None]]
"""The first step of the transaction that begins a session. It raises if the proof is not valid any more, and makes the changes
that belong to the proof, such as marking a code as used. The store may call it more than once."""


class BeginSession:
    """The only use case that begins sessions. The ways of signing in prove who a person is, and pass it their `Proof`."""

    def __init__(
        self,
        *,
        store: Store,
        tokens: TokenIssuer,
        granting: Granting,
        receipts: Receipts,
        limit: SessionLimit,
        gate: FactorGate,
        links: ProviderLinks,
        policy: Policy,
        audit: Audit,
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._granting = granting
        self._receipts = receipts
        self._limit = limit
        self._gate = gate
        self._links = links
        self._policy = policy
        self._audit = audit
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def __call__(
        self,
        proof: Proof,
        *,
        delivery: Delivery,
        caller: Caller,
        confirm: Confirm | None = None,
        on_begin: Confirm | None = None,
        beside: Sequence[Event] = (),
        replaced: Iterable[str] = (),
        event: Event | None = None,
        request: Repeatable | None = None,
        invites: bool = True,
    ) -> TokenPair:
        """Begin a session and return its first pair, in one transaction.

        If the account needs a second factor that was not proved, no session begins; what `confirm` did stays.

        If the same request has begun a session before that is alive, return the current pair of that one and write nothing.
        If the subject has too many sessions with the new one, those that were seen the longest ago end.

        Args:
            proof: What was proved. Its account must still exist, be enabled and have the same epoch in the transaction, so that
                whatever ends all sessions of an account also stops a sign-in that is in progress.
            delivery: How the tokens travel, for the whole life of the session.
            caller: The time of the request and where it came from.
            confirm: The first step of the transaction.
            on_begin: A step that is taken only if the session begins.
            beside: What `confirm` and `on_begin` have recorded, to be logged after the commit. They fill it in the transaction.
            replaced: Tokens of sessions that end with the beginning of this one, such as those in the browser's cookies (T15).
            event: What is recorded, by default that the subject has signed in.
            request: What is repeatable, or None.
            invites: True to invite a browser to bind the session to its device.

        Raises:
            SecondFactorRequired: If the sign-in needs another step.
            InvalidCredentials: If the account has changed since the proof began.
            InvalidFields: If the client has used the key of `request` for another one.
            BindingRequired: If sessions must be bound to a device, and this one could not be.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        from_hook = await self._granting.ask(proof.subject)
        session = start(
            new_id(),
            proof,
            delivery=delivery,
            user_agent=caller.user_agent,
            ip=caller.ip,
            now_ms=caller.now_ms,
            policy=self._policy,
        )
        session = self._bind_to_program(session, caller)
        recorded = event or self._describe(proof, session, caller)
        begun = [recorded, *_list_binding(session, caller)]
        replaced_sids = sorted({named.id for token in replaced if (named := self._tokens.find_session(token))})

        linked: list[Event] = []

        async def begin(rows: Transaction) -> tuple[TokenPair | Lacking, list[Event]]:
            repeated = await self._find_begun(rows, proof.subject, request, caller)
            if repeated is not None:
                return self._mint_again(*repeated, from_hook, caller), []
            if confirm is not None:
                await confirm(rows)
            account = await _require_unchanged(rows, proof)
            lacking = await self.find_lacking(rows, proof, account)
            if lacking is not None:
                await self._receipts.save(rows, proof.subject, request, _pending(proof.account), caller.now_ms)
                return lacking, []
            if on_begin is not None:
                await on_begin(rows)
            for sid in replaced_sids:
                await _end(rows, sid, caller)
            await rows.sessions.insert(session)
            for each in begun:
                await rows.events.insert(each)
            if proof.through is not None and account is not None:
                linked[:] = await self._links.begin(rows, proof.through, session, account, caller)
            await self._receipts.save(rows, proof.subject, request, session.id, caller.now_ms)
            ended = [] if proof.impersonator else await self._limit.enforce(rows, session, account, caller)
            grant = self._granting.combine(session, account, from_hook)
            return self._tokens.mint(session, grant, caller.now_ms, invites=invites), ended

        # One at a time for each subject: on PostgreSQL, transactions that count the same sessions would conflict.
        async with self._turns.setdefault(proof.subject, asyncio.Lock()):
            pair, ended = await self._store.transact(begin)
        self._log((*beside, *linked))
        if isinstance(pair, Lacking):
            raise self._gate.challenge(proof, pair, delivery=delivery, caller=caller)
        self._log(begun if pair.outcome == "started" else [request_repeated(proof.subject, pair.session_id, caller)])
        await self._limit.finish(ended, session, proof.account, caller)
        return pair

    def _log(self, events: Iterable[Event]) -> None:
        for event in events:
            self._audit.log(event)

    def _describe(self, proof: Proof, session: Session, caller: Caller) -> Event:
        by = proof.impersonator
        if by is not None:
            told = {"access": WRITE if by.writes else READ, "reason": by.reason}
            return caller.acting_in(session).event("impersonation_begun", subject=proof.subject, sid=session.id, detail=told)
        detail: dict[str, str | int | None] = {"delivery": session.delivery, "amr": " ".join(proof.amr)}
        if proof.through is not None:
            name = proof.through.provider
            detail |= {"provider": name, "label": self._links.label_of(name)}
        return caller.event("signed_in", subject=proof.subject, sid=session.id, detail=detail)

    def _bind_to_program(self, session: Session, caller: Caller) -> Session:
        """Return the session, bound to the key that the program has proved. Browsers bind theirs later."""
        is_off = self._policy.device_binding == "off" and session.impersonator is None
        if session.delivery != "json" or is_off:
            return session
        if caller.key is not None:  # for an operator, the key of their own session
            return bind(session, caller.key, caller.now_ms)
        if self._policy.device_binding == "required":
            raise BindingRequired
        return session

    async def find_lacking(self, rows: Rows, proof: Proof, account: Account | None) -> Lacking | None:
        """Return what a proof lacks to begin a session, None if it is complete. An operator proves for themselves alone."""
        if proof.impersonator is not None:
            return None
        return await self._gate.find_lacking(rows, proof, account)

    async def repeat(self, subject: str, request: Repeatable | None, caller: Caller) -> TokenPair | None:
        """Return the current pair of the session that the same request has begun, or None if it has begun none that is alive.

        Raises:
            InvalidFields: If the client has used the key of `request` for another one.
            Unavailable: If the store, the signing key or the claims hook fails.
        """
        begun = await self._store.read(lambda rows: self._find_begun(rows, subject, request, caller))
        if begun is None:
            return None
        pair = self._mint_again(*begun, await self._granting.ask(subject), caller)
        self._audit.log(request_repeated(subject, pair.session_id, caller))
        return pair

    async def repeat_used(
        self, refused: InvalidCode, proof: Proof, request: Repeatable | None, *, delivery: Delivery, caller: Caller
    ) -> TokenPair:
        """Do as `repeat` for a link or a code that is refused because this request has used it before.

        Args:
            refused: How it was refused. It names the account.
            proof: What the link or the code proved; its account is not looked at.
            request: What is repeatable, or None.
            delivery: How the tokens travel.
            caller: The time of the request and where it came from.

        Raises:
            InvalidCode: `refused`, if it was another request that has used it.
            SecondFactorRequired: If this request needed another step.
        """
        subject = refused.subject
        if subject is None:
            raise refused
        pair = await self.repeat(subject, request, caller)
        if pair is not None:
            return pair

        async def find_pending(rows: Rows) -> tuple[Account, Lacking] | None:
            account = await rows.accounts.get(subject)
            if await self._receipts.find(rows, subject, request, caller.now_ms) != _pending(account) or account is None:
                return None
            lacking = await self._gate.find_lacking(rows, proof, account)
            return None if lacking is None else (account, lacking)

        pending = await self._store.read(find_pending)
        if pending is None:
            raise refused
        again = msgspec.structs.replace(proof, subject=subject, account=pending[0])
        raise self._gate.challenge(again, pending[1], delivery=delivery, caller=caller)

    async def _find_begun(
        self, rows: Rows, subject: str, request: Repeatable | None, caller: Caller
    ) -> tuple[Session, Account | None] | None:
        sid = await self._receipts.find(rows, subject, request, caller.now_ms)
        session, account = (None if sid is None else await rows.sessions.get(sid)) or (None, None)
        if session is None or end_reason(session, account, caller.now_ms) is not None:
            return None  # a repeat brings no ended session back: it counts as a new request
        return session, account

    def _mint_again(self, session: Session, account: Account | None, from_hook: Grant, caller: Caller) -> TokenPair:
        grant = self._granting.combine(session, account, from_hook)
        return self._tokens.mint(session, grant, caller.now_ms, outcome="repeated", invites=True)


def _list_binding(session: Session, caller: Caller) -> list[Event]:
    """Return the event of a session that begins bound to a program's key, if it does."""
    if session.bound_by is None:
        return []
    return [
        caller.acting_in(session).event("device_bound", subject=session.subject, sid=session.id, detail={"by": session.bound_by})
    ]


def _pending(account: Account | None) -> str:
    """Return what the receipt of a request without a session holds in its place. What ends all sessions voids it."""
    return f"pending {0 if account is None else account.epoch}"


async def _require_unchanged(rows: Rows, proof: Proof) -> Account | None:
    if proof.account is None:
        return None
    account = await rows.accounts.get(proof.account.id)
    if account is None or account.disabled_at_ms is not None or account.epoch != proof.account.epoch:
        raise InvalidCredentials
    return account


async def _end(rows: Transaction, sid: str, caller: Caller) -> None:
    session, account = await rows.sessions.get(sid) or (None, None)
    if session is not None and end_reason(session, account, caller.now_ms) is None:
        why, event = caller.session_left(session)
        await rows.sessions.update(revoke(session, why, caller.now_ms))
        await rows.events.insert(event)
