"""Tests of the sentences about sessions and accounts: each event and each reason has one, and a history is complete."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest

from handstamp.domain.event import EVENT_KINDS, Event, EventKind
from handstamp.domain.history import describe_place, tell, tell_event
from handstamp.domain.reasons import HOW_SESSIONS_END, EndReason
from handstamp.domain.session import revoke
from handstamp.languages.catalogue import read_catalogue
from tests.builders import DAY_MS, MINUTE_MS, NOW_MS, a_session, an_account

FIREFOX = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"
IP = "203.0.113.7"


def an_event(kind: EventKind, **fields: object) -> Event:
    """Return an event of a session, from Firefox."""
    return msgspec.convert(
        {"at_ms": NOW_MS, "kind": kind, "sid": "session-id", "ip": IP, "user_agent": FIREFOX, "actor": "person"} | fields, Event
    )


@pytest.mark.parametrize("kind", sorted(get_args(EventKind)))
@pytest.mark.parametrize("actor", ["person", "operator"])
def test_every_event_has_a_sentence(kind: EventKind, actor: str) -> None:
    """It is a whole sentence without placeholders, also if an older version has recorded no details."""
    sentence = tell_event(an_event(kind, actor=actor))
    assert sentence.endswith(".")
    assert sentence[0].isupper()
    assert "%" not in sentence


def test_every_sentence_is_another_one() -> None:
    """Two kinds that read alike would hide what has happened."""
    told = [sentence for rule in EVENT_KINDS.values() for sentence in (rule.sentence, rule.by_operator) if sentence]
    assert len(set(told)) == len(told)


@pytest.mark.parametrize("reason", sorted(get_args(EndReason)))
def test_every_reason_has_a_sentence(reason: EndReason) -> None:
    """It is the sentence of the event of the session's end."""
    sentence = tell_event(an_event("session_ended", detail={"why": reason}))
    assert sentence == HOW_SESSIONS_END[reason]
    assert sentence.startswith("The session ended, because ")


@pytest.mark.parametrize(
    ("ip", "user_agent", "words"),
    [
        (IP, FIREFOX, f"{IP} (Firefox on Windows)"),
        (IP, "<script>", IP),
        ("", FIREFOX, "Firefox on Windows"),
        ("", "", "an unknown place"),
    ],
)
def test_places(ip: str, user_agent: str, words: str) -> None:
    """A text that a stranger chose is never part of a sentence."""
    assert describe_place(ip, user_agent) == words


def test_a_stolen_session_is_explained() -> None:
    """The sign-in, how often it was renewed, and the old copy that ended it."""
    began = NOW_MS - DAY_MS
    session = msgspec.structs.replace(
        a_session(), generation=14, created_at_ms=began, rotated_at_ms=NOW_MS - MINUTE_MS, seen_at_ms=NOW_MS - MINUTE_MS
    )
    session = revoke(session, "reuse", NOW_MS)
    events = [
        an_event("signed_in", at_ms=began, sid=session.id),
        an_event("reuse_detected", sid=session.id, detail={"presented": 3, "generation": 14}),
    ]
    assert [(entry.at_ms, entry.sentence) for entry in tell([session], an_account(), events, NOW_MS + 1)] == [
        (began, f"Signed in from {IP} (Firefox on Windows)."),
        (NOW_MS - MINUTE_MS, "Renewed 14 times; this was the last time."),
        (
            NOW_MS,
            (
                f"An old copy of the refresh token was used from {IP} (Firefox on Windows): number 3, when 14 was current. "
                "The session was ended."
            ),
        ),
    ]


def test_a_session_that_nobody_ended_is_explained() -> None:
    """Its row tells when it began and when it ended by itself, although no event is left."""
    session = a_session()
    idle_at_ms = (session.rotated_at_ms + session.idle_lifetime_ms) // 1000 * 1000
    told = tell([session], None, [], idle_at_ms + DAY_MS)
    assert [(entry.at_ms, entry.sentence) for entry in told] == [
        (session.created_at_ms, f"Signed in from {describe_place(session.ip, session.user_agent)}."),
        (idle_at_ms, HOW_SESSIONS_END["idle"]),
    ]
    assert len(tell([session], None, [], session.created_at_ms + 1)) == 1


def test_sessions_that_ended_together_are_explained() -> None:
    """The change of a password ends others without an event for each."""
    session = revoke(a_session(), "password_changed", NOW_MS + 5)
    (_, last) = tell([session], None, [], NOW_MS + DAY_MS)
    assert (last.at_ms, last.sentence, last.sid) == (NOW_MS + 5, HOW_SESSIONS_END["password_changed"], session.id)


def test_a_history_is_translated_as_a_whole() -> None:
    """Also the device in it."""
    german = read_catalogue("de")
    sentence = tell_event(an_event("signed_in"))
    assert german.translate(sentence) == f"Angemeldet von {IP} ({german.translate('%(browser)s on %(system)s')})." % {
        "browser": "Firefox",
        "system": "Windows",
    }
    assert german.translate(tell_event(an_event("signed_in", ip="", user_agent=""))) == "Angemeldet von einem unbekannten Ort."
