"""The life of signing keys: published, active, retiring, gone. It depends only on times."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from handstamp.domain.keyring import (
    JWKS_MAX_AGE_S,
    PUBLISH_AHEAD_MS,
    ROTATE_AFTER_MS,
    KeyRecord,
    KeyState,
    find_late_steps,
    find_next_publication,
    find_signing_key,
    find_state,
    make_timetable,
    needs_successor,
    select_compatible,
)
from handstamp.domain.policy import MAX_LEEWAY_S
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS

ACCESS_MS = HOUR_MS
KEEP_MS = ACCESS_MS + (JWKS_MAX_AGE_S + MAX_LEEWAY_S) * 1000
"""R30: after its last signature a key stays for the longest access lifetime, the leeway and the lifetime of a cached key set."""


def key(kid: str, *, active_from_ms: int, algorithm: str = "ES256") -> KeyRecord:
    """Return a key that may sign from `active_from_ms` on."""
    return KeyRecord(
        kid=kid,
        algorithm=algorithm,
        sealed=b"private part",
        created_at_ms=active_from_ms - PUBLISH_AHEAD_MS,
        active_from_ms=active_from_ms,
    )


OLD = key("old", active_from_ms=NOW_MS)
NEXT = key("next", active_from_ms=NOW_MS + DAY_MS)
LAST = key("last", active_from_ms=NOW_MS + DAY_MS + 5 * MINUTE_MS)
TAKEN_OVER_MS = NEXT.active_from_ms


def state(record: KeyRecord, records: Sequence[KeyRecord], now_ms: int) -> KeyState:
    """Return a key's state among records."""
    return find_state(record, records, now_ms)


@pytest.mark.parametrize(
    ("now_ms", "old", "following"),
    [
        (NOW_MS - 1, "published", "published"),
        (NOW_MS, "active", "published"),
        (TAKEN_OVER_MS - 1, "active", "published"),
        (TAKEN_OVER_MS, "retiring", "active"),
        (TAKEN_OVER_MS + KEEP_MS - 1, "retiring", "active"),
        (TAKEN_OVER_MS + KEEP_MS, "gone", "active"),
        (TAKEN_OVER_MS + 1000 * DAY_MS, "gone", "active"),
    ],
)
def test_a_key_has_four_states(now_ms: int, old: KeyState, following: KeyState) -> None:
    """The states follow each other at exact milliseconds, and the last key stays active however old it is."""
    assert (state(OLD, [OLD, NEXT], now_ms), state(NEXT, [OLD, NEXT], now_ms)) == (old, following)


def test_a_single_key_stays_active() -> None:
    """Without a successor a key does not retire, so that signing never stops."""
    for later_ms in (0, DAY_MS, 10_000 * DAY_MS):
        assert state(OLD, [OLD], NOW_MS + later_ms) == "active"


@pytest.mark.parametrize("records", [[OLD, NEXT, LAST], [LAST, NEXT, OLD], [NEXT, LAST, OLD]])
def test_the_order_of_rows_does_not_matter(records: Sequence[KeyRecord]) -> None:
    """All processes agree on the signing key, in whatever order a store returns the rows."""
    assert find_signing_key(records, LAST.active_from_ms - 1) == NEXT
    assert find_signing_key(records, LAST.active_from_ms) == LAST
    assert [state(record, [OLD, NEXT, LAST], LAST.active_from_ms) for record in (OLD, NEXT, LAST)] == [
        "retiring",
        "retiring",
        "active",
    ]


def test_keys_of_the_same_time_have_a_fixed_order() -> None:
    """Two processes that each made a first key in the same millisecond sign with the same one of them."""
    one, other = key("a", active_from_ms=NOW_MS), key("b", active_from_ms=NOW_MS)
    for records in ([one, other], [other, one]):
        assert find_signing_key(records, NOW_MS) == other
        assert sorted(state(record, records, NOW_MS) for record in records) == ["active", "retiring"]


def test_without_a_key_there_is_no_signing_key() -> None:
    """There is no signing key if there are no keys, or if none may sign yet."""
    assert find_signing_key([], NOW_MS) is None
    assert find_signing_key([NEXT], NOW_MS) is None


@pytest.mark.parametrize(
    "records",
    [[OLD], [OLD, NEXT], [OLD, NEXT, LAST], [key(f"k{n}", active_from_ms=NOW_MS + n * 7 * MINUTE_MS) for n in range(20)]],
    ids=["one", "two", "three", "twenty in a hurry"],
)
def test_at_every_instant_exactly_one_key_signs(records: Sequence[KeyRecord]) -> None:
    """At each instant exactly one key is active, and it is the key that signs."""
    edges = {record.active_from_ms for record in records} | {record.active_from_ms + KEEP_MS for record in records}
    instants = sorted({edge + offset for edge in edges for offset in (-1, 0, 1) if edge + offset >= NOW_MS})
    for now_ms in instants:
        active = [record for record in records if state(record, records, now_ms) == "active"]
        assert active == [find_signing_key(records, now_ms)]


@pytest.mark.parametrize(
    "records",
    [[OLD, NEXT], [OLD, NEXT, LAST], [key(f"k{n}", active_from_ms=NOW_MS + n * 7 * MINUTE_MS) for n in range(8)]],
    ids=["two", "three", "eight in a hurry"],
)
def test_keys_of_valid_tokens_stay_published(records: Sequence[KeyRecord]) -> None:
    """Zero gap (R30): a key that signed within the last access lifetime, and the leeway, is never gone."""
    step_ms = MINUTE_MS
    for now_ms in range(NOW_MS, records[-1].active_from_ms + KEEP_MS + MINUTE_MS, step_ms):
        oldest_ms = max(NOW_MS, now_ms - ACCESS_MS - MAX_LEEWAY_S * 1000)
        for signed_at_ms in (
            range(oldest_ms, now_ms + 1, step_ms) if now_ms - NOW_MS > DAY_MS - MINUTE_MS else (oldest_ms, now_ms)
        ):
            signer = find_signing_key(records, signed_at_ms)
            assert signer is not None
            assert state(signer, records, now_ms) in ("active", "retiring")


def test_a_key_is_published_for_longer_than_any_cache_keeps_the_set() -> None:
    """A verifier that only polls has fetched a key before it signs (R30)."""
    assert PUBLISH_AHEAD_MS > JWKS_MAX_AGE_S * 1000


@pytest.mark.parametrize(
    ("later_ms", "due"),
    [
        (0, False),
        (ROTATE_AFTER_MS - PUBLISH_AHEAD_MS - 1, False),
        (ROTATE_AFTER_MS - PUBLISH_AHEAD_MS, True),
        (ROTATE_AFTER_MS, True),
        (10 * ROTATE_AFTER_MS, True),
    ],
)
def test_a_successor_is_due_so_that_it_signs_after_ninety_days(later_ms: int, due: bool) -> None:
    """Published a little ahead, the next key takes over when the old one has served its ninety days."""
    assert ROTATE_AFTER_MS == 90 * DAY_MS
    assert needs_successor([OLD], "ES256", NOW_MS + later_ms) is due


def test_a_published_successor_is_enough() -> None:
    """While the next key waits for its time, no third key is due."""
    now_ms = NOW_MS + ROTATE_AFTER_MS
    assert not needs_successor([OLD, key("next", active_from_ms=now_ms + PUBLISH_AHEAD_MS)], "ES256", now_ms)


def test_without_any_key_one_is_due() -> None:
    """A fresh store gets its first key."""
    assert needs_successor([], "ES256", NOW_MS)


def test_a_key_of_another_algorithm_does_not_stand_in_for_ours() -> None:
    """After the algorithm was changed in the settings a key for the new one is due, unless one still counts."""
    published = key("ed", active_from_ms=NOW_MS + PUBLISH_AHEAD_MS, algorithm="Ed25519")
    assert needs_successor([OLD], "Ed25519", NOW_MS)
    assert not needs_successor([OLD, published], "Ed25519", NOW_MS)
    assert not needs_successor([OLD, published], "ES256", NOW_MS)
    gone_at_ms = published.active_from_ms + KEEP_MS
    assert not needs_successor([OLD, published], "ES256", gone_at_ms - 1)
    assert needs_successor([OLD, published], "ES256", gone_at_ms)


@pytest.mark.parametrize("algorithm", ["ES256", "Ed25519", "RS256", "HS256"])
def test_secrets_and_public_keys_are_never_in_one_set(algorithm: str) -> None:
    """A set has all public-key algorithms or HS256 alone, in the order of the records (RFC 8725 §3.1)."""
    records = [key(name, active_from_ms=NOW_MS, algorithm=name) for name in ("HS256", "ES256", "RS256", "Ed25519")]
    expected = ["HS256"] if algorithm == "HS256" else ["ES256", "RS256", "Ed25519"]
    assert [record.kid for record in select_compatible(records, algorithm)] == expected


def test_a_key_does_not_show_its_private_part() -> None:
    """Not even encrypted bytes appear in logs (R32)."""
    assert "private" not in repr(OLD)
    assert "old" in repr(OLD)


def test_the_timetable_is_what_happens() -> None:
    """At each time in it, the state of the key changes, and one step earlier it has not."""
    records = [LAST, OLD, NEXT]
    timetable = make_timetable(records, NOW_MS)
    assert [times.kid for times in timetable] == ["old", "next", "last"]
    for times, record in zip(timetable[:2], (OLD, NEXT), strict=True):
        around = [(times.signs_ms, "published", "active"), (times.removed_ms, "retiring", "gone")]
        for at_ms, before, after in around:
            assert [state(record, records, at_ms - 1), state(record, records, at_ms)] == [before, after]
    assert timetable[0].retires_ms == timetable[1].signs_ms
    due_ms = find_next_publication(timetable)
    assert not needs_successor(records, "ES256", due_ms - 1)
    assert needs_successor(records, "ES256", due_ms)


def test_late_steps() -> None:
    """A step that was due is late by the time since then."""
    assert find_late_steps([], NOW_MS) == {"publish": 0, "remove": 0}
    due_ms = OLD.active_from_ms + ROTATE_AFTER_MS - PUBLISH_AHEAD_MS
    assert find_late_steps(make_timetable([OLD], due_ms), due_ms) == {"publish": 0, "remove": 0}
    assert find_late_steps(make_timetable([OLD], due_ms + 7), due_ms + 7) == {"publish": 7, "remove": 0}
    gone_ms = TAKEN_OVER_MS + KEEP_MS + 9
    assert find_late_steps(make_timetable([OLD, NEXT], gone_ms), gone_ms) == {"publish": 0, "remove": 9}
