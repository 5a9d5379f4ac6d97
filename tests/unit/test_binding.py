"""When a session gets the key of a device, and what becomes of one that gets none in time."""

from __future__ import annotations

import msgspec
import pytest

from handstamp.domain.binding import Bound, DeviceKey, Refused, bind, register
from handstamp.domain.policy import Policy
from handstamp.domain.rotation import Ended, Repeat
from handstamp.domain.session import end_reason, refresh_expires_at_s, revoke
from tests.builders import MINUTE_MS, NOW_MS, a_session, an_account

KEY = DeviceKey('{"crv":"P-256","kty":"EC","x":"x","y":"y"}', "dbsc")
OTHER = DeviceKey('{"crv":"P-256","kty":"EC","x":"y","y":"x"}', "dbsc")
POLICY = Policy()
IN_TIME_MS = NOW_MS + 5 * MINUTE_MS - 1


@pytest.mark.parametrize("now_ms", [NOW_MS, IN_TIME_MS])
def test_a_key_is_set_within_five_minutes(now_ms: int) -> None:
    """The key, how it is proved and when are set together, and nothing else changes."""
    outcome = register(a_session(), None, KEY, now_ms, POLICY)
    assert outcome == Bound(a_session(bound_key=KEY.jwk, bound_by="dbsc", bound_at_ms=now_ms))


def test_a_late_key_is_refused() -> None:
    """What has stolen the cookies of an old session cannot bind it to its own device."""
    assert register(a_session(), None, KEY, IN_TIME_MS + 1, POLICY) == Refused("too_late")


def test_a_key_is_never_replaced() -> None:
    """Another one is refused, and so is the same one of another standard."""
    session = bind(a_session(), KEY, NOW_MS)
    assert register(session, None, OTHER, NOW_MS, POLICY) == Refused("another_key")
    assert register(session, None, DeviceKey(KEY.jwk, "dpop"), NOW_MS, POLICY) == Refused("another_key")


def test_a_registration_is_repeated_until_the_session_goes_on() -> None:
    """The same key again is a repeat: its answer got lost. Later it is a copy, whose proof has no time in it."""
    session = bind(a_session(), KEY, IN_TIME_MS)
    last_ms = IN_TIME_MS + POLICY.access_lifetime_ms - 1
    assert register(session, None, KEY, last_ms, POLICY) == Repeat(session)
    assert register(session, None, KEY, last_ms + 1, POLICY) == Refused("used")
    renewed = msgspec.structs.replace(session, generation=1, rotated_at_ms=IN_TIME_MS + 1)
    assert register(renewed, None, KEY, IN_TIME_MS + 1, POLICY) == Refused("used")


def test_where_binding_is_off_no_session_gets_a_key() -> None:
    """Those that have one keep it."""
    off = Policy(device_binding="off")
    assert register(a_session(), None, KEY, NOW_MS, off) == Refused("off")
    session = bind(a_session(), KEY, NOW_MS)
    assert register(session, None, KEY, NOW_MS, off) == Repeat(session)


def test_a_session_that_has_ended_gets_no_key() -> None:
    """Its reason is told, so that the browser forgets it."""
    assert register(None, None, KEY, NOW_MS, POLICY) == Ended("expired")
    assert register(revoke(a_session(), "logout", NOW_MS), None, KEY, NOW_MS, POLICY) == Ended("logout")
    assert register(a_session(epoch=1), an_account(epoch=2), KEY, NOW_MS, POLICY) == Ended("logout_everywhere")


@pytest.mark.parametrize("policy", [Policy(), Policy(device_binding="off")])
def test_a_session_that_need_not_be_bound_lives_on(policy: Policy) -> None:
    """By default nobody is signed out because a browser cannot bind."""
    assert end_reason(a_session(policy=policy), None, IN_TIME_MS + 1) is None


def test_a_session_that_must_be_bound_ends_without_a_key() -> None:
    """Its refresh token expires then too, and with it every access token."""
    session = a_session(policy=Policy(device_binding="required"))
    assert refresh_expires_at_s(session) == (NOW_MS + 5 * MINUTE_MS) // 1000
    assert end_reason(session, None, IN_TIME_MS) is None
    assert end_reason(session, None, IN_TIME_MS + 1) == "unbound"
    bound = bind(session, KEY, IN_TIME_MS)
    assert end_reason(bound, None, IN_TIME_MS + 1) is None
    assert refresh_expires_at_s(bound) == refresh_expires_at_s(a_session())


def test_the_first_reason_for_the_end_counts() -> None:
    """A sign-out before the deadline stays a sign-out."""
    session = revoke(a_session(policy=Policy(device_binding="required")), "logout", NOW_MS)
    assert end_reason(session, None, IN_TIME_MS + 1) == "logout"
