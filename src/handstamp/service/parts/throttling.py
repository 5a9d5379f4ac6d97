"""Count failed attempts in the store, so that all processes share the counts and a restart keeps them.

An attempt has one of four sets of counters:

- of a *known device*, on which the person has signed in before: its own, and one of all known devices of the account. Failures
  of strangers do not touch them.
- of an *unknown device*: the pair of address and network, the network, the IPv6 site, and the account.
- of a *network*: for attempts on no particular account.
- of a *factor*: for codes that follow a first factor, apart from all others, again for known and for unknown devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import msgspec

from ...crypto.seal import Pseudonyms
from ...domain.account import Account
from ...domain.event import Event
from ...domain.network import network_of, site_of
from ...domain.throttle import (
    ACCOUNT,
    ACCOUNT_AT_HOME,
    CODES,
    DEVICE,
    DEVICES,
    FACTOR,
    FACTOR_ON_DEVICE,
    FACTOR_ON_DEVICES,
    MAILS,
    MAILS_OF_DEVICE,
    MAILS_OF_DEVICES,
    NETWORK,
    NETWORKS_PER_SITE,
    PAIR,
    SECOND_STEPS,
    SITE,
    UNKNOWN_ACCOUNT,
    Failures,
    Limit,
    add_failure,
    grow,
    is_locked,
    mails_of_network,
    new_accounts,
    wait_ms,
)
from ...errors import TooManyAttempts
from ...storage.store import Rows, Store, Transaction
from ...storage.store.failures import Count
from .audit import Audit
from .caller import Caller

Operation = Literal["sign_in", "change_password", "register", "mail", "second_factor"]


class Counter(msgspec.Struct, frozen=True):
    """A key under which failures are counted, its limit, and the account it belongs to (a pseudonym), if to one."""

    key: str
    limit: Limit
    account: str | None = None


class Counters(msgspec.Struct, frozen=True):
    """The counters of one attempt, and the keys that its success resets."""

    each: tuple[Counter, ...]
    reset: tuple[str, ...] = ()
    device: str = ""
    """The key of the known device, "" for an unknown one."""
    subject: str | None = None
    """The account that is tried, None if there is none."""


class Throttling:
    """Delays attempts after failures: tells the counters of an attempt, checks them, and counts failures."""

    def __init__(self, pseudonyms: Pseudonyms, audit: Audit, *, people_per_network: int) -> None:
        """Create it.

        Args:
            pseudonyms: Replaces addresses in the keys of counters.
            audit: Where refused attempts are logged.
            people_per_network: How many people may share one network.
        """
        self._pseudonyms = pseudonyms
        self._audit = audit
        self._failures = grow(NETWORK, people_per_network), grow(SITE, people_per_network)
        self._new_accounts = new_accounts(people_per_network), new_accounts(NETWORKS_PER_SITE * people_per_network)
        self._mails = mails_of_network(people_per_network), mails_of_network(NETWORKS_PER_SITE * people_per_network)

    def of_network(self, ip: str) -> Counters:
        """Return the counters of an attempt on no particular account. None if the address of the client is unknown."""
        return self._list_network_counters("failures", ip, self._failures)

    def of_new_accounts(self, ip: str) -> Counters:
        """Return the counters of the accounts that a network creates. None if the address of the client is unknown."""
        return self._list_network_counters("new accounts", ip, self._new_accounts)

    def of_mails_from(self, ip: str) -> Counters:
        """Return the counters of the mails that a network asks for. None if the address of the client is unknown."""
        return self._list_network_counters("mails", ip, self._mails)

    def of_mails_to(self, email: str, purpose: str, *, device: str = "") -> Counters:
        """Return the counters of mails to an address. When one of them is used, they and the wrong codes are reset.

        Args:
            email: The normalised address.
            purpose: What the mails are for. Each purpose is counted apart, so that a flood of one does not stop another.
            device: The name of the device on which the person has signed in before; "" for an unknown one. Known devices are
                counted apart, so that strangers do not stop their mails.
        """
        account = self._pseudonyms.make("account", email)
        to_address = self._pseudonyms.make("mails to", email, purpose)
        each: tuple[Counter, ...] = (Counter(to_address, MAILS, account),)
        if device:
            this = self._pseudonyms.make("mails of device", email, purpose, device)
            all_together = self._pseudonyms.make("mails of devices", email, purpose)
            each = (Counter(this, MAILS_OF_DEVICE, account), Counter(all_together, MAILS_OF_DEVICES, account))
        return Counters(each, reset=(to_address, self._pseudonyms.make("codes", email)))

    async def may_have_code(self, rows: Rows, email: str, now_ms: int) -> bool:
        """Return whether mails to an address may carry a code: not after too many wrong ones in a row."""
        (failures,) = await rows.failures.get_many([self._pseudonyms.make("codes", email)])
        return not is_locked(failures, CODES, now_ms)

    async def count_wrong_code(self, rows: Transaction, email: str, now_ms: int) -> None:
        """Count a wrong code for an address, from whatever mail to it."""
        key = self._pseudonyms.make("codes", email)
        (failures,) = await rows.failures.get_many([key])
        counted = Count(key, add_failure(failures, CODES, now_ms), self._pseudonyms.make("account", email))
        await rows.failures.save_many([counted])

    def _list_network_counters(self, what: str, ip: str, limits: tuple[Limit, Limit]) -> Counters:
        """Return a counter of the client's network, and one of its IPv6 site if it has one."""
        places = (network_of(ip), site_of(ip))
        return Counters(
            tuple(
                Counter(self._pseudonyms.make(what, place), limit) for place, limit in zip(places, limits, strict=True) if place
            )
        )

    def of_unknown_device(self, email: str, ip: str, *, subject: str | None, at_home: bool) -> Counters:
        """Return the counters of an attempt on an account, from a device where its person has not signed in before.

        A success resets those of the account. It does not reset those of the network: an attacker could, with an own account.

        Args:
            email: The normalised address that was typed.
            ip: The address of the client.
            subject: The id of the account with that address, None if there is none.
            at_home: Whether the person has had a session from the client's network. Then the failures of other networks do not
                delay the attempt, until they reach the ceiling.
        """
        account, network = self._pseudonyms.make("account", email), network_of(ip)
        limit = ACCOUNT_AT_HOME if at_home else UNKNOWN_ACCOUNT if subject is None else ACCOUNT
        own = [Counter(account, limit, account)]
        if network:  # otherwise all strangers would share one pair
            own.append(Counter(self._pseudonyms.make("pair", email, network), PAIR, account))
        return Counters((*own, *self.of_network(ip).each), reset=tuple(counter.key for counter in own), subject=subject)

    def of_device(self, email: str, ip: str, device: str, *, subject: str) -> Counters:
        """Return the counters of an attempt on an account, from a device where its person has signed in before.

        A success resets them, and those that the account has for unknown devices on the same network.

        Args:
            email: The normalised address of the account.
            ip: The address of the client.
            device: The name of the device, unique within the account.
            subject: The id of the account.
        """
        account = self._pseudonyms.make("account", email)
        this, all_together = self._pseudonyms.make("device", email, device), self._pseudonyms.make("devices", email)
        pair = self._pseudonyms.make("pair", email, network_of(ip))
        return Counters(
            (Counter(this, DEVICE, account), Counter(all_together, DEVICES, account)),
            reset=(this, all_together, account, pair),
            device=this,
            subject=subject,
        )

    def of_factor(self, account_id: str, factor: str, *, device: str = "") -> Counters:
        """Return the counters of codes that follow a right password or another first factor.

        A stranger without the first factor never reaches them. A success resets them, on a known device also those of unknown
        devices. A new password does not: a thief who reads the mailbox could set one after each hundred guesses.

        Args:
            account_id: The id of the account.
            factor: Which factor, such as "totp".
            device: The name of the device on which the person has signed in before; "" for an unknown one.
        """
        account = self._pseudonyms.make("factors of", account_id)
        elsewhere = self._pseudonyms.make("factor", account_id, factor)
        steps = self._pseudonyms.make("second steps", account_id)
        if not device:
            return Counters((Counter(elsewhere, FACTOR, account),), reset=(elsewhere, steps), subject=account_id)
        this = self._pseudonyms.make("factor on device", account_id, factor, device)
        all_together = self._pseudonyms.make("factor on devices", account_id, factor)
        return Counters(
            (Counter(this, FACTOR_ON_DEVICE, account), Counter(all_together, FACTOR_ON_DEVICES, account)),
            reset=(this, all_together, elsewhere, steps),
            device=this,
            subject=account_id,
        )

    async def count_second_step(self, rows: Transaction, account_id: str, now_ms: int) -> bool:
        """Count a wrong second step after a right first one. Return whether its person is to be told.

        That is so at the fifth in a row, and again after a right code of the app, or after a day without a wrong one.
        """
        key = self._pseudonyms.make("second steps", account_id)
        (before,) = await rows.failures.get_many([key])
        counted = add_failure(before, SECOND_STEPS, now_ms)
        await rows.failures.save_many([Count(key, counted, self._pseudonyms.make("factors of", account_id))])
        return counted.consecutive == SECOND_STEPS.free

    async def find_factor_lock(self, rows: Rows, account_id: str, now_ms: int) -> tuple[int, bool]:
        """Return how many codes of the app were wrong in a row on unknown devices, and whether these are locked."""
        (counter,) = self.of_factor(account_id, "totp").each
        (failures,) = await rows.failures.get_many([counter.key])
        return failures.consecutive, is_locked(failures, counter.limit, now_ms)

    async def forget_factors(self, rows: Transaction, account_id: str) -> int:
        """Reset every counter of the second factors of an account. Return how many there were."""
        return await rows.failures.delete_of(self._pseudonyms.make("factors of", account_id))

    async def require_no_wait(self, rows: Rows, counters: Counters, now_ms: int) -> Sequence[Failures]:
        """Check the counters, and return the failures under each.

        Raises:
            TooManyAttempts: If one of them requires waiting, with the longest wait, or if one has reached its ceiling.
        """
        if not counters.each:
            return ()
        found = await rows.failures.get_many([counter.key for counter in counters.each])
        longest, by = 0, ""
        for failures, counter in zip(found, counters.each, strict=True):
            if is_locked(failures, counter.limit, now_ms):
                raise TooManyAttempts(limit=counter.limit.name, is_locked=True, subject=counters.subject)
            wait = wait_ms(failures, counter.limit, now_ms)
            if wait > longest:
                longest, by = wait, counter.limit.name
        if longest:
            raise TooManyAttempts(-(-longest // 1000), limit=by, subject=counters.subject)
        return found

    async def count_guess(self, store: Store, counters: Counters, caller: Caller, *, sid: str | None = None) -> None:
        """Count a wrong password, and record it.

        Args:
            store: Where to count, in a transaction of its own.
            counters: The counters of the attempt.
            caller: The time of the request and where it came from.
            sid: The session in which the password was typed, if in one.

        Raises:
            TooManyAttempts: As `count_failure`.
            Unavailable: If the store does not answer.
        """
        subject = counters.subject

        async def count(rows: Transaction) -> Event | None:
            limit = await self.count_failure(rows, counters, caller.now_ms)
            if limit is None or subject is None:
                return None
            locked = caller.event("account_locked", subject=subject, actor="visitor", detail={"limit": limit})
            await rows.events.insert(locked)
            return locked

        locked = await store.transact(count)
        self._audit.log(caller.event("sign_in_failed", subject=subject, sid=sid, actor="person" if sid else "visitor"))
        if locked is not None:
            self._audit.log(locked)

    async def count_failure(self, rows: Transaction, counters: Counters, now_ms: int) -> str | None:
        """Add one failure to each counter. Return the name of the limit whose ceiling this failure has reached, if any.

        Raises:
            TooManyAttempts: If concurrent attempts have used up the counters. So of many guesses at once, all those beyond the
                limit get this answer, whether right or wrong.
        """
        before = await self.require_no_wait(rows, counters, now_ms)
        added = [
            (counter, add_failure(failures, counter.limit, now_ms))
            for counter, failures in zip(counters.each, before, strict=True)
        ]
        if added:
            await rows.failures.save_many([Count(counter.key, failures, counter.account) for counter, failures in added])
        return next((counter.limit.name for counter, failures in added if is_locked(failures, counter.limit, now_ms)), None)

    async def forgive(self, rows: Transaction, counters: Counters) -> None:
        """Reset what a success resets."""
        await rows.failures.delete_many(counters.reset)

    async def list_counts(self, rows: Rows, account: Account, *, limit: int) -> list[Failures]:
        """Return up to `limit` counts of failed attempts on an account and its factors, on all devices and networks."""
        found = await rows.failures.list_of(self._pseudonyms.make("account", account.email), limit=limit)
        found += await rows.failures.list_of(self._pseudonyms.make("factors of", account.id), limit=limit)
        return found[:limit]

    async def forget(self, rows: Transaction, email: str) -> int:
        """Reset every counter of an account, on all devices and networks. Return how many there were."""
        return await rows.failures.delete_of(self._pseudonyms.make("account", email))

    async def find_locked(self, rows: Rows, emails: Sequence[str], now_ms: int) -> set[str]:
        """Return which of up to 1000 normalised addresses are locked for unknown devices."""
        found = await rows.failures.get_many([self._pseudonyms.make("account", email) for email in emails])
        return {email for email, failures in zip(emails, found, strict=True) if is_locked(failures, ACCOUNT, now_ms)}

    @contextmanager
    def logging(self, operation: Operation, caller: Caller) -> Iterator[None]:
        """Write one line to the audit log if the attempt inside is refused with `TooManyAttempts`."""
        try:
            yield
        except TooManyAttempts as refused:
            self._audit.log(self.refusal(refused, operation, caller, subject=refused.subject))
            raise

    @staticmethod
    def refusal(refused: TooManyAttempts, operation: Operation, caller: Caller, *, subject: str | None) -> Event:
        """Return the event of a refused attempt. It goes to the log alone."""
        wait_s = None if refused.is_locked else refused.retry_after_s
        detail = {"operation": operation, "limit": refused.limit, "retry_after_s": wait_s}
        return caller.event("attempt_throttled", subject=subject, actor="visitor", detail=detail)
