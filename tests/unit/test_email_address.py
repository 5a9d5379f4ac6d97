"""Addresses as people type them."""

from __future__ import annotations

import pytest

from handstamp.errors import InvalidFields
from handstamp.service.parts.email_address import normalise_email

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        (" Ada@Example.com\n", "ada@example.com"),
        ("\tada@example.com ", "ada@example.com"),
        ("ada@xn--mnchen-3ya.de", "ada@münchen.de"),
        ("ada@MÜNCHEN.de", "ada@münchen.de"),
    ],
)
async def test_an_address_has_one_spelling(typed: str, stored: str) -> None:
    """White space around it and case are no part of it."""
    assert await normalise_email(typed) == stored
    assert await normalise_email(typed, must_be_public=True) == stored


@pytest.mark.parametrize("address", ["ada@server.local", "ada@nas.home.arpa", "ada@localhost", "ada@intranet"])
async def test_intranet_addresses_are_for_operators(address: str) -> None:
    """Operators create them and their people sign in; strangers register with public addresses."""
    assert await normalise_email(address) == address
    with pytest.raises(InvalidFields):
        await normalise_email(address, must_be_public=True)


@pytest.mark.parametrize("address", ["", "ada", "@example.com", "ada@", "a" * 255, f"ada@{'ü' * 64}.de", "ada@exam ple.com"])
async def test_invalid_addresses_are_refused_with_a_reason(address: str) -> None:
    """Lengths are checked before anything that takes time."""
    with pytest.raises(InvalidFields) as refused:
        await normalise_email(address)
    assert refused.value.fields[0][0] == "email"
