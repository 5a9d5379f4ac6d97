"""Whose account a person at a provider gets: every row of the table, each with the attack that it stops."""

from __future__ import annotations

import msgspec
import pytest

from handstamp.domain.account import Account
from handstamp.domain.identity import Identity
from handstamp.domain.linking import Create, Decision, Link, Refuse, SignIn, TakeOver, decide
from tests.builders import NOW_MS, an_account

HERE, ELSEWHERE = "https://accounts.example", "https://other.example"
ADA = an_account(id="ada-id", email="ada@example.com", email_verified=True)
UNPROVED = msgspec.structs.replace(ADA, email_verified=False)
DISABLED = msgspec.structs.replace(ADA, disabled_at_ms=NOW_MS)
EVE = an_account(id="eve-id", email="eve@example.com", email_verified=True)


def known_at(issuer: str) -> Identity:
    """Return an identity of ada's account."""
    return Identity(
        id="i",
        issuer=issuer,
        subject="1",
        account_id="ada-id",
        provider="p",
        email="ada@example.com",
        created_at_ms=NOW_MS,
        used_at_ms=NOW_MS,
    )


@pytest.mark.parametrize(
    ("linked", "holder", "is_verified", "identities", "expected"),
    [
        pytest.param(EVE, ADA, True, [], SignIn(EVE), id="the address at the provider changes to one of another account"),
        pytest.param(EVE, None, False, [], SignIn(EVE), id="the provider stops proving the address"),
        pytest.param(DISABLED, None, True, [], Refuse("disabled"), id="a disabled account is opened by its provider"),
        pytest.param(None, ADA, False, [], Refuse("unverified"), id="an address that anybody can type at the provider"),
        pytest.param(None, UNPROVED, False, [], Refuse("unverified"), id="neither side has proved the address"),
        pytest.param(None, None, False, [], Refuse("unverified"), id="an account is squatted with an unproved address"),
        pytest.param(None, UNPROVED, True, [], TakeOver(UNPROVED), id="an account was registered before with the address"),
        pytest.param(
            None, UNPROVED, True, [known_at(HERE)], TakeOver(UNPROVED), id="who registered before has linked a provider, too"
        ),
        pytest.param(None, ADA, True, [], Link(ADA), id="both sides have proved the address"),
        pytest.param(None, ADA, True, [known_at(ELSEWHERE)], Link(ADA), id="two providers prove one address"),
        pytest.param(None, ADA, True, [known_at(HERE)], Refuse("taken"), id="the provider gives an address to another person"),
        pytest.param(None, DISABLED, True, [], Refuse("disabled"), id="a disabled account is opened by its address"),
        pytest.param(None, None, True, [], Create(), id="nobody has the address"),
    ],
)
def test_the_table(
    linked: Account | None, holder: Account | None, is_verified: bool, identities: list[Identity], expected: Decision
) -> None:
    """Issuer and subject name a person; an address does only where both sides have proved it."""
    found = decide(linked, holder, issuer=HERE, is_verified=is_verified, holder_identities=identities, registration_open=True)
    assert found == expected


def test_nobody_registers_where_that_is_closed() -> None:
    """Accounts that exist are still linked."""
    for holder, expected in ((None, Refuse("closed")), (ADA, Link(ADA)), (UNPROVED, TakeOver(UNPROVED))):
        found = decide(None, holder, issuer=HERE, is_verified=True, holder_identities=[], registration_open=False)
        assert found == expected
