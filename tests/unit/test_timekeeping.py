"""How far expired rows are deleted, whatever the clock shows."""

from __future__ import annotations

from handstamp.domain.policy import DAY_MS, HOUR_MS, MINUTE_MS
from handstamp.domain.timekeeping import CATCH_UP, LONGEST_ROUND_MS, Timekeeping, advance
from handstamp.storage.sql.sessions import AFTERLIFE_MS
from tests.builders import NOW_MS

ROUND_MS = 30_000


def after(kept: Timekeeping, rounds: int) -> Timekeeping:
    """Return the row after so many rounds of housekeeping."""
    for _ in range(rounds):
        kept = advance(kept, kept.seen_at_ms + ROUND_MS)
    return kept


def test_usually_rows_are_deleted_as_soon_as_they_have_expired() -> None:
    """The limit is the time itself, from the first round on and after every usual pause."""
    kept = advance(None, NOW_MS)
    assert kept == Timekeeping(NOW_MS, NOW_MS)
    assert after(kept, 100) == Timekeeping(NOW_MS + 100 * ROUND_MS, NOW_MS + 100 * ROUND_MS)
    paused = advance(kept, NOW_MS + 40 * MINUTE_MS)
    assert paused.purged_to_ms == NOW_MS + 40 * MINUTE_MS


def test_one_round_with_a_wrong_clock_deletes_nothing_that_lives() -> None:
    """A round goes at most 48 minutes further, and until an hour after its end a session stays (`AFTERLIFE_MS`)."""
    kept = advance(Timekeeping(NOW_MS, NOW_MS), NOW_MS + 40 * DAY_MS)
    assert kept.purged_to_ms == NOW_MS + CATCH_UP * LONGEST_ROUND_MS < NOW_MS + AFTERLIFE_MS


def test_an_hour_with_a_wrong_clock_costs_two_days() -> None:
    """Not everything: the operator has time to notice. Afterwards the limit is never ahead of the time."""
    wrong = after(advance(Timekeeping(NOW_MS, NOW_MS), NOW_MS + 40 * DAY_MS), HOUR_MS // ROUND_MS)
    assert 0 < wrong.purged_to_ms - NOW_MS < 2 * DAY_MS + HOUR_MS
    corrected = advance(wrong, NOW_MS + HOUR_MS)
    assert corrected == Timekeeping(NOW_MS + HOUR_MS, NOW_MS + HOUR_MS)


def test_a_service_that_was_off_for_forty_days_has_caught_up_in_a_day() -> None:
    """Then everything that has expired is deleted, as ever."""
    back_ms = NOW_MS + 40 * DAY_MS
    kept = after(advance(Timekeeping(NOW_MS, NOW_MS), back_ms), DAY_MS // ROUND_MS)
    assert kept.purged_to_ms == kept.seen_at_ms


def test_more_processes_do_not_catch_up_faster() -> None:
    """The pace follows the time that has passed, not the number of rounds."""
    kept = Timekeeping(NOW_MS, NOW_MS - DAY_MS)
    for _ in range(1_000):
        kept = advance(kept, NOW_MS)
    assert kept == Timekeeping(NOW_MS, NOW_MS - DAY_MS)
