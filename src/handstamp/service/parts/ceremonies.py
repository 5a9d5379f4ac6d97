"""Ceremonies of passkeys: a challenge that is bound to the browser, signed once, within five minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ...crypto.passkeys import Passkeys, find_id
from ...domain.attempt import LIFETIME_MS
from ...domain.passkey import Passkey
from ...errors import InvalidChallenge, InvalidPasskey, UnknownPasskey
from ...storage.store import Store, Transaction
from .attempts import Attempts
from .caller import Caller
from .factor_proof import FactorProof
from .meter import Meter
from .one_time import keep_browser_secret

VERIFIED, PRESENT = ("pop", "user", "mfa"), ("pop", "user")
"""The `amr` (RFC 8176): proof of possession of a key, with the person present; `mfa` if the authenticator has verified them."""


class Ceremony(NamedTuple):
    """What the client gets: the challenge to send back, the options for the browser, and the secret of the browser."""

    challenge: str
    options: dict[str, Any]
    browser: str
    expires_in_s: int = LIFETIME_MS // 1000


class PasskeyCeremonies:
    """Begins the use of a passkey, and judges it."""

    def __init__(self, *, store: Store, attempts: Attempts, passkeys: Passkeys, meter: Meter) -> None:
        self._meter = meter
        self._store = store
        self._attempts = attempts
        self._passkeys = passkeys

    @property
    def rp_id(self) -> str:
        """The host to which passkeys belong."""
        return self._passkeys.rp_id

    async def begin(self, caller: Caller, *, account_id: str = "", within: str = "") -> Ceremony:
        """Begin to use a passkey: any that the person chooses, or one of an account whose first factor was proved.

        Args:
            caller: The time of the request, with the secret of the browser.
            account_id: The account whose first factor was proved; "" for any.
            within: The sign-in or the session in which it takes place. It is accepted in that one alone.
        """
        allowed: Sequence[Passkey] | None = None
        if account_id:
            allowed = await self._store.read(lambda rows: rows.passkeys.list_of(account_id))
        challenge, browser = self._passkeys.generate_challenge(), keep_browser_secret(caller.browser)
        sealed = self._attempts.issue(
            "passkey_sign_in", browser=browser, caller=caller, subject=account_id, challenge=challenge, sid=within
        )
        return Ceremony(sealed, self._passkeys.write_request(challenge, allowed), browser)

    async def prove(
        self, answer: str, sealed: str, caller: Caller, *, account_id: str = "", within: str = ""
    ) -> tuple[str, FactorProof]:
        """Return whose passkey has signed, and the proof.

        Args:
            answer: What the browser returned, as JSON.
            sealed: The challenge of `begin`.
            caller: The time of the request and where it came from, with the secret of the browser.
            account_id: The account that it must be of; "" for any, whose authenticator must then have verified the person.
            within: The sign-in or the session of `begin`.

        Raises:
            InvalidChallenge: If the ceremony has expired, was used, began elsewhere, for another account or in another sign-in.
            UnknownPasskey: If there is no such passkey.
            InvalidPasskey: If it is not accepted.
            Unavailable: If the store does not answer.
        """
        try:
            return await self._prove(answer, sealed, caller, (account_id, within))
        except InvalidPasskey:
            self._meter.count_failed_sign_in("pop")
            raise

    async def _prove(self, answer: str, sealed: str, caller: Caller, whose: tuple[str, str]) -> tuple[str, FactorProof]:
        account_id = whose[0]
        attempt = self._attempts.open(sealed, "passkey_sign_in", browser=caller.browser, caller=caller)
        if (attempt.subject, attempt.sid) != whose:
            raise InvalidChallenge("elsewhere")
        passkey_id = find_id(answer)
        passkey = await self._store.read(lambda rows: rows.passkeys.get(passkey_id))
        if passkey is None:
            raise UnknownPasskey
        if account_id and passkey.account_id != account_id:
            raise InvalidPasskey("refused")
        signed = await self._passkeys.read_request(answer, attempt.challenge, passkey, needs_verification=not account_id)

        async def confirm(rows: Transaction) -> None:
            await self._attempts.consume(rows, attempt, caller)
            current = await rows.passkeys.get(passkey.id)
            if current is None:
                raise UnknownPasskey
            if current.sign_count and signed.sign_count <= current.sign_count:
                raise InvalidPasskey("counted_back", why=f"a counter that went back, of the account {passkey.account_id}")
            await rows.passkeys.update(_use(current, signed.sign_count, signed.is_backed_up, caller.now_ms))

        return passkey.account_id, FactorProof(VERIFIED if signed.is_verified else PRESENT, confirm, [], "phr")


def _use(passkey: Passkey, sign_count: int, is_backed_up: bool, now_ms: int) -> Passkey:
    return msgspec.structs.replace(passkey, sign_count=sign_count, is_backed_up=is_backed_up, used_at_ms=now_ms)
