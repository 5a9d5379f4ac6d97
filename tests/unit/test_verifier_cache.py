"""The cache of verified tokens. It must save work and never accept what verification would refuse."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handstamp import ExpiredToken, HandstampError, InvalidToken, KeySet, Verifier
from handstamp.crypto.algorithms import ALGORITHMS
from handstamp.crypto.jwk import SigningKey
from handstamp.verify.cache import Cache
from tests.builders import Clock
from tests.conformance.builders import (
    ABSENT,
    AUDIENCE,
    ISSUER,
    LEEWAY_S,
    LIFETIME_S,
    NOW_S,
    access_claims,
    access_header,
    compact,
)

KEY, OTHER_KEY = SigningKey.generate("ES256"), SigningKey.generate("ES256")


class Keys:
    """A key set that a test changes."""

    def __init__(self, *keys: SigningKey) -> None:
        """Hold the public keys of `keys`."""
        self.set(*keys)

    def set(self, *keys: SigningKey) -> None:
        """Replace the keys."""
        self.now = KeySet(key.public for key in keys)

    def __call__(self) -> KeySet:
        """Return the current key set."""
        return self.now


def token(key: SigningKey = KEY, **claims: Any) -> str:
    """Return a token that is valid at `NOW_S`."""
    return compact(access_header(key), access_claims(**claims), key.sign)


def verifier(keys: Keys | KeySet, **options: Any) -> Verifier:
    """Return an offline verifier at `NOW_S`."""
    defaults: dict[str, Any] = {"audience": AUDIENCE, "check": "offline", "leeway_s": LEEWAY_S, "clock": Clock(NOW_S * 1000)}
    return Verifier(ISSUER, keys=keys, **defaults | options)


# --- the cache itself


@given(
    size=st.integers(0, 9),
    steps=st.lists(st.tuples(st.sampled_from(["get", "put"]), st.sampled_from("abcdefghijklmnop")), max_size=80),
)
def test_the_cache_is_bounded_and_keeps_recent_tokens(size: int, steps: list[tuple[str, str]]) -> None:
    """The cache never has more than `size` values or a wrong one, and it keeps the last `size // 2` distinct ones."""
    cache: Cache[str] = Cache(size)
    used: list[str] = []
    for verb, key in steps:
        if verb == "put":
            cache.put(key, f"value of {key}")
        elif cache.get(key) is None:
            continue
        used = [*(other for other in used if other != key), key]
        assert len(cache) <= size
        kept = used[len(used) - size // 2 :]
        assert all(key in cache._new or key in cache._old for key in kept)
    assert all(cache.get(key) in (None, f"value of {key}") for key in "abcdefghijklmnop")


@pytest.mark.parametrize("size", [0, 1, 2, 3, 10_000])
def test_a_flood_of_tokens_takes_no_more_memory_than_was_allowed(size: int) -> None:
    """The cache does not grow beyond its size. The last value is always found, unless the size is 0 (T27)."""
    cache: Cache[int] = Cache(size)
    for number in range(25_000):
        cache.put(f"token {number}", number)
    assert len(cache) <= size
    assert cache.get("token 24999") == (24_999 if size else None)


def test_concurrent_threads_read_correct_values_or_none() -> None:
    """Concurrent threads may lose a value of the lock-free cache, but never get a wrong value or an error."""
    cache: Cache[str] = Cache(64)
    wrong: list[Any] = []
    begin = threading.Barrier(8)

    def work(seed: int) -> None:
        begin.wait()
        for step in range(20_000):
            key = str((step * 7919 + seed) % 200)
            found = cache.get(key)
            if found is None:
                cache.put(key, key)
            elif found != key:
                wrong.append((key, found))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert not wrong
    assert len(cache) <= 64 + 8  # each thread may add one value after another thread has checked the size


# --- a hit is as strict as a miss


@given(at_s=st.integers(NOW_S - 100, NOW_S + LIFETIME_S + 100), early_s=st.integers(0, 60) | st.none())
def test_a_cached_token_has_the_same_result_as_a_fresh_check(at_s: int, early_s: int | None) -> None:
    """A cached token gives the same result as an uncached one, at any time around `iat`, `nbf`, `exp` and the leeway."""
    presented = token(nbf=ABSENT if early_s is None else NOW_S + early_s)
    cached, uncached = verifier(KeySet([KEY.public])), verifier(KeySet([KEY.public]), cache_size=0)
    cached.verify(presented, now_ms=(NOW_S + 100) * 1000)

    def outcome(of: Verifier) -> str:
        try:
            of.verify(presented, now_ms=at_s * 1000)
        except HandstampError as refused:
            return refused.code
        return "ok"

    assert outcome(cached) == outcome(uncached)
    assert uncached.status().cached_tokens == 0


def test_a_cached_token_is_refused_once_expired() -> None:
    """A cached token expires at `exp` plus the leeway, to the second, as in RFC 7519 §4.1.4 (T30)."""
    clock = Clock(NOW_S * 1000)
    seen, presented = verifier(KeySet([KEY.public]), clock=clock), token()
    seen.verify(presented)
    clock.advance(seconds=LIFETIME_S + LEEWAY_S - 1)
    seen.verify(presented)
    clock.advance(seconds=1)
    with pytest.raises(ExpiredToken):
        seen.verify(presented)


def test_a_cached_token_is_refused_once_its_key_is_gone() -> None:
    """A cached token is refused once its key was removed, which may have leaked (R30, R31).

    A different key with the same `kid` does not count as the same key.
    """
    keys = Keys(KEY)
    seen, presented = verifier(keys), token()
    seen.verify(presented)
    keys.set(OTHER_KEY)
    with pytest.raises(InvalidToken):
        seen.verify(presented)
    keys.set(SigningKey(OTHER_KEY._private, algorithm="ES256", kid=KEY.kid))
    with pytest.raises(InvalidToken):
        seen.verify(presented)
    keys.set(KEY)
    assert seen.verify(presented).sub == "account-1"


def test_a_cached_token_is_refused_once_its_key_is_void() -> None:
    """A cached token is refused once its key is void, even if the application still supplies that key (R31)."""
    keys = Keys(KEY, OTHER_KEY)
    seen, good = verifier(keys), token(OTHER_KEY)
    presented = token()
    seen.verify(presented)
    seen.verify(good)
    seen._keys.void(KEY.kid)
    for _ in range(2):
        with pytest.raises(InvalidToken):
            seen.verify(presented)
        seen.verify(good)
    keys.set(KEY, OTHER_KEY)  # the application loads its keys again
    with pytest.raises(InvalidToken):
        seen.verify(presented)
    seen.verify(good)


def test_refusals_are_not_cached() -> None:
    """Refusals are not cached, because the key may arrive later. Repeating a refused token does not admit it."""
    keys = Keys(OTHER_KEY)
    seen, presented = verifier(keys), token()
    for _ in range(3):
        with pytest.raises(InvalidToken):
            seen.verify(presented)
    assert seen.status().cached_tokens == 0
    keys.set(KEY)
    assert seen.verify(presented).sub == "account-1"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_other_spellings_of_a_cached_token_are_refused(algorithm: Any) -> None:
    """The cache is keyed by the whole token, so a token with any changed character is verified (T30, R16)."""
    key = SigningKey.generate(algorithm)
    seen, presented = verifier(KeySet([key.public])), token(key)
    seen.verify(presented)
    for place in range(0, len(presented), 1 if algorithm == "ES256" else 29):
        if presented[place] == ".":
            continue
        other = presented[:place] + ("A" if presented[place] != "A" else "B") + presented[place + 1 :]
        with pytest.raises(InvalidToken):
            seen.verify(other)
    for changed in (
        presented + "=",
        presented + " ",
        " " + presented,
        presented + "\n",
        presented[:-1],
        presented + "A",
        presented.lower(),
    ):
        with pytest.raises(InvalidToken):
            seen.verify(changed)
    assert seen.status().cached_tokens == 1


def test_two_verifiers_share_nothing() -> None:
    """Verifiers do not share a cache: another audience or issuer refuses the token (R6)."""
    keys = KeySet([KEY.public])
    mine, yours = verifier(keys), verifier(keys, audience="https://other.example.org")
    elsewhere = Verifier("https://staging.example.org", audience=AUDIENCE, keys=keys, check="offline", clock=Clock(NOW_S * 1000))
    presented = token()
    for _ in range(2):
        assert mine.verify(presented).aud == AUDIENCE
        for other in (yours, elsewhere):
            with pytest.raises(InvalidToken):
                other.verify(presented)
    assert yours.status().cached_tokens == elsewhere.status().cached_tokens == 0


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_tiny_cache_is_only_slower(size: int) -> None:
    """Any `cache_size` works, including 0, which keeps no tokens in memory."""
    seen = verifier(KeySet([KEY.public]), cache_size=size)
    tokens = [token(jti=f"token-{number}") for number in range(4)]
    for presented in tokens * 2:
        assert seen.verify(presented).sub == "account-1"
        assert seen.status().cached_tokens <= size
