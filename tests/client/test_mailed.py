"""Links and codes of mails by the client, against a real service whose mails are in the development inbox."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import msgspec
import pyotp
import pytest

from handstamp import (
    ConfigurationError,
    EmailNotVerified,
    InvalidCode,
    InvalidCredentials,
    InvalidFields,
    MissingToken,
    NotFound,
    SessionEnded,
)
from handstamp.client import Auth, MailSent, MemoryTokens
from tests.client.helpers import Do
from tests.commands import run_command
from tests.integration.helpers import new_email
from tests.serving import PASSWORD, Server

OTHER_PASSWORD = "another sentence, that nobody else says"


@pytest.fixture(scope="module")
def mailing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service with mail, in which people can sign in by mail."""
    server = Server(tmp_path_factory.mktemp("mailing"), SMTP_URL="inbox", SIGN_IN_BY_CODE="on")
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def auth(mailing: Server) -> Auth:
    """Return the client of a program."""
    return Auth(mailing.url, MemoryTokens())


def mail_to(server: Server, email: str) -> dict[str, str]:
    """Return `code` and `token` of the newest mail to an address."""
    with server.client() as client:
        for path in re.findall(r'href="[^"]*(/dev/mail/[\w-]+)"', client.get("/dev/mail").text):
            text = client.get(path).text
            if f"<p>To {email}, " in text:
                code, token = re.search(r"\b(\d{3}) ?(\d{3})\b", text), re.search(r"token=([\w-]{43})", text)
                return {"code": "".join(code.groups()) if code else "", "token": token[1] if token else ""}
    raise AssertionError(f"no mail to {email}")


def sign_up(server: Server, auth: Auth) -> str:
    """Create an account by mail, and sign in; return the address."""
    email = new_email()
    sent = auth.accounts.register(email, PASSWORD)
    assert sent is not None
    auth.accounts.confirm_register(code=mail_to(server, email)["code"], sent=sent)
    return email


def test_a_person_signs_up_by_mail(do: Do, mailing: Server, auth: Auth) -> None:
    """A wrong code creates nothing; the right one creates the account and signs in. What `register` returned can be stored."""
    email = new_email()
    sent = do(auth.accounts, "register", email, PASSWORD, name="Ada")
    assert (sent.email, sent.code_expires_in_s <= sent.expires_in_s) == (email, True)
    stored = msgspec.json.decode(msgspec.json.encode(sent), type=MailSent)
    code = mail_to(mailing, email)["code"]
    for shown in ({"code": str(int(code) ^ 1).zfill(6), "sent": stored}, {"code": code}):
        with pytest.raises(InvalidCode, match=r"\w+"):
            do(auth.accounts, "confirm_register", **shown)
    with pytest.raises(MissingToken):
        auth.accounts.export()
    do(auth.accounts, "confirm_register", code=code, sent=stored)
    (account,) = auth.accounts.export()["account"]
    assert (account["email"], account["emailVerified"], account["name"]) == (email, True, "Ada")


def test_a_link_of_another_program_needs_a_password_of_its_own(mailing: Server, auth: Auth) -> None:
    """So whoever asked for the mail does not know the password of the account."""
    email = new_email()
    Auth(mailing.url, MemoryTokens()).accounts.register(email, PASSWORD)
    auth.accounts.confirm_register(token=mail_to(mailing, email)["token"], password=OTHER_PASSWORD)
    with pytest.raises(InvalidCredentials):
        auth.sign_in(email, PASSWORD)
    auth.sign_in(email, OTHER_PASSWORD)


@pytest.mark.parametrize("by", ["code", "token"])
def test_a_person_signs_in_by_mail(do: Do, mailing: Server, auth: Auth, by: str) -> None:
    """With the code and what the request returned, or with the link. An unknown address gets the same answer."""
    email = sign_up(mailing, auth)
    auth.sign_out()
    sent, nothing = (do(auth.accounts, "request_sign_in", each) for each in (email, new_email()))
    assert sent.expires_in_s == nothing.expires_in_s
    shown: dict[str, Any] = {by: mail_to(mailing, email)[by]} | ({"sent": sent} if by == "code" else {})
    do(auth.accounts, "confirm_sign_in", **shown)
    assert do(auth.accounts, "export")["account"][0]["email"] == email
    with pytest.raises(InvalidCode, match="used"):
        do(auth.accounts, "confirm_sign_in", **shown)


@pytest.mark.parametrize("by", ["code", "token"])
def test_a_forgotten_password_is_replaced(do: Do, mailing: Server, auth: Auth, by: str) -> None:
    """Every session ends, also that of this program."""
    email = sign_up(mailing, auth)
    sent = do(auth.accounts, "request_password_reset", email)
    shown: dict[str, Any] = {by: mail_to(mailing, email)[by]} | ({"sent": sent} if by == "code" else {})
    do(auth.accounts, "confirm_password_reset", OTHER_PASSWORD, **shown)
    with pytest.raises((SessionEnded, MissingToken)):
        auth.accounts.export()
    with pytest.raises(InvalidCredentials):
        auth.sign_in(email, PASSWORD)
    auth.sign_in(email, OTHER_PASSWORD)


def test_an_address_is_changed_and_changed_back(do: Do, mailing: Server, auth: Auth) -> None:
    """By the code of the mail to the new address, then by the link of that to the old one, which ends sessions and password."""
    email, other = sign_up(mailing, auth), new_email()
    sent = do(auth.accounts, "request_email_change", other)
    do(auth.accounts, "confirm_email_change", code=mail_to(mailing, other)["code"], sent=sent)
    assert do(auth.accounts, "export")["account"][0]["email"] == other
    do(auth.accounts, "undo_email_change", mail_to(mailing, email)["token"])
    with pytest.raises((SessionEnded, MissingToken)):
        auth.accounts.export()
    auth.accounts.confirm_password_reset(OTHER_PASSWORD, token=mail_to(mailing, email)["token"])
    auth.sign_in(email, OTHER_PASSWORD)


def test_a_first_factor_is_undone(do: Do, mailing: Server, auth: Auth) -> None:
    """By the link of its mail. The next one chooses a new password, which is then enough to sign in."""
    email = sign_up(mailing, auth)
    with httpx.Client(base_url=mailing.url, auth=auth) as client:
        begun = client.post("/totp", json={}).json()
        code = pyotp.TOTP(begun["secret"].replace(" ", "")).now()
        assert client.post("/totp/confirm", json={"enrolment": begun["enrolment"], "code": code}).status_code == 200
    do(auth.accounts, "undo_factor", mail_to(mailing, email)["token"])
    with pytest.raises((SessionEnded, MissingToken)):
        auth.accounts.export()
    auth.accounts.confirm_password_reset(OTHER_PASSWORD, token=mail_to(mailing, email)["token"])
    auth.sign_in(email, OTHER_PASSWORD)


def create_account(server: Server) -> str:
    """Create an account whose address is not verified, as an operator does; return the address."""
    email = new_email()
    made = run_command(server.folder, "users", "create", email, "--password-stdin", stdin=PASSWORD, **server.settings)
    assert made.returncode == 0, made.stderr
    return email


def test_an_address_is_verified_by_the_session(do: Do, mailing: Server, auth: Auth) -> None:
    """With the code of a mail to it. A verified address needs no mail."""
    email = create_account(mailing)
    auth.sign_in(email, PASSWORD)
    sent = do(auth.accounts, "request_verification")
    do(auth.accounts, "confirm_verification", code=mail_to(mailing, email)["code"], sent=sent)
    assert auth.accounts.export()["account"][0]["emailVerified"] is True
    with pytest.raises(InvalidFields, match="verified already"):
        do(auth.accounts, "request_verification")


def test_an_address_is_verified_before_the_first_sign_in(serve: Callable[..., Server]) -> None:
    """A service that requires it says so at the sign-in. Then the mail is asked for with address and password."""
    server = serve(SMTP_URL="inbox", REQUIRE_VERIFIED_EMAIL="on")
    email, auth = create_account(server), Auth(server.url, MemoryTokens())
    with pytest.raises(EmailNotVerified):
        auth.sign_in(email, PASSWORD)
    with pytest.raises(InvalidCredentials):
        auth.accounts.request_verification(email, OTHER_PASSWORD)
    sent = auth.accounts.request_verification(email, PASSWORD)
    auth.accounts.confirm_verification(code=mail_to(server, email)["code"], sent=sent)
    auth.sign_in(email, PASSWORD)


def test_a_service_that_does_not_offer_it_says_so(server: Server) -> None:
    """Not as an outage, and not as a wrong code."""
    accounts = Auth(server.url, MemoryTokens()).accounts
    with pytest.raises(NotFound):
        accounts.request_sign_in("ada@example.com")
    with pytest.raises(NotFound):
        accounts.confirm_sign_in(token="x" * 43)


def test_a_link_and_a_code_are_not_shown_together(auth: Auth) -> None:
    """Nor neither of them: that is the program's mistake."""
    for token, code in (("", ""), ("x" * 43, "123456")):
        with pytest.raises(ConfigurationError):
            auth.accounts.confirm_sign_in(token=token, code=code)
