"""The kinds of mail, what their values show of themselves, and when sending is tried again."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

import msgspec
import pytest

from handstamp.domain.mail import (
    LINK_WORTH_MS,
    MAIL_KINDS,
    AnyContent,
    Letter,
    MailKind,
    PasswordChanged,
    ResetPassword,
    SignInCode,
    is_worth_sending,
    kind_of,
    pause_ms,
)
from handstamp.domain.one_time import CODE_LIFETIME_MS, PURPOSES, Purpose
from tests.builders import DAY_MS, HOUR_MS, MINUTE_MS, NOW_MS, a_mail

RESET = ResetPassword(link="https://auth.example.com/reset?token=hush-hush", code="314159")


def test_every_kind_has_a_content_and_a_rule() -> None:
    """The tags of the classes, the names of the kinds and the rules are the same."""
    tags = {content.__struct_config__.tag for content in get_args(AnyContent)}
    assert tags == set(get_args(MailKind)) == MAIL_KINDS.keys()
    assert kind_of(RESET) == "reset_password"


def test_mail_is_worth_sending_as_long_as_its_link_is_valid() -> None:
    """The words of the mails say the same: one hour for links, ten minutes for codes, seven days to undo a change."""
    undoing: tuple[Purpose, ...] = ("undo_change", "undo_factor")
    in_no_mail = "impersonate"
    links = {rule.lifetime_ms for purpose, rule in PURPOSES.items() if purpose not in (*undoing, in_no_mail)}
    assert links == {LINK_WORTH_MS} == {HOUR_MS}
    assert CODE_LIFETIME_MS == 10 * MINUTE_MS
    assert {PURPOSES[purpose].lifetime_ms for purpose in undoing} == {7 * DAY_MS}


def test_links_and_codes_are_not_printed() -> None:
    """Nothing that a log or a traceback could show of a letter tells its link, its code or its address."""
    letter = Letter(to="ada@example.com", language="de", at_ms=NOW_MS, ip="192.0.2.1", user_agent="", content=RESET)
    for shown in (repr(RESET), str(RESET), repr(letter), f"{[letter]}"):
        assert "hush" not in shown
        assert "314159" not in shown
        assert "ada" not in shown


def test_a_letter_comes_back_from_its_bytes() -> None:
    """Each content is decoded as its own class."""
    for content in (RESET, PasswordChanged(was_reset=True), SignInCode(link="", code="1")):
        letter = Letter(to="ada@example.com", language="", at_ms=NOW_MS, ip="", user_agent="", content=content)
        assert msgspec.json.decode(msgspec.json.encode(letter), type=Letter) == letter


def test_pauses_double_up_to_an_hour() -> None:
    """The first is half a minute: a greylisting server accepts the second or third try."""
    pauses = [pause_ms(tries) for tries in range(1, 40)]
    assert pauses[:3] == [MINUTE_MS // 2, MINUTE_MS, 2 * MINUTE_MS]
    assert pauses[-1] == HOUR_MS
    assert all(earlier <= later <= 2 * earlier for earlier, later in pairwise(pauses))


@pytest.mark.parametrize(
    ("kind", "worth_ms"), [("reset_password", HOUR_MS), ("sign_in_code", HOUR_MS), ("password_changed", 2 * DAY_MS)]
)
def test_mail_is_given_up_when_it_is_of_no_use(kind: MailKind, worth_ms: int) -> None:
    """A link that has expired is not sent any more; news are sent for two days."""
    mail = a_mail(kind=kind)
    assert is_worth_sending(mail, NOW_MS + worth_ms - 1)
    assert not is_worth_sending(mail, NOW_MS + worth_ms)
