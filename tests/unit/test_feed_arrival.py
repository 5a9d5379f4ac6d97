"""What the revocation feed brings while a token is verified. A set that became complete after it was read says nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from handstamp import InvalidToken, SessionEnded, Verifier
from handstamp.crypto import jws
from handstamp.domain.claims import ACCESS_TYPE, AccessClaims
from handstamp.testing.feed import LocalFeed
from tests.unit.test_verifier_cache import KEY, OTHER_KEY, Keys, token, verifier


class ArrivingFeed(LocalFeed):
    """A feed whose first complete answer arrives at the moment when a verification looks at its age."""

    def __init__(self, arrive: Callable[[], None]) -> None:
        """Call `arrive` then."""
        super().__init__()
        self._arrive = arrive

    def age_ms(self, now_ms: int, monotonic: int) -> int | None:
        """Apply the answer and return its age."""
        self._arrive()
        return super().age_ms(now_ms, monotonic)


def following(keys: Keys, arrive: Callable[[Verifier], None]) -> Verifier:
    """Return a verifier whose feed arrives in the middle of each verification."""
    result = verifier(keys, check="feed", credential="id:secret", service_url="http://127.0.0.1:1")
    result._feed = ArrivingFeed(lambda: arrive(result))
    return result


def claims_of(text: str) -> AccessClaims:
    """Return the claims of a token of the tests."""
    return jws.verify(text, Keys(KEY).now, typ=ACCESS_TYPE, shape=AccessClaims)


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_session_that_arrives_as_ended_is_refused(is_cached: bool) -> None:
    """The session of a token is looked up after the age of the feed, so no complete set is missed (R53)."""
    text = token()
    checked = following(Keys(KEY), lambda it: it._revoked.add(claims_of(text).sid, claims_of(text).exp))
    if is_cached:
        checked.verify(text, check="offline")
    with pytest.raises(SessionEnded):
        checked.verify(text)


def test_a_session_that_arrives_as_ended_is_not_confirmed() -> None:
    """`confirm` reads in the same order."""
    text = token()
    checked = following(Keys(KEY), lambda it: it._revoked.add(claims_of(text).sid, claims_of(text).exp))
    with pytest.raises(SessionEnded):
        asyncio.run(checked.confirm(claims_of(text)))


@pytest.mark.parametrize("is_cached", [False, True])
def test_a_key_that_arrives_as_void_is_refused(is_cached: bool) -> None:
    """The key set is read after the age of the feed, too: a leaked key is void as soon as the feed has said so."""
    keys = Keys(KEY, OTHER_KEY)
    checked = following(keys, lambda _: keys.set(OTHER_KEY))
    if is_cached:
        checked.verify(token(), check="offline")
    with pytest.raises(InvalidToken):
        checked.verify(token())
