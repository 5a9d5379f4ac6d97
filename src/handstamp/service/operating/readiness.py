"""Whether this process can answer requests, and which part fails if it cannot."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from ...domain.keyring import LATE_AFTER_MS, find_late_steps
from ...domain.policy import MINUTE_MS
from ...errors import NotReady, Unavailable
from ...storage.store import Store
from ..parts.common_clock import CommonClock
from ..parts.hashing import Hashing
from ..sessions.revocations import Revocations
from .audit_receivers import ReceiverStatus
from .keys import Keys

STUCK_MS = 15 * MINUTE_MS
"""A mail or an event for a receiver that has waited for longer is a fault."""
OK = "ok"
_NEEDED = ("process", "clock", "store", "keys")
"""Without these no request can be answered. The other parts fail alone."""


class Readiness:
    """The use case behind `GET /readyz`."""

    def __init__(
        self,
        *,
        store: Store,
        keys: Keys,
        clock: CommonClock,
        revocations: Revocations,
        hashing: Hashing,
        find_mail_problem: Callable[[], str],
        read_receivers: Callable[[], Awaitable[list[ReceiverStatus]]],
    ) -> None:
        """Create it.

        `find_mail_problem` returns why the mail server does not take mail, "" if it does. `read_receivers` returns how far the
        receivers of the audit trail are.
        """
        self._store = store
        self._keys = keys
        self._clock = clock
        self._revocations = revocations
        self._hashing = hashing
        self._find_mail_problem = find_mail_problem
        self._read_receivers = read_receivers

    async def require(self, now_ms: int, *, is_stopping: bool) -> None:
        """Check what every request needs.

        Raises:
            Unavailable: If the process is stopping, the store does not answer, or no key is active.
        """
        if is_stopping:
            raise Unavailable("the process is stopping")
        await self._keys.require_ready(now_ms)

    async def look(self, *, is_stopping: bool) -> dict[str, str]:
        """Return the state of each part, by its name: "ok", or what is wrong.

        Raises:
            NotReady: If a part fails that every request needs.
        """
        now_ms = self._clock.estimate()
        states = {
            "process": "it is stopping" if is_stopping else OK,
            "clock": "it has leapt, and is not believed yet" if self._clock.is_in_doubt else OK,
            "store": OK,
            "keys": self._judge_keys(now_ms),
            "timetable": OK,
            "feed": self._revocations.problem or OK,
            "receivers": OK,
            "mail": self._find_mail_problem() or OK,
            "hashing": "its queue is full" if self._hashing.is_full else OK,
        }
        try:
            late_ms = max(find_late_steps(await self._keys.read_timetable(now_ms), now_ms).values())
            _, oldest_ms = await self._store.read(lambda rows: rows.mails.measure(limit=1))
            states["receivers"] = _judge_receivers(await self._read_receivers(), now_ms)
        except Unavailable as problem:
            states["store"] = problem.why
        else:
            if late_ms > LATE_AFTER_MS:
                states["timetable"] = f"the next step of the signing keys is late by {late_ms // MINUTE_MS} minutes"
            if states["mail"] == OK and oldest_ms is not None and now_ms - oldest_ms > STUCK_MS:
                states["mail"] = f"a mail has waited for {(now_ms - oldest_ms) // MINUTE_MS} minutes"
        if any(states[name] != OK for name in _NEEDED):
            raise NotReady(states)
        return states

    def _judge_keys(self, now_ms: int) -> str:
        try:
            self._keys.signing_at(now_ms)
        except Unavailable as problem:
            return problem.why
        return OK


def _judge_receivers(receivers: Sequence[ReceiverStatus], now_ms: int) -> str:
    waits = {
        each.receiver.name: now_ms - each.waiting_since_ms for each in receivers if each.is_configured and each.waiting_since_ms
    }
    stuck = [f"{name} has not accepted an event of {ms // MINUTE_MS} minutes ago" for name, ms in waits.items() if ms > STUCK_MS]
    return "; ".join(stuck) or OK
