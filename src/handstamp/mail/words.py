"""What each kind of mail says. The templates only lay it out."""

from __future__ import annotations

import ipaddress
from typing import assert_never

import msgspec

from ..devices import name_device
from ..domain import mail
from ..domain.mail import Letter
from ..words import format_time


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """A message in words, in the order in which it is read.

    Attributes:
        subject: The subject and the heading. It holds nothing secret, because mail servers log it.
        text: What has happened, or what the link will do.
        link: Where the button leads; "" for none.
        button: What the button does.
        link_help: What to do if the button does nothing.
        code: A code to type in place of the link; "" for none.
        code_help: What to do with it.
        facts: When and from where, as pairs of a label and a value.
        advice: What to do, or that nothing is to be done.
        closing: Who has sent it, and whom to ask.
    """

    subject: str
    text: str
    link: str = ""
    button: str = ""
    link_help: str = ""
    code: str = ""
    code_help: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    advice: str = ""
    closing: str = ""


def write(letter: Letter, *, brand: str, home: str, support: str) -> Words:
    """Return a letter in words.

    Args:
        letter: The letter.
        brand: The name of the service.
        home: Its public URL.
        support: Whom people can ask; "" for nobody.
    """
    content = letter.content
    words = _write_request(content, brand, home) if isinstance(content, mail.Request) else _write_notice(content, brand, home)
    return msgspec.structs.replace(
        words,
        link_help="If the button does nothing, copy this address into your browser:" if words.link else "",
        code_help="Or type this code where you asked for it. It is valid for ten minutes:" if words.code else "",
        facts=_facts(letter),
        closing=f"{brand}, questions: {support}" if support else brand,
    )


_ONCE = "The link works once, for one hour."
_UNASKED = "If that was not you, do nothing."
_CHANGE = "If that was not you, change your password. That signs every device out."


def _write_request(content: mail.Request, brand: str, home: str) -> Words:
    """Return mail that somebody has asked for, and whose link does something."""
    match content:
        case mail.VerifyEmail():
            subject, text = f"Confirm your address for {brand}", f"Confirm that this address belongs to your account. {_ONCE}"
            button, advice = "Confirm the address", f"{_UNASKED} Nothing is confirmed then."
        case mail.ConfirmSignUp():
            subject, text = f"Finish creating your account at {brand}", f"An account is being created with this address. {_ONCE}"
            button, advice = "Create the account", f"{_UNASKED} No account is created then."
        case mail.ResetPassword():
            subject, text = f"Choose a new password for {brand}", f"A new password was asked for. {_ONCE}"
            button, advice = "Choose a new password", f"{_UNASKED} Your password has not changed."
        case mail.ConfirmNewAddress():
            subject, text = f"Confirm your new address for {brand}", f"An account is about to get this address. {_ONCE}"
            button, advice = "Use this address", f"{_UNASKED} The account keeps its address."
        case mail.SignInCode():
            subject, text = f"Sign in to {brand}", "Sign in with this link or this code. They work once, for ten minutes."
            button, advice = "Sign in", f"{_UNASKED} Give the code to nobody: this service never asks for it."
        case mail.SignUpExists():
            return Words(
                subject=f"You have an account at {brand} already",
                text="An account was about to be created with this address, which has one already. Sign in with it. "
                "If you have forgotten the password, you can choose a new one there.",
                link=f"{home}/sign-in",
                button="Sign in",
                advice=f"{_UNASKED} Your account has not changed.",
            )
        case _:
            assert_never(content)
    return Words(subject=subject, text=text, link=content.link, button=button, code=content.code, advice=advice)


def _write_notice(content: mail.Notice, brand: str, home: str) -> Words:
    """Return mail about what has happened to an account."""
    button, link, advice = "See your account", f"{home}/account", _CHANGE
    match content:
        case mail.AddressChanged(old=old, new=new, undo_link=undo):
            subject, text = f"Your address for {brand} has changed", f"Your account now has the address {new}. It was {old}."
            button, link = ("Undo the change", undo) if undo else (button, link)
            advice = (
                "If you changed it, do nothing. If not, undo it within seven days: that signs every device out." if undo else ""
            )
        case mail.NewDevice():
            subject, text = f"New sign-in to {brand}", "Your account was signed in on a device that was not used before."
            button, advice = "See your devices", f"If that was you, do nothing. {_CHANGE}"
        case mail.PasswordChanged(was_reset=was_reset):
            how = " with a link that came by mail" if was_reset else ""
            subject, text = f"Your password for {brand} has changed", f"It was changed{how}. Every other device is signed out."
            button, link, advice = "Sign in", f"{home}/sign-in", "If that was not you, choose a new password there at once."
        case mail.SecondFactorChanged(factor=factor, was_removed=was_removed):
            done = "removed from" if was_removed else "added to"
            subject, text = f"Your sign-in to {brand} has changed", f"This was {done} your ways to sign in: {factor}."
        case mail.SessionReused():
            subject = f"You were signed out of {brand} on one device"
            text = "An old copy of a sign-in of yours was used. Another person may have copied it, so that device was signed out."
            button, advice = "See your devices", "Sign in again there. If you do not know of a copy, change your password."
        case mail.RecoveryCodeUsed(left=left):
            subject = f"A recovery code was used for {brand}"
            text = f"Your account was signed in with a recovery code. Codes that are left: {left}."
        case mail.AccountDeleted():
            subject, text = f"Your account at {brand} is deleted", "Your account and its sessions are deleted for good."
            button = link = advice = ""
        case _:
            assert_never(content)
    return Words(subject=subject, text=text, link=link, button=button, advice=advice)


def _facts(letter: Letter) -> tuple[tuple[str, str], ...]:
    """Return when and from where. What a client says of itself is only shown if it is a well-known name."""
    found = [
        ("When", f"{format_time(letter.at_ms)} UTC"),
        ("From", _address(letter.ip)),
        ("With", name_device(letter.user_agent)),
    ]
    return tuple((label, value) for label, value in found if value)


def _address(ip: str) -> str:
    try:
        return str(ipaddress.ip_address(ip))
    except ValueError:
        return ""
