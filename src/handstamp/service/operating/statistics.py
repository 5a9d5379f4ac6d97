"""Count what a deployment holds: accounts, sessions, sign-ins, mail, keys and revocations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import msgspec

from ...clock import monotonic_ms
from ...domain.event import EventKind
from ...domain.keyring import KeyState
from ...domain.policy import MINUTE_MS
from ...storage.store import Store
from ...storage.store.statistics import WINDOWS_MS, Features, Piece, StatisticQueries
from .keys import Keys

PIECE = 250
"""Rows that are counted at once. SQLite reads on the event loop, and needs a millisecond for them."""
MOST = 1_000_000
"""Rows of a table that are counted. Beyond them, the numbers are lower bounds."""
PAUSE_S = 0.001
KEPT_MS = MINUTE_MS
"""How long the figures are kept, at least."""
KEPT_TIMES = 20
"""They are kept for so many times as long as counting took. So no more than a twentieth of the time is spent on it."""

Counted = Literal["accounts", "sessions", "events", "failures", "mails", "revocations"]


class AccountFigures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many accounts there are. `locked` are those that unknown devices cannot use until an operator unlocks them."""

    total: int
    verified: int
    disabled: int
    locked: int
    with_password: int
    with_totp: int
    with_passkey: int
    with_second_factor: int


class SessionFigures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How many sessions live, and of these how many by each delivery, and by each way in which they are bound or "none"."""

    total: int
    by_delivery: dict[str, int]
    by_binding: dict[str, int]


class PeriodFigures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What happened in a period.

    Attributes:
        sign_ins: Sessions that began.
        failed_addresses: Addresses whose last sign-in on an unknown device failed in this period. They need not have an account.
            Single failures are not stored: the metrics count them.
        events: How many events of each kind the audit trail has.
    """

    sign_ins: int
    failed_addresses: int
    events: dict[EventKind, int]


class Figures(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a deployment holds.

    Attributes:
        counted_at_ms: When it was counted, in milliseconds since 1970.
        accounts: Accounts.
        sessions: Living sessions.
        day: The last 24 hours.
        week: The last seven days.
        mails_waiting: Mails that wait to be sent.
        keys: Signing keys, by state.
        revocations: Revocations in the feed.
        incomplete: Tables of which `MOST` rows were counted and more exist. Numbers from them are lower bounds.
    """

    counted_at_ms: int
    accounts: AccountFigures
    sessions: SessionFigures
    day: PeriodFigures
    week: PeriodFigures
    mails_waiting: int
    keys: dict[KeyState, int]
    revocations: int
    incomplete: tuple[Counted, ...]


class Statistics:
    """The use case behind `GET /admin/statistics` and `handstamp statistics`."""

    def __init__(self, *, store: Store, keys: Keys) -> None:
        self._store = store
        self._keys = keys
        self._lock = asyncio.Lock()
        self._kept: Figures | None = None
        self._kept_until_ms = 0

    async def __call__(self, now_ms: int) -> Figures:
        """Return the figures of now, or those of a short time ago. Callers that come together share one count.

        It takes seconds for a million rows, in pieces that leave the event loop to others.

        Raises:
            Unavailable: If the store does not answer.
        """
        async with self._lock:
            began_ms = monotonic_ms()
            if self._kept is None or began_ms >= self._kept_until_ms:
                self._kept = await self._count(now_ms)
                ended_ms = monotonic_ms()
                self._kept_until_ms = ended_ms + max(KEPT_MS, KEPT_TIMES * (ended_ms - began_ms))
            return self._kept

    async def _count(self, now_ms: int) -> Figures:
        table = _Tables(self._store)
        accounts = await table.count("accounts", lambda rows, place: rows.count_accounts(place, limit=PIECE))
        sessions = await table.count("sessions", lambda rows, place: rows.count_sessions(place, now_ms=now_ms, limit=PIECE))
        events = await table.count("events", lambda rows, place: rows.count_events(place, now_ms=now_ms, limit=PIECE))
        failures = await table.count("failures", lambda rows, place: rows.count_failures(place, now_ms=now_ms, limit=PIECE))
        mails = await table.count("mails", lambda rows, place: rows.count_mails(place, limit=PIECE))
        revocations = await table.count("revocations", lambda rows, place: rows.count_revocations(place, limit=PIECE))
        return Figures(
            counted_at_ms=now_ms,
            accounts=_describe_accounts(accounts, failures),
            sessions=_describe_sessions(sessions),
            day=_describe_period(events, failures, oldest=0),
            week=_describe_period(events, failures, oldest=1),
            mails_waiting=_sum(mails, lambda waits: waits),
            keys=dict(Counter(key.state for key in await self._keys.read_timetable(now_ms))),
            revocations=revocations.total(),
            incomplete=tuple(table.incomplete),
        )


class _Tables:
    """Counts one table after the other, piece by piece."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.incomplete: list[Counted] = []

    async def count(self, table: Counted, count_piece: Callable[[StatisticQueries, Any], Awaitable[Piece]]) -> Counter[Features]:
        """Return how many rows have which features, of the first `MOST`."""
        found: Counter[Features] = Counter()
        place = None
        while True:
            piece = await self._store.read(lambda rows, place=place: count_piece(rows.statistics, place))  # type: ignore[misc]
            found.update(piece.counts)
            place = piece.last
            if place is None or (table == "events" and _is_old(piece)):
                return found
            if found.total() >= MOST:
                self.incomplete.append(table)
                return found
            await asyncio.sleep(PAUSE_S)


def _is_old(events: Piece) -> bool:
    """Return whether all events of a piece are older than a week, so that those after it are too."""
    return all(age == len(WINDOWS_MS) for age, _ in events.counts)


def _sum(found: Counter[Features], fits: Callable[..., bool]) -> int:
    """Return how many rows have features that fit."""
    return sum(count for features, count in found.items() if fits(*features))


def _describe_accounts(accounts: Counter[Features], failures: Counter[Features]) -> AccountFigures:
    return AccountFigures(
        total=accounts.total(),
        verified=_sum(accounts, lambda is_verified, *_: is_verified),
        disabled=_sum(accounts, lambda _, is_disabled, *__: is_disabled),
        locked=_sum(failures, lambda of_address, _, is_locked: of_address and is_locked),
        with_password=_sum(accounts, lambda _, __, has_password, *___: has_password),
        with_totp=_sum(accounts, lambda *features: features[3]),
        with_passkey=_sum(accounts, lambda *features: features[4]),
        with_second_factor=_sum(accounts, lambda *features: features[3] or features[4]),
    )


def _describe_sessions(sessions: Counter[Features]) -> SessionFigures:
    by_delivery: Counter[str] = Counter()
    by_binding: Counter[str] = Counter()
    for (lives, delivery, bound_by), count in sessions.items():
        if lives:
            by_delivery[delivery] += count
            by_binding[bound_by or "none"] += count
    return SessionFigures(total=by_delivery.total(), by_delivery=dict(by_delivery), by_binding=dict(by_binding))


def _describe_period(events: Counter[Features], failures: Counter[Features], *, oldest: int) -> PeriodFigures:
    """Return the figures of the rows whose feature `age` is at most `oldest`."""
    by_kind: Counter[EventKind] = Counter()
    for (age, kind), count in events.items():
        if age <= oldest:
            by_kind[kind] += count
    return PeriodFigures(
        sign_ins=by_kind["signed_in"],
        failed_addresses=_sum(failures, lambda of_address, age, _: of_address and age <= oldest),
        events={kind: by_kind[kind] for kind in sorted(by_kind) if by_kind[kind]},
    )
