"""`GET /admin/statistics`: operators see how much a deployment holds."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.responses import Response

from ...domain.event import EventKind
from ...domain.keyring import KeyState
from ...service.operating.statistics import MOST, Counted
from ..answers import write_json
from ..api.shapes import AnswerShape, Time, described, utc
from ..edge import Call
from ..operation import UseCases
from .shapes import declare


class AdminAccountFigures(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """How many accounts there are."""

    total: int
    verified: int
    disabled: int
    locked: Annotated[int, described("Of which too many sign-ins failed, so that unknown devices are refused")]
    with_password: int
    with_totp: int
    with_passkey: int
    with_second_factor: Annotated[int, described("With an app or a passkey, or both")]


class AdminSessionFigures(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """How many sessions are active."""

    total: int
    by_delivery: dict[str, int]
    by_binding: Annotated[dict[str, int], described("`dbsc` and `dpop`: bound to its device; `none`: not bound")]


class AdminPeriodFigures(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """What happened in a period."""

    sign_ins: int
    failed_addresses: Annotated[
        int,
        described("Addresses, with or without an account, whose last sign-in failed in this period, on an unknown device"),
    ]
    events: Annotated[dict[EventKind, int], described("The events of the audit trail, by kind")]


class AdminStatisticsAnswer(AnswerShape, frozen=True, kw_only=True, rename="camel"):
    """How much a deployment holds."""

    counted_at: Annotated[Time, described("When it was counted; an answer can be a minute old, and more with many rows")]
    accounts: AdminAccountFigures
    sessions: AdminSessionFigures
    day: AdminPeriodFigures
    week: AdminPeriodFigures
    mails_waiting: int
    keys: Annotated[dict[KeyState, int], described("The signing keys, by state")]
    revocations: Annotated[int, described("Those that verifiers get from the feed")]
    incomplete: Annotated[
        tuple[Counted, ...],
        described(f"Of these, only {MOST:,} rows were counted: the numbers are at least so large"),
    ]


async def admin_statistics(use: UseCases, call: Call, _: None) -> Response:
    """Count accounts, sessions, events, mails, keys and revocations. With many rows, the first answer takes some seconds."""
    found = await use.statistics(call.now_ms)
    figures = {**msgspec.to_builtins(found), "countedAt": utc(found.counted_at_ms)}
    return write_json(msgspec.convert(figures, AdminStatisticsAnswer))


OPERATIONS = (
    declare(
        method="GET",
        path="/admin/statistics",
        run=admin_statistics,
        summary="How many accounts, sessions, sign-ins, mails, keys and revocations there are",
        answer=AdminStatisticsAnswer,
    ),
)
