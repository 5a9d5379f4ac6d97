"""What happens in the middle of a verification: keys, ended sessions and clocks that change between two of its steps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from handstamp import ExpiredToken, SessionEnded, Unavailable, Verifier
from handstamp.clock import monotonic_ms
from handstamp.crypto.jwk import KeySet, SigningKey
from handstamp.testing.feed import LocalFeed
from handstamp.verify import jwks
from handstamp.verify.authenticator import Authenticator
from handstamp.verify.fetch import Document
from handstamp.verify.jwks import GivenKeys, RemoteKeys, parse_keys
from handstamp.verify.revocations import FeedFollower, RevocationSet
from tests.builders import Clock
from tests.conformance.builders import LEEWAY_S, LIFETIME_S, NOW_S, as_json
from tests.unit.test_feed_arrival import following
from tests.unit.test_verifier_cache import KEY, OTHER_KEY, Keys, token, verifier
from tests.verifying import eventually, try_token

NEVER_MS = 10**9
ROOT = Path(__file__).parents[2]


def published(*keys: SigningKey) -> Document:
    """Return the document that publishes these keys."""
    return Document(as_json(KeySet(key.public for key in keys).to_jwks()))


def fetching(fetch: Callable[[], Document], **options: Any) -> Verifier:
    """Return a verifier that fetches its keys by this function."""
    result = verifier(KeySet([KEY.public]), **options)
    result._keys = RemoteKeys(fetch, parse=parse_keys, timeout_s=60)
    return result


# --- keys


def test_a_key_that_is_voided_while_another_one_is_removed_stays_void() -> None:
    """The set without voided keys is kept, but not beyond the next voiding (R31)."""

    class Slow(KeySet):
        def without(self, kids: Collection[str]) -> KeySet:
            reduced = super().without(kids)
            held.void(KEY.kid)
            return reduced

    held = GivenKeys(Slow([KEY.public, OTHER_KEY.public]))
    held.void("another")
    held.current(0)
    assert [held.current(0).find(key.kid) is None for key in (KEY, OTHER_KEY)] == [True, False]


def test_a_key_that_is_voided_at_the_end_of_a_fetch_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fetch that was under way brought no successor, so it must not put off the next one (R31)."""
    fetched: list[int] = []

    def fetch() -> Document:
        fetched.append(1)
        return published(KEY)

    voiding = threading.Thread(target=lambda: held.void(KEY.kid))

    def end_of_fetch(*_: float) -> float:
        if len(fetched) == 1:
            voiding.start()
            voiding.join(0.3)  # it waits until the fetch is complete
        return 0.7

    held = RemoteKeys(fetch, parse=parse_keys, timeout_s=60)
    monkeypatch.setattr("handstamp.verify.jwks.random.uniform", end_of_fetch)
    held.wait("")
    voiding.join()
    assert held.current(monotonic_ms()).find(KEY.kid) is None
    assert eventually(lambda: len(fetched) == 2)


def test_a_token_of_the_successor_is_not_invalid_before_it_is_fetched() -> None:
    """A stranger has used up the fetch for unknown keys. The service's new tokens get 503, not 401, until it answers."""
    answers, may_answer = [published(KEY), published(KEY)], threading.Event()

    def fetch() -> Document:
        if answers:
            return answers.pop()
        assert may_answer.wait(60)
        return published(OTHER_KEY)

    checked = fetching(fetch)
    assert try_token(checked, token()) == "ok"
    assert try_token(checked, token(OTHER_KEY)) == "invalid_token"
    checked._keys.void(KEY.kid)
    assert try_token(checked, token(OTHER_KEY)) == "unavailable"
    assert try_token(checked, token()) == "invalid_token"
    may_answer.set()
    assert eventually(lambda: try_token(checked, token(OTHER_KEY)) == "ok")
    assert checked.status().problem == ""


def test_a_set_that_is_replaced_while_a_token_is_verified_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread's fetch brings the key between the look-up and the search for a newer set."""
    checked = fetching(lambda: published(OTHER_KEY))
    keys = checked._keys
    keys.wait("")
    keys._missed_at_ms = monotonic_ms() + NEVER_MS  # type: ignore[attr-defined]  # no unknown key may cause a request
    verify, newer = checked._verify_signature, [KeySet([KEY.public])]

    def replace_first(*arguments: Any) -> Any:
        if newer:
            keys._keys = newer.pop()  # type: ignore[attr-defined]
        return verify(*arguments)

    monkeypatch.setattr(checked, "_verify_signature", replace_first)
    assert try_token(checked, token()) == "ok"


def test_threads_wait_for_a_hanging_fetch_once() -> None:
    """An expired set is used again after one time-out, not after one for each verification."""
    answers, hangs, may_end = [Document(published(KEY).body, "max-age=30")], threading.Event(), threading.Event()

    def fetch() -> Document:
        if answers:
            return answers.pop()
        hangs.set()
        assert may_end.wait(60)
        return published(KEY)

    held = RemoteKeys(fetch, parse=parse_keys, timeout_s=0.05)
    held.wait("")
    held._refresh_at_ms = held._expires_at_ms = 0
    fetcher = threading.Thread(target=held.wait, args=("",))
    fetcher.start()
    assert hangs.wait(60)
    with pytest.raises(jwks.WouldWait):
        held.current(monotonic_ms())
    held.wait("")
    assert held.current(monotonic_ms()).find(KEY.kid) is not None
    with pytest.raises(Unavailable):
        held.wait("unknown")
    may_end.set()
    fetcher.join()


# --- the time that passes while a verification waits for keys


def test_a_token_that_expires_while_keys_are_fetched_is_refused() -> None:
    """A token is verified for the time after the fetch, not for the time at which the request arrived."""
    clock = Clock(NOW_S * 1000)

    def fetch() -> Document:
        clock.advance(seconds=LIFETIME_S + LEEWAY_S)
        return published(KEY)

    with pytest.raises(ExpiredToken):
        fetching(fetch, clock=clock).verify(token())


def test_a_feed_that_falls_silent_while_keys_are_fetched_is_not_relied_on() -> None:
    """The age of the feed counts from after the fetch, too: the service is asked, and says that the session has ended."""
    clock, feed, asked = Clock(NOW_S * 1000), LocalFeed(), []

    def fetch() -> Document:
        feed.silent_since_ms = clock()
        clock.advance(seconds=31)
        return published(KEY)

    def introspect(text: str) -> Any:
        asked.append(text)
        raise SessionEnded

    checked = fetching(fetch, clock=clock, check="feed", credential="id:secret", service_url="http://127.0.0.1:1")
    checked._feed, checked._introspect = feed, introspect
    with pytest.raises(SessionEnded):
        checked.verify(token())
    assert len(asked) == 1


# --- ended sessions


def test_an_ended_session_that_is_dropped_in_the_middle_is_refused() -> None:
    """The clock leaps, and the feed's thread drops the session, between the reading of the feed's age and the look-up (R53)."""
    checked = following(Keys(KEY), lambda it: it._revoked.drop_expired(NOW_S + NEVER_MS))
    checked._revoked.add("session-1", NOW_S + LIFETIME_S)
    with pytest.raises(SessionEnded):
        checked.verify(token())


def test_a_clock_that_is_set_back_in_the_middle_makes_nothing_recent() -> None:
    """The feed's thread forgets its readings while another thread compares them (T28)."""
    clock = Clock(NOW_S * 1000)

    class SetBack(FeedFollower):
        def __getattribute__(self, name: str) -> Any:
            value = super().__getattribute__(name)
            if name in ("_complete_at", "_latest_ms"):
                self._complete_at, self._latest_ms = None, 0  # as `_run` does, in the middle of `age_ms`
            return value

    def follow(kind: type[FeedFollower]) -> FeedFollower:
        follower = kind(lambda _: b"", RevocationSet(), lambda _: None, wait_s=1, clock=clock)
        follower._complete_at, follower._latest_ms = (0, clock()), clock()
        return follower

    assert follow(FeedFollower).age_ms(clock(), 0) == 0
    hour_ago_ms = clock() - 3600_000
    assert follow(FeedFollower).age_ms(hour_ago_ms, 0) is None
    assert follow(SetBack).age_ms(hour_ago_ms, 0) is None


# --- threads


@pytest.mark.anyio
async def test_without_a_thread_nothing_can_be_known() -> None:
    """At the system's limit of threads, or at exit, the answer is 503 and not 500 (R26)."""
    checked = fetching(lambda: published(KEY))
    checked._threads.shutdown()
    with pytest.raises(Unavailable):
        await checked.verify_async(token())
    checked._keys.wait("")
    assert (await checked.verify_async(token())).sid == "session-1"


def test_first_requests_that_arrive_together_make_one_verifier() -> None:
    """A second one would follow a second feed."""
    together, made = threading.Barrier(2), []

    def make() -> Verifier:
        made.append(verifier(KeySet([KEY.public])))
        try:
            together.wait(0.3)
        except threading.BrokenBarrierError:
            return made[-1]
        pytest.fail("two threads make a verifier")

    lazy = Authenticator(make)
    seen: list[object] = []
    threads = [threading.Thread(target=lambda: seen.append(lazy.verifier)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert seen == made * 2


# --- processes

FORK_IN_THE_MIDDLE = """
import os, sys, threading
from tests.adapters import django_project
from tests.unit.test_verifier_races import *
from handstamp.verify import django

given, fetched = verifier(Keys(KEY, OTHER_KEY)), fetching(lambda: published(KEY, OTHER_KEY))
for each in (given, fetched):
    assert try_token(each, token()) == "ok"
    each._keys.void(KEY.kid)
fetched._keys.wait("")
half = fetching(lambda: published(KEY, OTHER_KEY))
assert try_token(half, token()) == "ok"
half._keys._voided.add(KEY.kid)  # as if a thread were about to remove the key
lazy, held, forked = Authenticator(lambda: given), threading.Event(), threading.Event()

def hold():
    with lazy._making, django._lock, fetched._keys._fetching, fetched._keys._changing:
        held.set()
        forked.wait(60)

thread = threading.Thread(target=hold)
thread.start()
held.wait(60)
child = os.fork()
if not child:
    assert lazy.verifier is given
    assert django.authenticator().verifier.issuer
    for each in (given, fetched, half):
        assert try_token(each, token()) == "invalid_token", each
        assert try_token(each, token(OTHER_KEY)) == "ok", each
    fetched._keys.wait("unknown")
    fetched._keys.void(OTHER_KEY.kid)
    os._exit(7)
forked.set()
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_knows_void_keys_and_waits_for_no_thread_of_its_parent() -> None:
    """A thread of the parent holds every lock of verifier and adapters. The child needs none of them, and forgets no key."""
    command = [sys.executable, "-c", FORK_IN_THE_MIDDLE]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout == "7\n", ran.stderr


GREENLETS = """
import time
from tests.unit.test_verifier_races import *

def fetch():
    time.sleep(0.1)  # other greenlets run meanwhile
    return published(KEY)

checked = fetching(fetch)
checked._keys._timeout_s = 5
import gevent, gevent.monkey
gevent.monkey.patch_all()
jobs = [gevent.spawn(try_token, checked, token(jti=str(number))) for number in range(3)]
gevent.joinall(jobs)
print([job.value for job in jobs])
"""


@pytest.mark.slow
def test_greenlets_wait_for_one_fetch() -> None:
    """The verifier was made before gevent replaced the locks. One of before would block the greenlet that holds it, too."""
    command = [sys.executable, "-W", "ignore", "-c", GREENLETS]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert ran.stdout == "['ok', 'ok', 'ok']\n", ran.stderr
