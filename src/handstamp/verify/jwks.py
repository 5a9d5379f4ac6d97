"""The issuer's keys, fetched and kept (RFC 7517; T27).

A verification waits for a fetch only where there is no set at all, where the set is older than its publisher allows, or where a
token names a key that is not in it. One fetch runs at a time, in the background as long as the set is good; one that fails
leaves the last good set in place.
"""

from __future__ import annotations

import logging
import random
import re
import threading
from collections.abc import Callable

from ..clock import monotonic_ms
from ..crypto.jwk import KeySet
from ..domain.keyring import JWKS_MAX_AGE_S
from ..errors import ConfigurationError, Unavailable
from .fetch import Fetched

MISS_INTERVAL_MS = 30_000
"""A `kid` that is not in the set makes us ask again, but not more often than this: strangers can invent them."""
RETRY_MS = 5_000
_BEHIND_MS = 1_000
"""After a key was voided it may take the issuer's other processes, or a cache before them, a moment to show its successor."""
MAX_KEYS = 64
MAX_BYTES = 256 * 1024
_MIN_AGE_S, _MAX_AGE_S = 30, 3600
_MAX_VOIDED = 1000
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})", re.IGNORECASE | re.ASCII)
_log = logging.getLogger("handstamp.verify")


class WouldWait(Exception):
    """The answer needs the network, and whoever asked must not wait here."""


class GivenKeys:
    """A key set that was given by hand, or that a function of the application returns."""

    problem = ""
    is_ready = True

    def __init__(self, keys: KeySet | Callable[[], KeySet]) -> None:
        """Take the set, or what returns today's."""
        self._get = keys if callable(keys) else lambda: keys
        self._voided: frozenset[str] = frozenset()
        self._reduced: tuple[KeySet, KeySet] | None = None

    def age_ms(self) -> None:
        """Return None: nothing was fetched."""

    def current(self, monotonic: int, *, may_wait: bool = True) -> KeySet:  # noqa: ARG002 - as `RemoteKeys`
        """Return the set, without keys that were voided."""
        given = self._get()
        if not self._voided:
            return given
        reduced = self._reduced
        if reduced is None or reduced[0] is not given:
            reduced = self._reduced = given, given.without(self._voided)
        return reduced[1]

    def newer_than(self, known: KeySet, kid: str, *, may_wait: bool = True) -> KeySet:  # noqa: ARG002 - as `RemoteKeys`
        """Return `known`: there is nobody to ask for another."""
        return known

    def void(self, kid: str) -> None:
        """Take a key out at once and for good: it has leaked."""
        self._voided |= {kid}
        self._reduced = None

    def fetch_in_background(self) -> None:
        """Do nothing."""


class RemoteKeys:
    """The key set of one issuer, as it was fetched last."""

    def __init__(self, fetch: Callable[[], Fetched], *, patience_s: float) -> None:
        """Take what fetches the JWKS, and how long a verification waits at most for somebody else's fetch."""
        self._fetch = fetch
        self._patience_s = patience_s
        self._fetching = threading.Lock()
        self._changing = threading.Lock()
        self._keys: KeySet | None = None
        self._listed: KeySet | None = None
        self._published: bytes | None = None
        self._voided: set[str] = set()
        self._fetched_at_ms = 0
        self._refresh_at_ms = 0
        self._expires_at_ms = 0
        self._missed_at_ms: int | None = None
        self._problem = ""

    @property
    def problem(self) -> str:
        """Why the last fetch failed, empty if it did not."""
        return self._problem

    @property
    def is_ready(self) -> bool:
        """Whether there is a set."""
        return self._keys is not None

    def age_ms(self) -> int | None:
        """Return how long ago the set was fetched, None if there is none."""
        return None if self._keys is None else monotonic_ms() - self._fetched_at_ms

    def current(self, monotonic: int, *, may_wait: bool = True) -> KeySet:
        """Return the set that counts at `monotonic`, which is now.

        Raises `Unavailable` if there is none, `WouldWait` where it must be fetched first and may not.
        """
        if monotonic >= self._refresh_at_ms:
            # Past its time, a set is used without asking only while asking is known to fail.
            if self._keys is not None and (monotonic < self._expires_at_ms or self._problem):
                self.fetch_in_background()
            else:
                self._fetch_if(lambda: monotonic_ms() >= self._refresh_at_ms, may_wait=may_wait)
        if self._keys is None:
            raise Unavailable(f"the issuer's keys could not be fetched: {self._problem or 'it takes too long'}")
        return self._keys

    def newer_than(self, known: KeySet, kid: str, *, may_wait: bool = True) -> KeySet:
        """Return a set that may have the key `kid`, which `known` has not; `known` itself if it is too soon to ask again.

        Raises `Unavailable` if asking failed: a token of a key that could not be fetched is not thereby invalid.
        """

        def is_due() -> bool:
            asked_ms = self._missed_at_ms
            return self._keys is known and (asked_ms is None or monotonic_ms() >= asked_ms + MISS_INTERVAL_MS)

        if kid in self._voided:
            return known
        if is_due():
            self._fetch_if(is_due, may_wait=may_wait, after_miss=True)
        if self._keys is known and self._problem:
            raise Unavailable(f"the token names a key that is not in the set, and no newer set is to be had: {self._problem}")
        return self._keys or known

    def void(self, kid: str) -> None:
        """Take a key out at once and for good: it has leaked. A new set is fetched, which has its successor."""
        if len(self._voided) >= _MAX_VOIDED:
            raise Unavailable(f"more than {_MAX_VOIDED} keys were voided")
        if kid not in self._voided:
            with self._changing:
                self._voided.add(kid)
                if self._listed is not None:
                    self._keys = self._listed.without(self._voided)
            self._refresh_at_ms = 0  # if somebody is just deciding not to fetch, whoever verifies next does
            self.fetch_in_background()

    def fetch_in_background(self) -> None:
        """Fetch without anybody waiting, unless somebody fetches already."""
        if self._fetching.acquire(blocking=False):

            def fetch() -> None:
                try:
                    self._load()
                finally:
                    self._fetching.release()

            try:
                threading.Thread(target=fetch, name="handstamp-jwks", daemon=True).start()
            except RuntimeError:  # no thread is to be had: at exit, or the machine is full
                self._fetching.release()

    def _fetch_if(self, is_due: Callable[[], bool], *, may_wait: bool, after_miss: bool = False) -> None:
        """Fetch, unless whoever fetched before us has made it needless. What comes of it is in the fields."""
        if not may_wait:
            raise WouldWait
        if not self._fetching.acquire(timeout=self._patience_s):
            return
        try:
            if is_due():
                if after_miss:
                    self._missed_at_ms = monotonic_ms()
                self._load()
        finally:
            self._fetching.release()

    def _load(self) -> None:
        try:
            fetched = self._fetch()
            if fetched.body != self._published:
                listed = _checked(fetched.body)
                with self._changing:
                    self._listed, self._keys = listed, listed.without(self._voided)
                self._published = fetched.body
        except (Unavailable, ConfigurationError) as problem:
            self._problem = problem.why if isinstance(problem, Unavailable) else f"the issuer's keys are refused: {problem}"
            self._refresh_at_ms = monotonic_ms() + RETRY_MS
            _log.warning("the issuer's keys could not be renewed, the last good ones stay: %s", self._problem)
            return
        now_ms, age_ms = monotonic_ms(), 1000 * _max_age_s(fetched)
        self._fetched_at_ms = now_ms
        self._expires_at_ms = now_ms + age_ms
        with self._changing:
            is_behind = self._listed is not None and len(self._listed) != len(self._listed.without(self._voided))
        if is_behind:
            self._problem = "the issuer still publishes a key that it has voided"
            self._refresh_at_ms = now_ms + _BEHIND_MS
            return
        self._problem = ""
        # Ahead of time, and not all verifiers at once.
        self._refresh_at_ms = now_ms + int(age_ms * random.uniform(0.6, 0.8))  # noqa: S311 - it only spreads the load


def _checked(document: bytes) -> KeySet:
    keys = KeySet.from_jwks(document)
    if keys.is_secret:
        raise ConfigurationError("they hold a secret, with which everybody could sign")
    if not 0 < len(keys) <= MAX_KEYS:
        raise ConfigurationError(f"there are {len(keys)} of them (an issuer that signs with HS256 publishes none)")
    return keys


def _max_age_s(fetched: Fetched) -> int:
    found = _MAX_AGE.search(fetched.cache_control)
    return min(max(int(found[1]) if found else JWKS_MAX_AGE_S, _MIN_AGE_S), _MAX_AGE_S)
