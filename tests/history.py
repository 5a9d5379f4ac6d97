"""Check whether the requests and answers of a concurrent run follow the rules of sessions.

The checker does not depend on stores or nodes. It reads the operations, with the start and end times that the client measured,
and reports results that no order of the operations can explain. An operation without an answer may or may not have happened, at
any time after it began, because the service may have died after it received the request.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

Kind = Literal["start", "refresh", "use", "sign_out", "sweep"]
"""`start` is a sign-in, `use` presents an access token, `sweep` ends all sessions of a subject."""
Answer = Literal["ok", "ended", "unknown", "refused"]
"""`unknown` is no answer or a 503, `refused` any other error."""
HEARD_LATE_S = 8.0
"""How long a request may wait in a node's queue after its client has disconnected."""


class Operation(msgspec.Struct, frozen=True, kw_only=True):
    """One request and its answer. Times are seconds on the client's clock."""

    kind: Kind
    subject: str
    sid: str = ""
    """The id of the session; empty for a sweep."""
    began: float
    ended: float
    answer: Answer
    reason: str = ""
    presented: int = -1
    """The generation of the refresh token that was sent, or -1."""
    token: str = ""
    """The refresh token in the answer."""
    generation: int = -1
    """The generation of the refresh token in the answer, or -1."""


def violations(history: Iterable[Operation], *, grace_s: float) -> list[str]:
    """Return a description of each violation of the rules; an empty list if there is none.

    The clocks of clients and service must run at the same speed. The grace window has a tolerance of one second.
    """
    of: defaultdict[str, list[Operation]] = defaultdict(list)
    sweeps: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        (sweeps[operation.subject] if operation.kind == "sweep" else of[operation.sid]).append(operation)
    return [
        f"{sid}: {problem}"
        for sid, operations in of.items()
        for problem in _of_session(operations, sweeps[operations[0].subject], grace_s)
    ]


def _of_session(operations: list[Operation], sweeps: list[Operation], grace_s: float) -> Iterator[str]:
    refreshes = [operation for operation in operations if operation.kind == "refresh"]
    yield from _of_chain([operation for operation in refreshes if operation.answer == "ok"])
    yield from _of_ends(operations, sweeps)
    for operation in operations:
        if operation.answer == "refused":
            yield f"{operation.kind} was refused as if the token were none: {operation.reason}"
        if operation.answer == "ended" and operation.reason == "reuse" and not _was_reused(refreshes, grace_s):
            yield "was ended for reuse, but no old copy had been used"


def _of_chain(renewals: list[Operation]) -> Iterator[str]:
    """Yield a problem if the chain of refresh tokens forks, skips a generation or loses an acknowledged one."""
    tokens: dict[int, str] = {}
    for renewal in renewals:
        if renewal.generation != renewal.presented + 1:
            yield f"generation {renewal.presented} was followed by {renewal.generation}"
        if tokens.setdefault(renewal.generation, renewal.token) != renewal.token:
            yield f"forked: there are two refresh tokens of generation {renewal.generation}"
    for renewal in renewals:
        newest = max((other.generation for other in renewals if other.ended < renewal.began), default=0)
        if renewal.generation < newest:
            yield f"forgot: {newest} was answered, and then {renewal.presented} was still good"


def _of_ends(operations: list[Operation], sweeps: list[Operation]) -> Iterator[str]:
    """Yield a problem if an ended session is accepted, or if a session ended without a request to end it."""
    started_at = min((operation.ended for operation in operations if operation.kind == "start"), default=0.0)
    asked = [operation for operation in operations if operation.kind == "sign_out"] + sweeps
    ends = [operation for operation in operations if operation.answer == "ended"]
    ends += [operation for operation in asked if operation.answer == "ok" and _concerns(operation, started_at)]
    over_at = min((operation.ended for operation in ends), default=float("inf"))
    for operation in operations:
        if operation.answer == "ok" and operation.kind in ("refresh", "use") and operation.began > over_at:
            yield f"{operation.kind} was let in after the session had ended"
        if operation.answer == "ended" and operation.reason != "reuse":
            causes = (other for other in asked if other.reason == operation.reason and other.began < operation.ended)
            if next(causes, None) is None:
                yield f"was ended as {operation.reason}, which no client had requested"


def _concerns(end: Operation, started_at: float) -> bool:
    """Return True if `end` certainly ends the session. A sweep may miss a session that starts at the same time."""
    return end.kind == "sign_out" or end.began > started_at


def _was_reused(refreshes: list[Operation], grace_s: float) -> bool:
    """Return True if any refresh may count as the reuse of an old token.

    That is a token two generations behind, or the previous one after the grace window. A refresh without an answer may have
    rotated the session, so a generation counts as reached when its predecessor was first presented.
    """
    reached: dict[int, float] = {}
    for refresh in refreshes:
        reached[refresh.presented + 1] = min(refresh.began, reached.get(refresh.presented + 1, float("inf")))
    for refresh in refreshes:
        heard_by = refresh.ended + (HEARD_LATE_S if refresh.answer == "unknown" else 0)
        if any(generation >= refresh.presented + 2 and at < heard_by for generation, at in reached.items()):
            return True
        if heard_by - reached[refresh.presented + 1] > grace_s - 1:
            return True
    return False
