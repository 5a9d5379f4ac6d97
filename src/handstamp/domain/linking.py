"""The one rule for whose account a person at a provider gets: theirs, a new one, or none before they sign in another way.

A person is known by issuer and subject, never by an address: addresses change, and get new owners.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

from .account import Account
from .identity import Identity

Refused = Literal["unverified", "taken", "closed", "disabled"]
"""Why there is no account for a person: the provider does not say that the address is theirs, the account with that address
belongs to another person there, nobody may create accounts, or the account is disabled."""


class SignIn(msgspec.Struct, frozen=True):
    """The account is linked to this person already."""

    account: Account


class Link(msgspec.Struct, frozen=True):
    """Both sides have proved the address: the account is linked when the session begins, after its second factor."""

    account: Account


class TakeOver(msgspec.Struct, frozen=True):
    """Nobody has proved the address of the account before. The first who does gets it, without anything that opened it so far."""

    account: Account


class Create(msgspec.Struct, frozen=True):
    """There is no account with the address."""


class Refuse(msgspec.Struct, frozen=True):
    """The person signs in another way first, and then links the provider."""

    why: Refused


Decision = SignIn | Link | TakeOver | Create | Refuse


def decide(
    linked: Account | None,
    holder: Account | None,
    *,
    issuer: str,
    is_verified: bool,
    holder_identities: Collection[Identity],
    registration_open: bool,
) -> Decision:
    """Return whose account a person gets who is signed in at a provider.

    Args:
        linked: The account that is linked to this person there, None if there is none.
        holder: The account that has the person's address, None if there is none.
        issuer: The issuer of the provider.
        is_verified: Whether the provider has proved that the address is theirs, and is believed.
        holder_identities: The identities of `holder`.
        registration_open: Whether people may create accounts.
    """
    if linked is not None:
        return SignIn(linked) if linked.disabled_at_ms is None else Refuse("disabled")
    if not is_verified:
        return Refuse("unverified")
    if holder is None:
        return Create() if registration_open else Refuse("closed")
    is_known_there = any(each.issuer == issuer for each in holder_identities)
    return _decide_by_address(holder, is_known_there=is_known_there)


def _decide_by_address(holder: Account, *, is_known_there: bool) -> Decision:
    """Return what a proven address opens. `is_known_there`: the account is linked to another person at the same provider."""
    if holder.disabled_at_ms is not None:
        return Refuse("disabled")
    if not holder.email_verified:
        return TakeOver(holder)
    return Refuse("taken") if is_known_there else Link(holder)  # "taken": the provider has given the address to another person
