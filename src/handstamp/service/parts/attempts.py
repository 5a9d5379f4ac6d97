"""Attempts: sign-ins and other ceremonies of several steps, bound to the browser that began them, each used up once.

A use case *issues* an attempt, whose text the client sends back. It *opens* it, *counts* a code before it looks at it, and
*consumes* it in the transaction that has the effect.
"""

from __future__ import annotations

import msgspec

from ...crypto.attempts import SealedAttempts
from ...crypto.identifiers import hash_secret, new_id
from ...domain.attempt import ENROLMENT_MS, LIFETIME_MS, Attempt, AttemptRow, Purpose, count_try, enrol, judge, row_of, use
from ...domain.delivery import Delivery
from ...domain.identity import Through
from ...domain.provider import ProviderRequest
from ...errors import InvalidChallenge
from ...storage.store import Rows, Store, Transaction
from .caller import Caller
from .one_time import hash_of_browser


class Attempts:
    """Issues, opens and consumes attempts. Nothing is stored before a code is looked at or the attempt succeeds."""

    def __init__(self, *, store: Store, sealed: SealedAttempts) -> None:
        self._store = store
        self._sealed = sealed

    def issue(
        self,
        purpose: Purpose,
        *,
        browser: str,
        caller: Caller,
        lifetime_ms: int = LIFETIME_MS,
        subject: str = "",
        epoch: int = 0,
        amr: tuple[str, ...] = (),
        acr: str | None = None,
        delivery: Delivery = "json",
        challenge: str = "",
        sid: str = "",
        through: Through | None = None,
        asked: ProviderRequest | None = None,
        return_to: str = "",
    ) -> str:
        """Return a new attempt as text. It is as secret as a token.

        Args:
            purpose: What it is for.
            browser: The secret of the browser, from `keep_browser_secret`. The attempt is accepted from it alone.
            caller: The time of the request.
            lifetime_ms: How long it is accepted, in milliseconds.
            subject: The account, "" if it is not known. It and the following ones are fields of `Attempt`.
            epoch: Its epoch.
            amr: The methods that were used so far.
            acr: How strongly.
            delivery: How the tokens will travel.
            challenge: What an authenticator signs.
            sid: The session in which it takes place.
            through: The provider that has proved the person.
            asked: What a provider was asked.
            return_to: Where the visitor goes afterwards.
        """
        attempt = Attempt(
            id=new_id(),
            purpose=purpose,
            browser_hash=hash_secret(browser),
            created_at_ms=caller.now_ms,
            expires_at_ms=caller.now_ms + lifetime_ms,
            subject=subject,
            epoch=epoch,
            amr=amr,
            acr=acr,
            delivery=delivery,
            challenge=challenge,
            sid=sid,
            through=through,
            asked=asked,
            return_to=return_to,
        )
        return self._sealed.seal(attempt)

    def open(self, sealed: str, purpose: Purpose, *, browser: str, caller: Caller) -> Attempt:
        """Return an attempt as the client has sent it back.

        Raises:
            InvalidChallenge: If it is none of ours, of another purpose or browser, or has expired.
        """
        attempt = self._sealed.open(sealed, purpose)
        if attempt is None:
            raise InvalidChallenge("elsewhere")
        verdict = judge(attempt, None, purpose=purpose, browser_hash=hash_of_browser(browser), now_ms=caller.now_ms)
        if verdict != "open":
            raise InvalidChallenge(verdict)
        return attempt

    async def count(self, attempt: Attempt, caller: Caller) -> None:
        """Count a code that is about to be looked at. Of any number at once, at most `MAX_TRIES` are.

        Raises:
            InvalidChallenge: If as many codes were looked at, or if the attempt has succeeded.
            Unavailable: If the store does not answer.
        """

        async def count(rows: Transaction) -> None:
            await rows.attempts.save(count_try(await self.require_open(rows, attempt, caller)))

        await self._store.transact(count)

    async def require_open(self, rows: Rows, attempt: Attempt, caller: Caller) -> AttemptRow:
        """Return the row of an attempt that may go on. Raises `InvalidChallenge`."""
        row = await self._find(rows, attempt)
        verdict = judge(attempt, row, purpose=attempt.purpose, browser_hash=attempt.browser_hash, now_ms=caller.now_ms)
        if verdict != "open":
            raise InvalidChallenge(verdict)
        return row or row_of(attempt)

    async def record_enrolment(self, rows: Transaction, attempt: Attempt, factor: str, caller: Caller) -> None:
        """Record that a factor was added in an attempt, which is a proof of it. Raises `InvalidChallenge`."""
        await rows.attempts.save(enrol(await self.require_open(rows, attempt, caller), factor))

    async def consume(self, rows: Transaction, attempt: Attempt, caller: Caller, *, subject: str = "") -> None:
        """Use an attempt up. `subject` is the account that it has led to, if it named none.

        Raises `InvalidChallenge` if it was used up or ended meanwhile.
        """
        row = await self._find(rows, attempt) or row_of(attempt)
        if row.used_at_ms is not None:
            raise InvalidChallenge("used")
        await rows.attempts.save(msgspec.structs.replace(use(row, caller.now_ms), account_id=subject or row.account_id))

    async def end_all(self, rows: Transaction, account_id: str, caller: Caller) -> None:
        """End every attempt of an account that has begun.

        Most of them are with clients alone. So this stores a row in their place, for as long as any of them may live.
        """
        await rows.attempts.delete_of(account_id)
        expires_at_ms = caller.now_ms + ENROLMENT_MS
        row = AttemptRow(id=_name_end(account_id), account_id=account_id, expires_at_ms=expires_at_ms)
        await rows.attempts.save(use(row, caller.now_ms))

    async def _find(self, rows: Rows, attempt: Attempt) -> AttemptRow | None:
        """Return the row of an attempt. Raises `InvalidChallenge` if all of its account have ended since it began."""
        found = await rows.attempts.get_many((attempt.id, _name_end(attempt.subject)))
        end = found.get(_name_end(attempt.subject))
        if end is not None and end.used_at_ms is not None and attempt.created_at_ms <= end.used_at_ms:
            raise InvalidChallenge("void")
        return found.get(attempt.id)


def _name_end(account_id: str) -> str:
    """Return the id of the row that ends the attempts of an account."""
    return f"end of {account_id}"
