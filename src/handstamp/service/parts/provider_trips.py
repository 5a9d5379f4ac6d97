"""Send browsers to providers, and read with what they come back: bound to the browser, once, within half an hour."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import NamedTuple
from weakref import WeakValueDictionary

from ...crypto.identifiers import new_secret
from ...domain.attempt import AWAY_MS, Attempt, AttemptRow, Purpose
from ...domain.delivery import Delivery
from ...domain.identity import Through
from ...domain.network import network_of, site_of
from ...domain.provider import ProviderIdentity, ProviderSettings
from ...domain.session import FRESH_MS
from ...errors import InvalidChallenge, InvalidProviderAnswer, NotFound, ProviderRefused
from ...storage.store import Store
from ...text import mark
from .attempts import Attempts
from .caller import Caller
from .meter import Meter
from .one_time import keep_browser_secret
from .providers import Prompt, Provider
from .throttling import Throttling

AMR = "fed"
"""The method of such a sign-in in `amr` and in the metrics. RFC 8176 has no word for a provider."""
PLACES_PER_NETWORK = 3
"""How many answers of one network are redeemed at once. A provider gets eight requests at once (`handstamp.outbound`)."""
_STATE_LENGTH = 43


class Away(NamedTuple):
    """A browser that is about to leave.

    Attributes:
        url: Where it goes.
        state: What it comes back with.
        sealed: What must be kept for then, as secret as a token.
        browser: The secret of the browser.
        expires_in_s: How many seconds it has.
    """

    url: str
    state: str
    sealed: str
    browser: str
    expires_in_s: int = AWAY_MS // 1000


class ProviderTrips:
    """Begins and ends what takes people to a provider and back."""

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        attempts: Attempts,
        throttling: Throttling,
        meter: Meter,
        issuer_url: str,
    ) -> None:
        self._store = store
        self._providers = providers
        self._attempts = attempts
        self._throttling = throttling
        self._meter = meter
        self._issuer_url = issuer_url
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._places: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @property
    def settings(self) -> list[ProviderSettings]:
        """The providers of this service, in the order of the settings."""
        return [each.settings for each in self._providers.values()]

    @property
    def names(self) -> frozenset[str]:
        """The names of the providers."""
        return frozenset(self._providers)

    def require(self, name: str) -> Provider:
        """Return a provider. Raises `NotFound`."""
        provider = self._providers.get(name)
        if provider is None:
            raise NotFound(mark("This service has no such provider."))
        return provider

    async def begin(
        self,
        name: str,
        purpose: Purpose,
        caller: Caller,
        *,
        delivery: Delivery = "split",
        return_to: str = "",
        subject: str = "",
        sid: str = "",
        login_hint: str = "",
        again: bool = False,
        relays: bool = False,
    ) -> Away:
        """Begin. Nothing is stored.

        Args:
            name: The name of the provider.
            purpose: What for.
            caller: The time of the request, with the secret of the browser.
            delivery: How the tokens of the session will travel.
            return_to: Where the visitor goes afterwards, which the caller has checked.
            subject: The account, "" if it is not known yet.
            sid: The session in which it takes place, "" if in none.
            login_hint: The address that the person may have there, "" for any.
            again: True if the person must prove there again who they are, as far as the provider can be told so.
            relays: True to send the answer on to `return_to`: the application completes the sign-in.

        Raises:
            NotFound: If there is no such provider.
            ProviderUnavailable: If it does not describe itself as it should.
        """
        provider = self.require(name)
        browser = keep_browser_secret(caller.browser)
        state = new_secret()
        if relays:
            state += self._attempts.issue(
                "provider_relay", browser=state, caller=caller, lifetime_ms=AWAY_MS, return_to=return_to
            )
        prompt, max_age_s = _ask_again(provider.settings) if again else ("", None)
        url, asked = await provider.begin(
            state,
            redirect_uri=f"{self._issuer_url}/sign-in/with/{name}/callback",
            prompt=prompt,
            login_hint=login_hint,
            max_age_s=max_age_s,
        )
        sealed = self._attempts.issue(
            purpose,
            browser=browser,
            caller=caller,
            lifetime_ms=AWAY_MS,
            subject=subject,
            delivery=delivery,
            sid=sid,
            asked=asked,
            return_to="" if relays else return_to,
        )
        return Away(url, state, sealed, browser)

    def find_relay(self, state: str, caller: Caller) -> str:
        """Return where the answer with a `state` is to be sent on to; "" if it is for the browser that brings it.

        Raises:
            InvalidChallenge: If it has expired.
        """
        secret, sealed = state[:_STATE_LENGTH], state[_STATE_LENGTH:]
        return self._attempts.open(sealed, "provider_relay", browser=secret, caller=caller).return_to if sealed else ""

    def open(self, sealed: str, name: str, caller: Caller, purpose: Purpose = "provider_sign_in") -> Attempt:
        """Return what was kept of a trip to a provider.

        Raises:
            InvalidChallenge: If it has expired, or began in another browser, for another provider or for something else.
        """
        attempt = self._attempts.open(sealed, purpose, browser=caller.browser, caller=caller)
        if attempt.asked is None or attempt.asked.provider != name:
            raise InvalidChallenge("elsewhere")
        return attempt

    def open_any(self, sealed: str, name: str, caller: Caller) -> Attempt:
        """As `open`, for signing in or for adding a provider to an account: the purpose of what is returned says which."""
        try:
            return self.open(sealed, name, caller, "provider_link")
        except InvalidChallenge as refused:
            if refused.verdict != "elsewhere":
                raise
            return self.open(sealed, name, caller)

    @asynccontextmanager
    async def one_at_a_time(self, attempt: Attempt) -> AsyncIterator[AttemptRow | None]:
        """Hold one trip, and yield its row. A provider accepts a code once, and may void what a second use has got."""
        async with self._turns.setdefault(attempt.id, asyncio.Lock()):
            yield await self._find(attempt)

    async def _find(self, attempt: Attempt) -> AttemptRow | None:
        return (await self._store.read(lambda rows: rows.attempts.get_many((attempt.id,)))).get(attempt.id)

    async def find_subject(self, attempt: Attempt) -> str | None:
        """Return the account to which another use of the same answer has led; None if there is none within a second."""
        for pause_s in (0.0, 0.1, 0.2, 0.3, 0.4):
            await asyncio.sleep(pause_s)
            row = await self._find(attempt)
            if row is not None and row.used_at_ms is not None:
                return row.account_id
        return None

    async def finish(self, attempt: Attempt, answer: Mapping[str, str], caller: Caller) -> ProviderIdentity:
        """Return who has come back. This cannot be repeated.

        Raises:
            InvalidProviderAnswer: If the answer is not true, or is for another sign-in.
            ProviderRefused: If the person or the provider has refused.
            ProviderUnavailable: If the provider does not answer as it should.
            TooManyAttempts: If too many answers from this network were not accepted.
            Unavailable: If the store does not answer.
        """
        assert attempt.asked is not None  # noqa: S101 - for the type checker: see `open`
        provider = self.require(attempt.asked.provider)
        counters = self._throttling.of_network(caller.ip)
        async with self._place_of(caller.ip):
            with self._throttling.logging("sign_in", caller):
                await self._store.read(lambda rows: self._throttling.require_no_wait(rows, counters, caller.now_ms))
            try:
                return await provider.finish(attempt.asked, answer, now_ms=caller.now_ms)
            except (InvalidProviderAnswer, ProviderRefused) as refused:
                if not (isinstance(refused, ProviderRefused) and refused.cause == "cancelled"):
                    self._meter.count_failed_sign_in(AMR)
                    await self._store.transact(lambda rows: self._throttling.count_failure(rows, counters, caller.now_ms))
                raise

    def _place_of(self, ip: str) -> AbstractAsyncContextManager[object]:
        """Return what a network waits for, so that its forged answers wait for each other and not in front of others."""
        network = site_of(ip) or network_of(ip)
        if not network:
            return nullcontext()
        return self._places.setdefault(network, asyncio.Semaphore(PLACES_PER_NETWORK))


def through_of(found: ProviderIdentity, caller: Caller, *, may_link: bool) -> Through:
    """Return what is needed when a session begins of a person who has just come back."""
    return Through(
        provider=found.provider,
        issuer=found.issuer,
        subject=found.subject,
        email=found.email,
        at_provider=found.session_id,
        may_link=may_link,
        since_ms=caller.now_ms,
    )


def _ask_again(settings: ProviderSettings) -> tuple[Prompt, int | None]:
    """Return what makes a provider ask the person again. Google, Apple and GitHub cannot be told to, and say no time."""
    match settings.preset:
        case "":
            return "", FRESH_MS // 1000
        case "google" | "microsoft":
            return "select_account" if settings.preset == "google" else "login", None
        case _:
            return "", None
