"""The issuer's public keys: fetched, kept and renewed (RFC 7517; T27).

A verification waits for the network only if there is no key set, if the set is older than its publisher allows, or if a token
names a key that is not in it. At most one request runs at a time, in the background as long as the set is valid. If it fails,
the last good set stays for a day: then it may contain keys that the issuer has long withdrawn.
"""

from __future__ import annotations

import logging
import random
import re
import threading
from collections.abc import Callable, Collection
from typing import Generic, Protocol, Self, TypeVar

from ..clock import monotonic_ms
from ..crypto.jwk import KeySet
from ..domain.keyring import JWKS_MAX_AGE_S
from ..errors import ConfigurationError, Unavailable
from ..forking import ProcessLock, reset_in_child
from .fetch import Document

MISS_INTERVAL_MS = 30_000
"""A `kid` that is not in the set causes a request at most this often: anybody can invent one."""
RETRY_MS = 5_000
MAX_AGE_MS = 24 * 3600 * 1000
"""The longest time for which a set is used that could not be renewed."""
_BEHIND_MS = 1_000
"""The issuer's other processes, or a cache in front of them, may need a moment to publish the successor of a leaked key."""
MAX_KEYS = 64
_MIN_AGE_S, _MAX_AGE_S = 30, 3600
_MAX_VOIDED = 1000
_MAX_AGE = re.compile(r"(?:^|[\s,])max-age=(\d{1,9})", re.IGNORECASE | re.ASCII)
_log = logging.getLogger("handstamp.verify")


class WouldWait(Exception):
    """The result needs the network. Call `Keys.wait` in a thread, then verify again: time passes meanwhile."""

    def __init__(self, kid: str = "") -> None:
        """Create it; `kid` is the key that is missing, "" if there is no key set at all."""
        super().__init__(kid)
        self.kid = kid


class Keys(Protocol):
    """The keys of an issuer, as a verifier uses them."""

    @property
    def problem(self) -> str:
        """Why the last request failed, empty if it did not."""

    @property
    def is_ready(self) -> bool:
        """True if there is a key set that can be used."""

    def age_ms(self) -> int | None:
        """Return the milliseconds since the set was fetched, None if it was not."""

    def current(self, monotonic: int) -> KeySet:
        """Return the key set at `monotonic`, which is now in milliseconds.

        Raises:
            Unavailable: There is no set.
            WouldWait: The set must be fetched first.
        """

    def require_unknown(self, kid: str, keys: KeySet) -> None:
        """Return if the key `kid`, which is not in `keys`, is in no newer set, as far as can be known.

        Raises:
            Unavailable: The last request failed. A token whose key cannot be fetched is not therefore invalid.
            WouldWait: There is another set by now, or one must be fetched.
        """

    def wait(self, kid: str) -> None:
        """Fetch what a `WouldWait` is about, unless another thread has done so. Blocks for the time-out of a request at most.

        Raises:
            Unavailable: Another thread's request takes too long.
        """

    def void(self, kid: str) -> None:
        """Remove a key for good: it has leaked."""

    def fetch_in_background(self) -> None:
        """Start a request, unless one is running."""


class GivenKeys:
    """A key set of the application's own, or a function that returns one."""

    problem = ""
    is_ready = True

    def __init__(self, keys: KeySet | Callable[[], KeySet]) -> None:
        """Use a set, or what a function returns at each verification."""
        self._get = keys if callable(keys) else lambda: keys
        self._voided: frozenset[str] = frozenset()
        self._reduced: tuple[KeySet, frozenset[str], KeySet] | None = None
        """A set, what was void then, and the set without that."""

    def age_ms(self) -> None:
        """Return None: nothing was fetched."""

    def current(self, monotonic: int) -> KeySet:  # noqa: ARG002 - the signature of `Keys`
        """Return the set without voided keys."""
        given, voided = self._get(), self._voided
        if not voided:
            return given
        reduced = self._reduced
        if reduced is None or reduced[0] is not given or reduced[1] is not voided:
            reduced = self._reduced = given, voided, given.without(voided)
        return reduced[2]

    def require_unknown(self, kid: str, keys: KeySet) -> None:
        """Return: there is no other set."""

    def wait(self, kid: str) -> None:
        """Return: there is nothing to fetch."""

    def void(self, kid: str) -> None:
        """Remove a key for good: it has leaked."""
        self._voided |= {kid}

    def fetch_in_background(self) -> None:
        """Do nothing: there is nothing to fetch."""


class PublishedKeys(Protocol):
    """A key set that was published."""

    def __len__(self) -> int:
        """Return the number of keys."""

    def find(self, kid: str, /) -> object | None:
        """Return what has this id, None if nothing has."""

    def without(self, kids: Collection[str]) -> Self:
        """Return the set without the keys that have one of these ids."""


_Set = TypeVar("_Set", bound=PublishedKeys)


class RemoteKeys(Generic[_Set]):
    """The key set that an issuer publishes."""

    def __init__(self, fetch: Callable[[], Document], *, parse: Callable[[bytes], _Set], timeout_s: float) -> None:
        """Create it without a request.

        Args:
            fetch: Requests the JWKS.
            parse: Returns the keys of a JWKS, or raises `ConfigurationError` if they are not acceptable.
            timeout_s: Seconds for which a verification waits for the request of another thread.
        """
        self._fetch = fetch
        self._parse = parse
        self._timeout_s = timeout_s
        self._fetching, self._changing = ProcessLock(), ProcessLock()
        self._keys: _Set | None = None
        """The published keys without voided ones."""
        self._published: _Set | None = None
        self._document: bytes | None = None
        self._voided: set[str] = set()
        self._fetched_at_ms = 0
        self._refresh_at_ms = 0
        self._expires_at_ms = 0
        self._missed_at_ms: int | None = None
        self._problem = ""
        reset_in_child(self, RemoteKeys._remove_voided)

    def _remove_voided(self) -> None:
        """Finish in a forked process what a thread of its parent may have begun."""
        if self._published is not None and self._voided:
            self._keys = self._published.without(self._voided)

    @property
    def problem(self) -> str:
        """Why the last request failed, empty if it did not."""
        return self._problem

    @property
    def is_ready(self) -> bool:
        """True if there is a key set that is not too old."""
        return self._is_usable(monotonic_ms())

    def age_ms(self) -> int | None:
        """Return the milliseconds since the set was fetched, None if there is none."""
        return None if self._keys is None else monotonic_ms() - self._fetched_at_ms

    def current(self, monotonic: int) -> _Set:
        """Return the key set at `monotonic`, which is now in milliseconds. Raises as `Keys.current`."""
        if monotonic >= self._refresh_at_ms:
            # An expired set is used without waiting only while requests are known to fail.
            if self._is_usable(monotonic) and (monotonic < self._expires_at_ms or self._problem):
                self.fetch_in_background()
            else:
                raise WouldWait
        keys = self._keys
        if keys is None or monotonic >= self._fetched_at_ms + MAX_AGE_MS:
            raise Unavailable(f"the issuer's keys could not be fetched: {self._problem or 'timed out'}")
        return keys

    def require_unknown(self, kid: str, keys: _Set) -> None:
        """Return if `kid` is in no newer set, as far as can be known. Raises as `Keys.require_unknown`."""
        if kid in self._voided:
            return
        if self._keys is not keys or self._may_miss():
            raise WouldWait(kid)
        if self._problem:
            raise Unavailable(f"the token names an unknown key, and no newer key set can be fetched: {self._problem}")

    def wait(self, kid: str) -> None:
        """Fetch what a `WouldWait` is about, unless another thread has done so. Raises as `Keys.wait`."""
        if not self._fetching.acquire(self._timeout_s):
            if kid or not self._is_usable(monotonic_ms()):
                raise Unavailable("the issuer's keys could not be fetched: timed out")
            self._expires_at_ms = monotonic_ms() + RETRY_MS  # meanwhile the last good set is used
            return
        try:
            keys = self._keys
            if not kid:
                is_due = monotonic_ms() >= self._refresh_at_ms
            elif is_due := keys is not None and keys.find(kid) is None and self._may_miss():
                self._missed_at_ms = monotonic_ms()
            if is_due:
                self._load()
        finally:
            self._fetching.release()

    def void(self, kid: str) -> None:
        """Remove a key for good: it has leaked. Requests a new set, which contains its successor.

        Raises:
            Unavailable: More than 1,000 keys were voided, which no issuer does.
        """
        if len(self._voided) >= _MAX_VOIDED:
            raise Unavailable(f"more than {_MAX_VOIDED} keys were voided")
        if kid not in self._voided:
            with self._changing:
                self._voided.add(kid)
                if self._published is not None and self._published.find(kid) is not None:
                    self._keys = self._published.without(self._voided)
                    self._problem = "the successor of a voided key has not been fetched yet"
                self._refresh_at_ms = 0  # for the next verification, if a fetch is about to end
            self.fetch_in_background()

    def fetch_in_background(self) -> None:
        """Start a request in a thread, unless one is running."""
        if self._fetching.acquire(0):

            def run() -> None:
                try:
                    self._load()
                finally:
                    self._fetching.release()

            try:
                threading.Thread(target=run, name="handstamp-jwks", daemon=True).start()
            except RuntimeError:  # no thread can be started: at exit, or at the system's limit
                self._fetching.release()

    def _is_usable(self, monotonic: int) -> bool:
        return self._keys is not None and monotonic < self._fetched_at_ms + MAX_AGE_MS

    def _may_miss(self) -> bool:
        """Return whether a key that is not in the set may cause a request now."""
        missed_at_ms = self._missed_at_ms
        return missed_at_ms is None or monotonic_ms() >= missed_at_ms + MISS_INTERVAL_MS

    def _load(self) -> None:
        try:
            document = self._fetch()
            if document.body != self._document:
                published = self._parse(document.body)
                with self._changing:
                    self._published, self._keys = published, published.without(self._voided)
                self._document = document.body
        except (Unavailable, ConfigurationError) as error:
            self._problem = error.why if isinstance(error, Unavailable) else f"the issuer's keys are not acceptable: {error}"
            self._refresh_at_ms = monotonic_ms() + RETRY_MS
            _log.warning("the issuer's keys could not be renewed, the last good ones stay for a day: %s", self._problem)
            return
        now_ms, max_age_ms = monotonic_ms(), 1000 * _max_age_s(document)
        with self._changing:  # or a key that is voided now would not be asked for again
            self._fetched_at_ms = now_ms
            self._expires_at_ms = now_ms + max_age_ms
            if self._published is not None and len(self._published) != len(self._published.without(self._voided)):
                self._problem = "the issuer still publishes a key that it has voided"
                self._refresh_at_ms = now_ms + _BEHIND_MS
            else:
                self._problem = ""
                # Before the set expires, and at different times in different verifiers.
                self._refresh_at_ms = now_ms + int(max_age_ms * random.uniform(0.6, 0.8))  # noqa: S311 - it only spreads the load


def parse_keys(document: bytes) -> KeySet:
    """Return the keys of a Handstamp service's JWKS. Raises `ConfigurationError` if they are not acceptable."""
    keys = KeySet.from_jwks(document)
    if keys.is_secret:
        raise ConfigurationError("they contain a secret, with which anybody could sign tokens")
    if not 0 < len(keys) <= MAX_KEYS:
        raise ConfigurationError(f"there are {len(keys)} of them (an issuer that signs with HS256 publishes none)")
    return keys


def _max_age_s(document: Document) -> int:
    found = _MAX_AGE.search(document.cache_control)
    return min(max(int(found[1]) if found else JWKS_MAX_AGE_S, _MIN_AGE_S), _MAX_AGE_S)
