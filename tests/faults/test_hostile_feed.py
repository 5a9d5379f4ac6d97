"""A feed that sends wrong data, stalls or repeats itself: no known revocation is lost, and missing data is introspected."""

from __future__ import annotations

import gzip
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from handstamp import Verifier
from handstamp.verify import revocations
from tests.conformance.builders import as_json
from tests.hostile import (
    FEED,
    INTROSPECT,
    JWKS,
    STALL,
    Asked,
    Hostile,
    Script,
    answer,
    drip,
    ended,
    head,
    hostile,
    html,
    now_s,
    page,
)
from tests.verifying import ShiftedClock, eventually, try_token, verifier_of, wait_for_outcome


@pytest.fixture
def issuer() -> Iterator[Hostile]:
    """Run an issuer that answers correctly unless a test changes its answers."""
    with hostile() as server:
        yield server


@pytest.fixture
def clock() -> ShiftedClock:
    """Return a clock that a test can move past `max_staleness_s` instead of waiting."""
    return ShiftedClock()


def revoke_one(issuer: Hostile, verifier: Verifier) -> tuple[str, str]:
    """Return a valid token, and one whose revocation the verifier has received from the feed."""
    good, over = issuer.token(), issuer.token()
    assert try_token(verifier, over) == "ok"
    issuer.log.append(ended(over))
    wait_for_outcome(verifier, over, "session_ended")
    return good, over


def wait_for_requests(issuer: Hostile, count: int = 2) -> None:
    """Wait until the feed has received `count` more requests."""
    before = issuer.count(FEED)
    assert eventually(lambda: issuer.count(FEED) >= before + count)


def expect_fallback(issuer: Hostile, verifier: Verifier, clock: ShiftedClock, good: str, over: str) -> None:
    """Assert that the feed counts as stale: tokens are introspected, and are refused if introspection fails."""
    assert try_token(verifier, over) == "session_ended"
    clock.shift_s += 4
    age_s = verifier.status().feed_age_s
    assert age_s is None or age_s > 3
    before = issuer.count(INTROSPECT)
    assert try_token(verifier, good) == "ok"
    assert issuer.count(INTROSPECT) == before + 1
    issuer.answers[INTROSPECT] = answer({"active": False})
    assert try_token(verifier, good) == "session_ended"
    issuer.answers[INTROSPECT] = html(502)
    assert try_token(verifier, good) == "unavailable"
    assert try_token(verifier, over) == "session_ended", "what is known to have ended is refused without asking"
    del issuer.answers[INTROSPECT]


def expect_recovery(issuer: Hostile, verifier: Verifier, good: str, over: str) -> None:
    """Assert that the feed's thread is still running: after a correct page, revocations arrive and introspection stops."""
    issuer.answers.pop(FEED, None)
    last = issuer.token()
    issuer.log.append(ended(last))
    assert eventually(lambda: try_token(verifier, last, "offline") == "session_ended")
    assert eventually(lambda: (verifier.status().feed_age_s or 99) < 3)
    before = issuer.count(INTROSPECT)
    assert (try_token(verifier, good), try_token(verifier, over)) == ("ok", "session_ended")
    assert issuer.count(INTROSPECT) == before
    assert verifier.status().problem == ""


def lie(**changes: Any) -> Script:
    """Return an answer with a page that is correct except for `changes`."""
    return answer(page(**{"cursor": "9.lie"} | changes))


def entry(**changes: Any) -> Script:
    """Return an answer with one entry that is correct except for `changes`."""
    sound = {"sid": "somebody", "exp": now_s() + 3660} | changes
    return lie(entries=[{name: value for name, value in sound.items() if value is not None}])


WRONG: Mapping[str, Callable[[], Script]] = {
    "500": lambda: answer({}, 500),
    "401": lambda: answer({}, 401, www_authenticate="Basic"),
    "429": lambda: answer({}, 429, retry_after="3600"),
    "204": lambda: [head(204)],
    "HTML": html,
    "an empty body": lambda: answer(b""),
    "nothing": list,
    "no HTTP": lambda: [b"\x00\x01\x02\x03\r\n\r\n"],
    "gzip": lambda: answer(gzip.compress(as_json(page())), content_encoding="gzip"),
    "cut short": lambda: answer(as_json(page())[:-1]),
    "less than announced": lambda: [head(content_length="9999"), as_json(page())[:-1]],
    "bytes without end": lambda: itertools.chain([head()], itertools.repeat(b" " * 65536)),
    "entries without end": lambda: itertools.chain([head(), b'{"entries":['], itertools.repeat(b'{"sid":"a","exp":1},' * 3000)),
    "null": lambda: answer(None),
    "a list": lambda: answer([page()]),
    "no entries": lambda: answer({"cursor": "1.a", "more": False, "now": now_s()}),
    "no cursor": lambda: answer({"entries": [], "more": False, "now": now_s()}),
    "no now": lambda: answer({"entries": [], "cursor": "1.a", "more": False}),
    "an empty cursor": lambda: lie(cursor=""),
    "a cursor as a number": lambda: lie(cursor=5),
    "a cursor of a megabyte": lambda: lie(cursor="1" * 1_000_000),
    "a cursor that is no ASCII": lambda: lie(cursor="1.\u20ac" * 300),
    "a cursor of half a character": lambda: answer(as_json(page()).replace(b"1.a", b"\\ud800")),
    "more as a number": lambda: lie(more=0),
    "more as text": lambda: lie(more="false"),
    "now as text": lambda: lie(now="1"),
    "now before 1970": lambda: lie(now=-1),
    "now beyond all numbers": lambda: answer(as_json(page(now=0))[:-1].replace(b'"now":0', b'"now":1' + b"0" * 400) + b"}"),
    "entries as an object": lambda: lie(entries={}),
    "an entry that is null": lambda: lie(entries=[None]),
    "an entry that is text": lambda: lie(entries=["somebody"]),
    "an end in a week": lambda: entry(exp=now_s() + 7 * 86_400),
    "an end beyond all numbers": lambda: entry(exp=2**63),
    "an end far beyond": lambda: entry(exp=10**300),
    "an end before 1970": lambda: entry(exp=-1),
    "an end as text": lambda: entry(exp=str(now_s() + 60)),
    "an end as a fraction": lambda: entry(exp=now_s() + 0.5),
    "an end that is true": lambda: entry(exp=True),
    "no end": lambda: entry(exp=None),
    "a session and a key": lambda: entry(kid="k"),
    "neither session nor key": lambda: entry(sid=None),
    "an empty session": lambda: entry(sid=""),
    "a session as a number": lambda: entry(sid=5),
    "a session of a megabyte": lambda: entry(sid="s" * 1_000_000),
    "a key of a megabyte": lambda: entry(sid=None, kid="k" * 1_000_000),
    "a session of half a character": lambda: answer(as_json(page({"sid": "?", "exp": now_s() + 60})).replace(b"?", b"\\udfff")),
    "nested deep": lambda: answer(as_json(page())[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "not UTF-8": lambda: answer(as_json(page({"sid": "?", "exp": now_s() + 60})).replace(b"?", b"\xff")),
    "more, and the same cursor": lambda: answer(page(cursor="1.x", more=True)),
    "more entries than can be held": lambda: lie(entries=[{"sid": f"s{n}", "exp": now_s() + 60} for n in range(600)]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_page_that_is_wrong_changes_nothing(
    issuer: Hostile, clock: ShiftedClock, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole page is refused, the feed becomes stale, and tokens are introspected until a correct page comes (T29, T30)."""
    monkeypatch.setattr(revocations, "MAX_ENTRIES", 500)
    monkeypatch.setattr(revocations, "_MAX_PAUSE_S", 0.05)
    with verifier_of(issuer.url, clock=clock) as verifier:
        good, over = revoke_one(issuer, verifier)
        issuer.answers[FEED] = lambda _: WRONG[wrong]()
        wait_for_requests(issuer)
        assert eventually(lambda: verifier.status().problem != "")
        assert verifier.status().entries == 1
        expect_fallback(issuer, verifier, clock, good, over)
        expect_recovery(issuer, verifier, good, over)


@pytest.mark.parametrize(
    "script",
    [
        lambda: [STALL],
        lambda: [head(content_length="200"), STALL],
        lambda: drip([head(x="y" * 1000)], 0.01),
        lambda: drip([head(content_length="999"), b" " * 999], 0.01),
        lambda: itertools.chain.from_iterable(itertools.repeat((b"HTTP/1.1 100 Continue\r\n\r\n", 0.02))),
    ],
    ids=[
        "no answer",
        "no body",
        "headers in drops",
        "a body in drops",
        "100 Continue",
    ],
)
def test_a_stalled_feed_times_out(issuer: Hostile, clock: ShiftedClock, script: Callable[[], Script]) -> None:
    """The request times out. The feed does not look fresh meanwhile, because its age counts from the request (T30)."""
    with verifier_of(issuer.url, clock=clock, timeout_s=0.3) as verifier:
        good, over = revoke_one(issuer, verifier)
        issuer.answers[FEED] = lambda _: script()
        wait_for_requests(issuer, 1)
        expect_fallback(issuer, verifier, clock, good, over)
        expect_recovery(issuer, verifier, good, over)


@pytest.mark.slow
def test_the_feed_becomes_stale_with_time(issuer: Hostile) -> None:
    """With the real clock, tokens are introspected once the feed is older than `max_staleness_s`, and not before."""
    with verifier_of(issuer.url) as verifier:
        good, over = revoke_one(issuer, verifier)
        issuer.answers[FEED] = html(502)
        asked = issuer.count(INTROSPECT)
        last_s = 0.0
        while issuer.count(INTROSPECT) == asked:
            last_s = verifier.status().feed_age_s or 0.0
            assert (try_token(verifier, good), try_token(verifier, over)) == ("ok", "session_ended")
            time.sleep(0.02)
            assert last_s < 20
        assert (verifier.status().feed_age_s or 0) > 3
        assert last_s <= 3.5


# --- pages that are each correct


def require_refused(issuer: Hostile, verifier: Verifier, tokens: list[str], seconds: float) -> int:
    """Assert for `seconds` that all these tokens are refused; return the number of feed requests in that time."""
    before, until = issuer.count(FEED), time.monotonic() + seconds
    while time.monotonic() < until:
        assert {try_token(verifier, token, "offline") for token in tokens} == {"session_ended"}
        time.sleep(0.01)
    return issuer.count(FEED) - before


def read_feed_cpu_s() -> float:
    """Return the processor time, in seconds, that the threads which follow a feed have used. Other threads do not count."""
    followers = [thread.ident for thread in threading.enumerate() if thread.name == "handstamp-revocations"]
    return max(time.clock_gettime(time.pthread_getcpuclockid(ident)) for ident in followers if ident is not None)


@pytest.mark.slow
@pytest.mark.parametrize("is_moving", [True, False])
def test_a_feed_that_always_has_more_is_never_fresh(issuer: Hostile, clock: ShiftedClock, *, is_moving: bool) -> None:
    """An endless snapshot is never complete. Each page is applied at a limited rate, and tokens are introspected (T30)."""
    numbers = itertools.count(100)
    with verifier_of(issuer.url, clock=clock) as verifier:
        good, over = revoke_one(issuer, verifier)
        new = issuer.token()
        issuer.answers[FEED] = lambda _: answer(page(ended(new), cursor=f"{next(numbers) if is_moving else 99}.x", more=True))
        wait_for_outcome(verifier, new, "session_ended", "offline")
        began = read_feed_cpu_s()
        assert 1 <= require_refused(issuer, verifier, [over, new], 1.0) <= 80
        assert read_feed_cpu_s() - began < 0.95, "it does not spin"
        expect_fallback(issuer, verifier, clock, good, over)
        expect_recovery(issuer, verifier, good, over)


@pytest.mark.slow
def test_an_empty_feed_that_does_not_wait_is_not_polled_without_pause(issuer: Hostile) -> None:
    """An immediate empty page is valid and may mean a busy service. The verifier sends about one request a second."""
    with verifier_of(issuer.url) as verifier:
        _, over = revoke_one(issuer, verifier)
        issuer.answers[FEED] = lambda _: answer(page(cursor="1.x"))
        wait_for_requests(issuer, 1)
        assert 1 <= require_refused(issuer, verifier, [over], 2.0) <= 4
        assert (verifier.status().feed_age_s or 99) < 3


@pytest.mark.slow
def test_repeated_entries_use_no_memory(issuer: Hostile) -> None:
    """Each repeated entry is stored once, and the verifier sends at most about fifty requests a second."""
    with verifier_of(issuer.url) as verifier:
        _, over = revoke_one(issuer, verifier)
        again = [ended(issuer.token()) for _ in range(50)]
        issuer.answers[FEED] = lambda _: answer(page(*again, *again, cursor="1.x"))
        wait_for_requests(issuer, 3)
        assert 1 <= require_refused(issuer, verifier, [over], 1.0) <= 80
        assert verifier.status().entries == 51


def test_a_flooding_feed_is_bounded(issuer: Hostile, clock: ShiftedClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that exceeds the limit is refused and known entries are kept. Tokens are introspected (T28)."""
    monkeypatch.setattr(revocations, "MAX_ENTRIES", 1000)
    numbers = itertools.count()

    def flood(_: Asked) -> Script:
        entries = [{"sid": f"flood-{next(numbers)}", "exp": now_s() + 3660} for _ in range(100)]
        return answer(page(*entries, cursor=f"{next(numbers)}.x", more=True))

    with verifier_of(issuer.url, clock=clock) as verifier:
        good, over = revoke_one(issuer, verifier)
        issuer.answers[FEED] = flood
        assert eventually(lambda: "revocations" in verifier.status().problem)
        assert 900 < verifier.status().entries <= 1000
        expect_fallback(issuer, verifier, clock, good, over)
        assert verifier.status().entries <= 1000


@pytest.mark.slow
def test_a_feed_that_goes_backwards_revives_no_session(issuer: Hostile) -> None:
    """An older cursor, an older clock or an empty list removes no entry from the set; only expiry does (T30)."""
    with verifier_of(issuer.url) as verifier:
        _, over = revoke_one(issuer, verifier)
        backwards = itertools.cycle(
            [
                page(cursor="0.x", now=now_s() - 10**6),
                page(cursor="0.y", now=1),
                page({"sid": "another", "exp": now_s() - 5}, cursor="0.z", snapshot=True),
                page(ended(over, in_s=1), cursor="0.a"),
                page(ended(over, in_s=-100), cursor="0.b", now=2**52),
            ]
        )
        issuer.answers[FEED] = lambda _: answer(next(backwards))
        require_refused(issuer, verifier, [over], 1.0)
        wait_for_requests(issuer, 1)
        verifier.status()
        assert try_token(verifier, over) == "session_ended"


def test_an_entry_is_kept_until_the_latest_of_its_ends(issuer: Hostile, clock: ShiftedClock) -> None:
    """If the feed sends an entry twice with different expiry times, the later one counts, in either order (R53)."""
    with verifier_of(issuer.url, clock=clock) as verifier:
        tokens = [issuer.token(exp=now_s() + 3600) for _ in range(2)]
        for first_s, then_s, token in ((60, 3660, tokens[0]), (3660, 60, tokens[1])):
            issuer.log += [ended(token, in_s=first_s), ended(token, in_s=then_s)]
        for token in tokens:
            wait_for_outcome(verifier, token, "session_ended", "offline")
        issuer.answers[FEED] = lambda _: answer(page(cursor="4.x"))
        clock.shift_s = 1800
        wait_for_requests(issuer)
        assert {try_token(verifier, token, "offline") for token in tokens} == {"session_ended"}


def test_unknown_members_are_ignored(issuer: Hostile) -> None:
    """A newer service may send additional members; they are ignored."""
    with verifier_of(issuer.url) as verifier:
        token = issuer.token()
        issuer.answers[FEED] = lambda _: answer(
            page(ended(token) | {"why": {"reason": ["logout"]}}, cursor="1.x", shard=[1, {"a": None}])
        )
        wait_for_outcome(verifier, token, "session_ended")
        assert verifier.status().problem == ""


def test_a_key_that_the_feed_voids_by_mistake_is_only_that_key(issuer: Hostile) -> None:
    """Unknown key ids cost nothing. A feed with more than a thousand voided keys is refused."""
    with verifier_of(issuer.url) as verifier:
        good, over = revoke_one(issuer, verifier)
        issuer.answers[FEED] = lambda _: answer(
            page(*({"kid": f"key-{n}", "exp": now_s() + 60} for n in range(2000)), cursor="9.x")
        )
        assert eventually(lambda: "voided" in verifier.status().problem)
        assert (try_token(verifier, good), try_token(verifier, over)) == ("ok", "session_ended")
        assert issuer.count(JWKS) <= 5


# --- introspection


@pytest.mark.parametrize(
    "script",
    [
        lambda _: html(),
        lambda _: html(502),
        lambda _: answer({}, 401),
        lambda _: answer({"active": True}, 500),
        lambda _: answer({}),
        lambda _: answer({"active": "true"}),
        lambda _: answer({"active": "false"}),
        lambda _: answer({"active": 1}),
        lambda _: answer({"active": 0}),
        lambda _: answer({"active": None}),
        lambda _: answer([{"active": True}]),
        lambda _: answer(b"true"),
        lambda _: answer(b"false"),
        lambda _: answer(b""),
        lambda _: answer(b'{"active":false'),
        lambda _: answer({"Active": False}),
        lambda _: answer({"active": True}),
        lambda _: answer({"active": True, "sid": "session-of-another", "jti": "token-1"}),
        lambda sid: answer({"active": True, "sid": sid, "jti": "token-2"}),
        lambda sid: answer({"active": True, "sid": sid}),
        lambda sid: answer({"active": True, "sid": [sid], "jti": "token-1"}),
        lambda sid: answer({"active": True, "sid": sid.upper(), "jti": "token-1"}),
        lambda _: answer(b" " * 70_000 + b'{"active":false}'),
        lambda _: answer(b'{"active":false,"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
        lambda _: answer(gzip.compress(b'{"active":false}'), content_encoding="gzip"),
        lambda _: answer(b"", 302, location="/healthz"),
        lambda _: answer({"active": False}, 403),
        lambda _: [],
        lambda _: [head(content_length="17"), b'{"active":false']
    ],
)  # fmt: skip
def test_a_malformed_introspection_answer_is_unavailable(issuer: Hostile, script: Callable[[str], Script]) -> None:
    """An invalid introspection answer means 503: the token is neither accepted nor reported as revoked (R26, R50)."""
    token = issuer.token()
    issuer.answers[INTROSPECT] = script(token_sid(token))
    with verifier_of(issuer.url, check="live", wait=False) as verifier:
        assert try_token(verifier, token) == "unavailable"
        assert try_token(verifier, token, "offline") == "ok"


@pytest.mark.parametrize("script", [[STALL], [head(content_length="50"), STALL]])
def test_a_service_that_stalls_is_unavailable(issuer: Hostile, script: Script) -> None:
    """After a timeout, requests within the next second fail at once, so an outage does not block all threads."""
    issuer.answers[INTROSPECT] = script
    with verifier_of(issuer.url, check="live", wait=False, timeout_s=0.3) as verifier:
        token = issuer.token()
        assert try_token(verifier, token) == "unavailable"
        began = time.monotonic()
        assert {try_token(verifier, token) for _ in range(20)} == {"unavailable"}
        assert issuer.count(INTROSPECT) <= 1 + (time.monotonic() - began)
        del issuer.answers[INTROSPECT]
        assert wait_for_outcome(verifier, token, "ok") == {"unavailable"}


def test_not_active_means_ended_unless_the_token_is_at_its_end(issuer: Hostile) -> None:
    """Near its expiry, an inactive token is reported as expired, because the clocks may differ: the client must refresh (T32)."""
    issuer.answers[INTROSPECT] = answer({"active": False})
    with verifier_of(issuer.url, check="live", wait=False, leeway_s=5) as verifier:
        assert try_token(verifier, issuer.token()) == "session_ended"
        for left_s in (3, 0, -3):
            assert try_token(verifier, issuer.token(iat=now_s() - 60, exp=now_s() + left_s)) == "expired_token"
        assert try_token(verifier, issuer.token(iat=now_s() - 60, exp=now_s() + 60)) == "session_ended"


def test_an_inactive_answer_is_not_cached(issuer: Hostile) -> None:
    """An inactive answer is about one token at one moment, so it is not cached. Revocations come from the feed."""
    token = issuer.token()
    issuer.answers[INTROSPECT] = answer({"active": False})
    with verifier_of(issuer.url, wait=False) as verifier:
        assert try_token(verifier, token, "live") == "session_ended"
        assert try_token(verifier, token, "offline") == "ok"
        del issuer.answers[INTROSPECT]
        assert try_token(verifier, token, "live") == "ok"


def token_sid(token: str) -> str:
    """Return the session id in a token."""
    return str(ended(token)["sid"])
