"""When the link and the code of a mail are accepted: the whole table of `decide`, and what makes a grant void."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from handstamp.crypto.one_time import OneTimeCodes
from handstamp.crypto.seal import MasterSecret
from handstamp.domain.account import Account
from handstamp.domain.impersonation import LINK_MS
from handstamp.domain.one_time import CODE_LIFETIME_MS, MAX_LOOKS, PURPOSES, OneTime, Purpose, Shown, decide, issue, use
from handstamp.domain.timekeeping import INTERRUPTION_MS, Timekeeping, may_be_restored
from tests.builders import DAY_MS, HOUR_MS, NOW_MS, SECOND_MS, an_account

FOR_ACCOUNTS: list[Purpose] = [purpose for purpose in PURPOSES if purpose != "register"]
ADA = an_account(epoch=3)
SHOWN: tuple[Shown, ...] = get_args(Shown)
SKEW_MS = 20 * SECOND_MS
"""How far the clocks of two nodes may differ."""


def a_grant(purpose: Purpose = "sign_in", account: Account | None = ADA) -> OneTime:
    """Return a grant that was issued at `NOW_MS`."""
    return issue(
        purpose,
        id="grant-id",
        email="ada@example.com",
        account=None if purpose == "register" else account,
        link_hash=b"link",
        code_hash=b"code",
        browser_hash=b"browser",
        now_ms=NOW_MS,
    )


def account_for(purpose: Purpose) -> Account | None:
    """Return the account that a grant of this purpose is about, while nothing has changed."""
    return None if purpose == "register" else ADA


UNDOING = ("undo_change", "undo_factor")


@pytest.mark.parametrize("purpose", [purpose for purpose in PURPOSES if purpose != "impersonate"])
@pytest.mark.parametrize("shown", ["link", "code"])
def test_a_link_and_a_code_are_accepted_once(purpose: Purpose, shown: Shown) -> None:
    """Accepted at once, also by a node whose clock is 20 s behind; afterwards they are used."""
    for now_ms in (NOW_MS - SKEW_MS, NOW_MS, NOW_MS + CODE_LIFETIME_MS - 1):
        decision = decide(a_grant(purpose), account_for(purpose), shown, now_ms)
        assert decision.verdict == "accepted"
        after = use(decision.grant, "ada-id", now_ms)
        assert {decide(after, account_for(purpose), again, now_ms).verdict for again in ("link", "code", "wrong_code")} == {
            "used"
        }


def test_the_link_of_an_operator_is_short_lived_and_has_no_code() -> None:
    """It is in no mail: the operator opens it at once."""
    grant, rule = a_grant("impersonate"), PURPOSES["impersonate"]
    assert (rule.has_code, rule.survives_changes) == (False, False)
    ends = [decide(grant, ADA, "link", NOW_MS + at_ms).verdict for at_ms in (LINK_MS - 1, LINK_MS)]
    assert ends == ["accepted", "expired"]


@pytest.mark.parametrize("purpose", [purpose for purpose in PURPOSES if purpose != "impersonate"])
def test_a_code_expires_before_its_link(purpose: Purpose) -> None:
    """The code after ten minutes, the link after the lifetime of its purpose: an hour, or seven days to undo a change."""
    grant, lifetime_ms = a_grant(purpose), PURPOSES[purpose].lifetime_ms
    assert lifetime_ms == (7 * DAY_MS if purpose in UNDOING else HOUR_MS)
    at_end = NOW_MS + CODE_LIFETIME_MS
    assert [decide(grant, account_for(purpose), shown, at_end).verdict for shown in ("code", "link")] == ["expired", "accepted"]
    assert decide(grant, account_for(purpose), "wrong_code", at_end).verdict == "expired"
    assert decide(grant, account_for(purpose), "link", NOW_MS + lifetime_ms - 1).verdict == "accepted"
    assert decide(grant, account_for(purpose), "link", NOW_MS + lifetime_ms).verdict == "expired"


def test_five_codes_are_looked_at_and_the_link_stays_valid() -> None:
    """The fifth may be right, the sixth is not looked at. A stranger who guesses does not void the owner's link."""
    grant = a_grant()
    for looks in range(1, MAX_LOOKS + 1):
        assert decide(grant, ADA, "code", NOW_MS).verdict == "accepted"
        decision = decide(grant, ADA, "wrong_code", NOW_MS)
        assert (decision.verdict, decision.grant.looks) == ("wrong", looks)
        grant = decision.grant
    for shown in ("code", "wrong_code"):
        decision = decide(grant, ADA, shown, NOW_MS)
        assert (decision.verdict, decision.grant) == ("exhausted", grant)
    assert decide(grant, ADA, "link", NOW_MS).verdict == "accepted"


def test_a_right_code_counts_as_looked_at() -> None:
    """So no more than five are ever looked at, whatever happens between the look and the use."""
    assert decide(a_grant(), ADA, "code", NOW_MS).grant.looks == 1
    assert decide(a_grant(), ADA, "link", NOW_MS).grant.looks == 0


CHANGES = {
    "another epoch": an_account(epoch=4),
    "another address": an_account(epoch=3, email="new@example.com"),
    "disabled": an_account(epoch=3, disabled_at_ms=NOW_MS),
    "deleted": None,
    "another account": an_account(id="other", epoch=3),
}


@pytest.mark.parametrize("purpose", FOR_ACCOUNTS)
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_account_voids_a_grant(purpose: Purpose, change: str) -> None:
    """Only a link that undoes what a thief did survives what they would do next: a new password, a new address."""
    survives = purpose in UNDOING and change in ("another epoch", "another address")
    assert decide(a_grant(purpose), CHANGES[change], "link", NOW_MS).verdict == ("accepted" if survives else "void")


def test_a_sign_up_is_void_once_the_address_has_an_account() -> None:
    """Whoever was first has the account."""
    assert decide(a_grant("register"), ADA, "link", NOW_MS).verdict == "void"


@pytest.mark.parametrize("purpose", PURPOSES)
def test_guessing_does_not_tell_whether_there_is_an_account(purpose: Purpose) -> None:
    """A wrong code has the same verdicts with an account, without one, and with one that has changed."""
    for account in (None, *CHANGES.values(), ADA):
        grant = a_grant(purpose, account=account)
        verdicts = []
        for _ in range(MAX_LOOKS + 1):
            decision = decide(grant, account, "wrong_code", NOW_MS)
            verdicts.append(decision.verdict)
            grant = decision.grant
        assert verdicts == ["wrong"] * MAX_LOOKS + ["exhausted"]


def test_a_grant_without_a_code_accepts_its_link_alone() -> None:
    """No code is looked at where there is none."""
    grant = msgspec.structs.replace(a_grant(), code_hash=None)
    assert [decide(grant, ADA, shown, NOW_MS).verdict for shown in ("wrong_code", "code", "link")] == [
        "exhausted",
        "exhausted",
        "accepted",
    ]


def test_a_used_grant_keeps_no_details() -> None:
    """The hash of a pending password is dropped with its use."""
    pending = msgspec.structs.replace(a_grant("register"), details={"password_hash": "$argon2id$"})
    after = use(pending, "ada-id", NOW_MS)
    assert (after.details, after.account_id, after.used_at_ms) == ({}, "ada-id", NOW_MS)


def test_nothing_secret_is_in_the_repr() -> None:
    """A grant may stand in a traceback."""
    assert repr(a_grant()) == "OneTime(id='grant-id', purpose='sign_in')"


def test_codes_are_hashed_with_a_key_and_for_one_grant() -> None:
    """A copy of the database cannot be searched. A changed master secret still accepts the codes of the previous one."""
    old, new = (MasterSecret(f"{name} secret, which is long enough to be one".encode()) for name in ("old", "new"))
    codes = OneTimeCodes(old)
    code = codes.generate()
    assert len(code) == 6
    assert code.isdecimal()
    hashed = codes.hash(code, "grant-id")
    assert codes.matches(hashed, code, "grant-id")
    assert not codes.matches(hashed, code, "another-id")
    assert not OneTimeCodes(new).matches(hashed, code, "grant-id")
    assert OneTimeCodes(new.beside([old])).matches(hashed, code, "grant-id")


@pytest.mark.parametrize(
    ("pause_ms", "last_ms", "restored"),
    [
        (INTERRUPTION_MS, None, False),
        (INTERRUPTION_MS + 1, None, True),
        (10 * HOUR_MS, NOW_MS + 10 * HOUR_MS - INTERRUPTION_MS, True),
        (10 * HOUR_MS, NOW_MS + INTERRUPTION_MS, False),
    ],
    ids=["quick restart", "long pause", "running process, database went back", "running process, late round"],
)
def test_a_restored_backup_shows_by_its_time(pause_ms: int, last_ms: int | None, restored: bool) -> None:
    """A process that starts sees a long pause; one that runs sees that the database has forgotten its last round."""
    assert may_be_restored(Timekeeping(NOW_MS, NOW_MS), NOW_MS + pause_ms, last_ms=last_ms) is restored
    assert not may_be_restored(None, NOW_MS, last_ms=None)
