"""Send the audit trail to a receiver, in the background of every process, as signed webhooks (Standard Webhooks 1.0).

Each receiver gets every event at least once and in the order of the numbers. One process sends at a time: it holds the row of the
receiver for a bounded time, and another one takes over after a crash. A message is stored before it is sent, as the range of its
events with an id, and is sent again with the same id until the receiver has accepted it. Nothing is skipped: events that a
receiver does not accept wait until the retention of the audit trail deletes them, and the row counts those.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from ...clock import Clock
from ...crypto.identifiers import new_id
from ...crypto.webhooks import WebhookSecrets
from ...domain.receiver import Receiver, pause_ms
from ...errors import HandstampError
from ...storage.store import Rows, Store, Transaction
from ..parts.bounded_logger import BoundedLogger
from ..parts.changes import Changes
from ..parts.meter import Meter
from .audit_trail import AuditTrail, Page, describe_event, format_event_time

MOST_EVENTS = 200
"""Of one message. If a receiver finds one too large (413), the next has half as many."""
_LOOK_EVERY_S = 1.0
"""How often events are looked for while there are commits."""
_LONGEST_WAIT_S = 60.0
_STORE_AWAY_S = 5.0
_GOODBYE_S = 2.0
_log = BoundedLogger("handstamp.audit_webhook")


class Sent(NamedTuple):
    """What a receiver answered: the status, and `Retry-After` in seconds, 0 if it has none."""

    status: int
    retry_after_s: int = 0


Post = Callable[[str, dict[str, str], bytes], Awaitable[Sent]]
"""Sends a body with header fields to a URL, bounded in time and size. Raises `Unavailable` without a complete answer."""


class Target(msgspec.Struct, frozen=True):
    """A receiver that the settings name. Its URL may contain a secret, and operators see the name."""

    id: str
    name: str
    url: str

    def __repr__(self) -> str:
        """Return a text without the URL."""
        return f"Target({self.name!r})"


class AuditWebhook:
    """Sends to one receiver."""

    def __init__(
        self,
        target: Target,
        *,
        issuer: str,
        store: Store,
        trail: AuditTrail,
        changes: Changes,
        clock: Clock,
        load_secrets: Callable[[], WebhookSecrets],
        post: Post,
        meter: Meter,
    ) -> None:
        """Create it. `load_secrets` is called in a thread for each message, so that changed secrets are used."""
        self._target = target
        self._issuer = issuer
        self._store = store
        self._trail = trail
        self._changes = changes
        self._clock = clock
        self._load_secrets = load_secrets
        self._post = post
        self._meter = meter
        self._holder = new_id()
        self._most = MOST_EVENTS
        self._lost: int | None = None

    async def run(self) -> None:
        """Send events until cancelled, and let another process go on then."""
        try:
            with self._changes.follow() as changed:
                while True:
                    changed.clear()
                    wait_s = await self._send_all()
                    await asyncio.sleep(min(wait_s, _LOOK_EVERY_S))
                    with suppress(TimeoutError):
                        async with asyncio.timeout(wait_s):
                            await changed.wait()
        finally:
            with suppress(HandstampError, TimeoutError):
                async with asyncio.timeout(_GOODBYE_S):
                    await self._store.transact(self._release)

    async def _send_all(self) -> float:
        """Send all that may be sent now. Return how many seconds to wait before the next call, unless there are commits."""
        try:
            while (wait_s := await self.send_next()) == 0:
                pass
        except HandstampError as problem:
            _log.warning("audit_webhook_failed", receiver=self._target.name, why=getattr(problem, "why", str(problem)))
        except Exception:  # noqa: BLE001 - an unexpected failure must not stop the loop
            _log.exception("audit_webhook_failed", receiver=self._target.name)
        else:
            return wait_s
        return _STORE_AWAY_S

    async def send_next(self) -> float:
        """Send one message, if there are events and if this process may.

        Returns:
            0 if a message was accepted, so that the next one may be sent. Otherwise seconds to wait, at most a minute.

        Raises:
            Unavailable: If the store does not answer, or if the clock is in doubt.
        """
        known, last = await self._store.read(self._look)
        if not known.is_sending and last <= known.sent_to:
            return _LONGEST_WAIT_S
        if waits_ms := known.waits_ms(self._holder, self._clock()):
            return min(waits_ms / 1000, _LONGEST_WAIT_S)
        end = known.sending_to if known.is_sending else await self._trail.find_end()
        receiver = await self._store.transact(lambda rows: self._claim(rows, self._clock()))
        if receiver is None or receiver.sent_to != known.sent_to or receiver.message != known.message:
            return _LOOK_EVERY_S  # another process was faster
        self._warn_of_losses(receiver)
        page = await self._trail.read_page(receiver.sent_to, end, limit=MOST_EVENTS if receiver.is_sending else self._most)
        if not page:  # they have been deleted meanwhile
            return await self._save(receiver, receiver.moved(end))
        begun = receiver.begun(receiver.message or new_id(), end if receiver.is_sending else page[-1][0])
        if await self._save(receiver, begun):
            return _LOOK_EVERY_S
        return await self._try(begun, page)

    async def _try(self, receiver: Receiver, page: Page) -> float:
        """Send a message that is stored, and record what became of it."""
        body, headers = await asyncio.to_thread(self._write, receiver, page)
        try:
            sent = await self._post(self._target.url, headers, body)
        except HandstampError as problem:
            return await self._postpone(receiver, getattr(problem, "why", str(problem)), 0)
        if 200 <= sent.status < 300:
            self._meter.count_webhook("accepted")
            self._most = min(2 * self._most, MOST_EVENTS)
            if receiver.tries > 1:
                _log.info("audit_webhook_accepted", receiver=self._target.name, tries=receiver.tries, number=receiver.sending_to)
            return await self._save(receiver, receiver.accepted(self._clock()))
        if sent.status == 413 and len(page) > 1:
            self._most = len(page) // 2
            return await self._save(receiver, receiver.split())
        hint = ": set the address that it redirects to" if 300 <= sent.status < 400 else ""
        return await self._postpone(receiver, f"it answered {sent.status}{hint}", sent.retry_after_s)

    async def _postpone(self, receiver: Receiver, why: str, wished_s: int) -> float:
        self._meter.count_webhook("failed")
        _log.warning(
            "audit_webhook_failed", receiver=self._target.name, why=why, tries=receiver.tries, number=receiver.sending_to
        )
        wait_ms = int(pause_ms(receiver.tries, wished_s=wished_s) * random.uniform(0.8, 1.2))  # noqa: S311 - spreads the load
        await self._save(receiver, receiver.refused(why, self._clock() + wait_ms))
        return min(wait_ms / 1000, _LONGEST_WAIT_S)

    def _write(self, receiver: Receiver, page: Page) -> tuple[bytes, dict[str, str]]:
        """Return the body of a message, which is the same for each try, and its header fields."""
        data = {
            "issuer": self._issuer,
            "after": receiver.sent_to,
            "last": receiver.sending_to,
            "events": [describe_event(number, event) for number, event in page],
        }
        message = {"type": "audit.events", "timestamp": format_event_time(page[-1][1]), "data": data}
        body = json.dumps(message, separators=(",", ":")).encode()
        signed = self._load_secrets().sign(receiver.message, self._clock() // 1000, body)
        return body, {"Content-Type": "application/json", "User-Agent": "Handstamp", **signed}

    async def _look(self, rows: Rows) -> tuple[Receiver, int]:
        return await self._get(rows), await rows.events.get_last_number()

    async def _get(self, rows: Rows) -> Receiver:
        return await rows.receivers.get(self._target.id) or Receiver(id=self._target.id, name=self._target.name)

    async def _claim(self, rows: Transaction, now_ms: int) -> Receiver | None:
        """Hold the row, and return it; None if another process holds it."""
        receiver = await self._get(rows)
        if receiver.waits_ms(self._holder, now_ms):
            return None
        claimed = receiver.claimed(self._holder, now_ms)
        await rows.receivers.save(claimed)
        return claimed

    async def _save(self, before: Receiver, after: Receiver) -> float:
        """Replace the row, if this process still holds it.

        Returns:
            0 if it does, and otherwise how long to wait: another process has taken over, and sends the message again.
        """

        async def save(rows: Transaction) -> float:
            now = await self._get(rows)
            if now.holder != self._holder or now.message != before.message:
                return _LOOK_EVERY_S
            await rows.receivers.save(msgspec.structs.replace(after, lost=now.lost))
            return 0

        return await self._store.transact(save)

    async def _release(self, rows: Transaction) -> None:
        receiver = await self._get(rows)
        if receiver.holder == self._holder:
            await rows.receivers.save(msgspec.structs.replace(receiver, holder="", held_until_ms=0))

    def _warn_of_losses(self, receiver: Receiver) -> None:
        if self._lost is not None and receiver.lost > self._lost:
            _log.warning("audit_events_lost", receiver=self._target.name, count=receiver.lost - self._lost)
        self._lost = receiver.lost
