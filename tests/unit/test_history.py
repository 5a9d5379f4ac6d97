"""The history checker finds violations: each history here breaks one rule, or none."""

from __future__ import annotations

from typing import Any

import pytest

from tests.history import Operation, violations

GRACE_S = 10.0


def op(kind: Any, began: float, answer: Any = "ok", **fields: Any) -> Operation:
    """Return an operation on one session that took a tenth of a second."""
    return Operation(
        **{"kind": kind, "subject": "ada", "sid": "s", "began": began, "ended": began + 0.1, "answer": answer} | fields
    )


def renewal(presented: int, began: float, **fields: Any) -> Operation:
    """Return a refresh that was answered."""
    answered = {"presented": presented, "generation": presented + 1, "token": f"token {presented + 1}"}
    return op("refresh", began, **answered | fields)


def ended(reason: str, began: float, presented: int = 0, **fields: Any) -> Operation:
    """Return a refresh that was refused because the session has ended."""
    return op("refresh", began, "ended", reason=reason, presented=presented, **fields)


FINE = {
    "renewals": [renewal(0, 0), renewal(1, 1), renewal(2, 2)],
    "ten at once": [renewal(0, 0.01 * number) for number in range(10)],
    "a lost answer": [op("refresh", 0, "unknown", presented=0), renewal(0, 1), renewal(1, 2)],
    "sign-out": [
        renewal(0, 0),
        op("sign_out", 1, reason="logout"),
        ended("logout", 2, 1),
        op("use", 2, "ended", reason="logout"),
    ],
    "a sign-out without an answer": [op("sign_out", 0, "unknown", reason="logout"), renewal(0, 1), ended("logout", 2, 1)],
    "a renewal beside a sign-out": [op("sign_out", 1, reason="logout"), renewal(0, 1.05)],
    "an old copy": [renewal(0, 0), renewal(1, 1), ended("reuse", 2, 0)],
    "a late one": [renewal(0, 0), renewal(0, 20), ended("reuse", 60, 0)],
    "a sweep": [renewal(0, 0), op("sweep", 1, reason="password_changed", sid=""), ended("password_changed", 2, 1)],
    "one that was heard late": [op("refresh", 0, "unknown", presented=0), renewal(0, 1), renewal(1, 2), ended("reuse", 3, 2)],
    "an old copy, unanswered": [op("refresh", number, "unknown", presented=number) for number in range(2)] + [ended("reuse", 3)],
}
BROKEN = {
    "forked": [renewal(0, 0), renewal(0, 1, token="another")],
    "was followed by": [renewal(0, 0, generation=2)],
    "forgot": [renewal(0, 0), renewal(1, 1), renewal(0, 2)],
    "refresh was let in after": [op("sign_out", 0, reason="logout"), renewal(0, 1)],
    "use was let in after": [op("sign_out", 0, reason="logout"), op("use", 1)],
    "let in after the session": [renewal(0, 0), renewal(1, 1), ended("reuse", 2, 0), renewal(2, 3)],
    "no old copy had been used": [renewal(0, 0), ended("reuse", 1, 0)],
    "no old copy had": [op("refresh", 0, "unknown", presented=0), renewal(0, 1), renewal(1, 20), ended("reuse", 30, 2)],
    "ended as logout": [renewal(0, 0), ended("logout", 1, 1)],
    "ended as expired": [renewal(0, 0), ended("expired", 1, 1)],
    "ended as password_changed": [op("sign_out", 0, reason="logout"), ended("password_changed", 1, 0)],
    "as if the token were none": [renewal(0, 0), op("refresh", 1, "refused", presented=1, reason="401 invalid_token")],
}


@pytest.mark.parametrize("name", FINE)
def test_allowed_histories_have_no_violation(name: str) -> None:
    """In whatever order the operations are given."""
    assert violations(FINE[name], grace_s=GRACE_S) == []
    assert violations(reversed(FINE[name]), grace_s=GRACE_S) == []


@pytest.mark.parametrize("words", BROKEN)
def test_forbidden_histories_are_found(words: str) -> None:
    """And described in the report."""
    found = violations(BROKEN[words], grace_s=GRACE_S)
    assert any(words in problem for problem in found), found


def test_sessions_are_judged_separately() -> None:
    """A sign-out concerns one session. A sweep concerns all sessions of its subject that had started when it began."""
    mine, other = op("sign_out", 0, reason="logout"), renewal(0, 1, sid="t")
    assert violations([mine, other], grace_s=GRACE_S) == []
    swept = op("sweep", 0, reason="logout_everywhere", sid="")
    assert len(violations([op("start", -1, sid="t"), swept, other], grace_s=GRACE_S)) == 1
    assert violations([op("start", 0.05, sid="t"), swept, other], grace_s=GRACE_S) == []
    assert (
        violations([op("start", -1, sid="t", subject="eve"), swept, renewal(0, 1, sid="t", subject="eve")], grace_s=GRACE_S) == []
    )
