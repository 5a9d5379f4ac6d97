"""What each kind of mail says. The templates only lay it out."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple, assert_never

import msgspec

from ..devices import name_device
from ..domain import mail
from ..domain.mail import Letter
from ..languages.catalogue import Catalogue
from ..text import mark


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


class _Draft(NamedTuple):
    """A message in marked texts. `text` and `advice` are whole sentences."""

    subject: str
    text: tuple[str, ...]
    button: str
    link: str
    advice: tuple[str, ...]
    code: str = ""


def write(letter: Letter, *, brand: str, home: str, support: str, language: Catalogue) -> Words:
    """Return a letter in words.

    Args:
        letter: The letter.
        brand: The name of the service.
        home: Its public URL.
        support: Whom people can ask; "" if that is not set.
        language: The language of the words.
    """
    content, say = letter.content, language.translate
    draft = _draft(content, brand, home)
    link_help = mark("If the button does nothing, copy this address into your browser:")
    code_help = mark("Or type this code where you asked for it. It is valid for ten minutes:")
    return Words(
        subject=say(draft.subject),
        text=" ".join(map(say, draft.text)),
        link=draft.link,
        button=say(draft.button),
        link_help=say(link_help) if draft.link else "",
        code=draft.code,
        code_help=say(code_help) if draft.code else "",
        facts=_facts(letter, language),
        advice=" ".join(map(say, draft.advice)),
        closing=say(mark("%(brand)s, questions: %(support)s", brand=brand, support=support)) if support else brand,
    )


_ONCE = mark("The link works once, for one hour.")
_UNASKED = mark("If that was not you, do nothing.")
_CHANGE = mark("If that was not you, change your password. That signs every device out.")
_NEW_CODES = mark("Then make new recovery codes.")


def _draft(content: mail.AnyContent, brand: str, home: str) -> _Draft:
    if isinstance(content, mail.Request):
        return _draft_request(content, brand, home)
    if isinstance(content, mail.SupportLooks):
        return _draft_support(content, brand, home)
    return _draft_notice(content, brand, home)


def _draft_request(content: mail.Request, brand: str, home: str) -> _Draft:
    """Return mail that a person has asked for, and whose link does something."""
    match content:
        case mail.VerifyEmail():
            subject = mark("Confirm your address for %(brand)s", brand=brand)
            text, button = (mark("Confirm that this address belongs to your account."), _ONCE), mark("Confirm the address")
            advice = mark("Nothing is confirmed then.")
        case mail.ConfirmSignUp():
            subject = mark("Finish creating your account at %(brand)s", brand=brand)
            text, button = (mark("An account is being created with this address."), _ONCE), mark("Create the account")
            advice = mark("No account is created then.")
        case mail.ResetPassword():
            subject = mark("Choose a new password for %(brand)s", brand=brand)
            text, button = (mark("A new password was asked for."), _ONCE), mark("Choose a new password")
            advice = mark("Your password has not changed.")
        case mail.ConfirmNewAddress():
            subject = mark("Confirm your new address for %(brand)s", brand=brand)
            text, button = (mark("An account is about to get this address."), _ONCE), mark("Use this address")
            advice = mark("The account keeps its address.")
        case mail.SignInCode():
            subject, button = mark("Sign in to %(brand)s", brand=brand), mark("Sign in")
            text = (mark("Sign in with this link or this code."), _ONCE)
            advice = mark("Do not give the code to anyone: this service never asks for it.")
        case mail.SignUpExists():
            return _Draft(
                mark("You have an account at %(brand)s already", brand=brand),
                (
                    mark("An account was about to be created with this address, which has one already."),
                    mark("Sign in with it. If you have forgotten the password, you can choose a new one there."),
                ),
                mark("Sign in"),
                f"{home}/sign-in",
                (_UNASKED, mark("Your account has not changed.")),
            )
        case _:
            assert_never(content)
    return _Draft(subject, text, button, content.link, (_UNASKED, advice), content.code)


def _draft_notice(content: mail.Notice, brand: str, home: str) -> _Draft:
    """Return mail about what has happened to an account."""
    account, sign_in = f"{home}/account", f"{home}/sign-in"
    see_account, see_devices = mark("See your account"), mark("See your devices")
    match content:
        case mail.AddressChanged(old=old, new=new, undo_link=undo):
            subject = mark("Your address for %(brand)s has changed", brand=brand)
            text = mark("Your account now has the address %(new)s. It was %(old)s.", new=new, old=old)
            undoing = mark("If you changed it, do nothing. If not, undo it within seven days: that signs every device out.")
            button, link = (mark("Undo the change"), undo) if undo else (see_account, account)
            draft = _Draft(subject, (text,), button, link, (undoing,) if undo else ())
        case mail.NewDevice():
            subject = mark("New sign-in to %(brand)s", brand=brand)
            text = mark("Your account was signed in on a device that was not used before.")
            draft = _Draft(subject, (text,), see_devices, account, (mark("If that was you, do nothing."), _CHANGE))
        case mail.PasswordChanged(was_reset=was_reset):
            subject = mark("Your password for %(brand)s has changed", brand=brand)
            text = mark("It was changed with a link that came by mail.") if was_reset else mark("It was changed.")
            advice = mark("If that was not you, choose a new password there at once.")
            draft = _Draft(subject, (text, mark("Every other device is signed out.")), mark("Sign in"), sign_in, (advice,))
        case mail.SecondFactorChanged() | mail.IdentityChanged():
            subject = mark("Your sign-in to %(brand)s has changed", brand=brand)
            draft = _Draft(subject, (_describe_change(content),), *_advise_on_change(content, home))
        case mail.SecondFactorGuessed():
            draft = _draft_guesses(content, brand, account)
        case mail.SecondFactorsReset():
            subject = mark("Your sign-in to %(brand)s has changed", brand=brand)
            text = mark("The people who run this service removed your authenticator app, passkeys and recovery codes.")
            advice = mark("If you did not ask for this, tell them at once.")
            draft = _Draft(subject, (text, mark("You can set them up again in your account.")), see_account, account, (advice,))
        case mail.SessionReused():
            subject = mark("You were signed out of %(brand)s on one device", brand=brand)
            text = mark(
                "An old copy of a sign-in of yours was used. Another person may have copied it, so that device was signed out."
            )
            advice = mark("Sign in again there. If you do not know of a copy, change your password.")
            draft = _Draft(subject, (text,), see_devices, account, (advice,))
        case mail.RecoveryCodeUsed(left=left):
            subject = mark("A recovery code was used for %(brand)s", brand=brand)
            text = mark("Your account was signed in with a recovery code. Codes that are left: %(left)s.", left=left)
            draft = _Draft(subject, (text,), see_account, account, (_CHANGE, _NEW_CODES))
        case mail.AccountDeleted():
            subject = mark("Your account at %(brand)s is deleted", brand=brand)
            draft = _Draft(subject, (mark("Your account and its sessions are deleted for good."),), "", "", ())
        case _:
            assert_never(content)
    return draft


def _draft_support(content: mail.SupportLooks, brand: str, home: str) -> _Draft:
    """Return mail to the person of an account at which an operator looks."""
    subject = mark("Support looks at your account at %(brand)s", brand=brand)
    who = (
        mark("%(name)s looks at your account as you see it, for support.", name=content.by)
        if content.by
        else mark("The people who run this service look at your account as you see it, for support.")
    )
    limits = (
        mark("They can also change something in applications, for at most 30 minutes.")
        if content.may_change
        else mark("They can only read, for at most 30 minutes.")
    )
    why = mark("The reason given: “%(reason)s”", reason=content.reason)
    secrets = mark("They see neither your password nor what else you sign in with.")
    advice = mark("If you did not ask for help, end that session in your account, and tell the people who run this service.")
    return _Draft(subject, (who, why, limits, secrets), mark("See your devices"), f"{home}/account", (advice,))


def _draft_guesses(content: mail.SecondFactorGuessed, brand: str, account: str) -> _Draft:
    if content.in_session:
        subject = mark("Another person may use your sign-in to %(brand)s", brand=brand)
        text = (
            mark(
                "On a device that is signed in to your account, a code or a passkey was asked for again. It was wrong five times."
            ),
            mark("What needed it was not done."),
        )
    else:
        subject = mark("Another person may know your password for %(brand)s", brand=brand)
        text = (
            mark("The first step of a sign-in to your account was right. Then the second step was wrong five times."),
            mark("Nobody was signed in."),
        )
    return _Draft(subject, text, mark("See your account"), account, (mark("If that was you, do nothing."), _CHANGE))


def _describe_change(content: mail.SecondFactorChanged | mail.IdentityChanged) -> str:
    if isinstance(content, mail.IdentityChanged):
        added = mark("%(service)s was added to your ways to sign in.", service=content.label)
        removed = mark("%(service)s was removed from your ways to sign in.", service=content.label)
        return removed if content.was_removed else added
    changes = {
        ("totp", False): mark("An authenticator app was added to your ways to sign in."),
        ("totp", True): mark("The authenticator app was removed from your ways to sign in."),
        ("passkey", False): mark("A passkey was added to your ways to sign in."),
        ("passkey", True): mark("A passkey was removed from your ways to sign in."),
    }
    new_codes = mark("You have new recovery codes. The ones before do not work any more.")
    return changes.get((content.factor, content.was_removed), new_codes)


def _advise_on_change(content: mail.SecondFactorChanged | mail.IdentityChanged, home: str) -> tuple[str, str, tuple[str, ...]]:
    """Return the button, its link, and what a person does who has not changed this."""
    if content.undo_link:
        undo = mark(
            "If you did this, do nothing. If not, undo it within seven days: "
            "that removes it, signs every device out, and lets you choose a new password."
        )
        return mark("That was not me"), content.undo_link, (undo,)
    if content.was_removed:
        return mark("See your account"), f"{home}/account", (_CHANGE,)
    if isinstance(content, mail.SecondFactorChanged) and content.factor == "recovery_codes":
        return mark("See your account"), f"{home}/account", (_CHANGE, _NEW_CODES)
    reset = mark("If you did this, do nothing. If not, choose a new password here: that signs every device out.")
    return mark("Choose a new password"), f"{home}/forgot", (reset, mark("Then sign in, and remove what you did not add."))


def _facts(letter: Letter, language: Catalogue) -> tuple[tuple[str, str], ...]:
    """Return when and from where. What a client says of itself is only shown if it is a well-known name."""
    found = [
        (mark("When"), language.write_time(letter.at_ms)),
        (mark("From"), language.isolate(_address(letter.ip))),
        (mark("With"), language.translate(name_device(letter.user_agent))),
    ]
    return tuple((language.translate(label), value) for label, value in found if value)


def _address(ip: str) -> str:
    try:
        return str(ipaddress.ip_address(ip))
    except ValueError:
        return ""
