"""Links and codes of mails by the client, against a real service whose mails are in the development inbox."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from handstamp import EmailNotVerified, InvalidCode, InvalidCredentials, MissingToken, SessionEnded
from handstamp.client import Auth, MailSent, MemoryTokens
from tests.client.test_accounts import Do, do  # noqa: F401 - the fixture
from tests.integration.helpers import new_email
from tests.serving import PASSWORD, Server

OTHER_PASSWORD = "another sentence, that nobody else says"


@pytest.fixture(scope="module")
def mailing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a service with mail, in which people can sign in by mail and must verify their address."""
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
            if email in text:
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


def test_a_person_signs_up_by_mail(do: Do, mailing: Server, auth: Auth) -> None:  # noqa: F811 - the fixture
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
def test_a_person_signs_in_by_mail(do: Do, mailing: Server, auth: Auth, by: str) -> None:  # noqa: F811
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
def test_a_forgotten_password_is_replaced(do: Do, mailing: Server, auth: Auth, by: str) -> None:  # noqa: F811
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


def test_an_address_is_changed_and_changed_back(do: Do, mailing: Server, auth: Auth) -> None:  # noqa: F811
    """By the code of the mail to the new address, and by the link of the mail to the old one, which ends every session."""
    email, other = sign_up(mailing, auth), new_email()
    sent = do(auth.accounts, "request_email_change", other)
    do(auth.accounts, "confirm_email_change", code=mail_to(mailing, other)["code"], sent=sent)
    assert do(auth.accounts, "export")["account"][0]["email"] == other
    do(auth.accounts, "undo_email_change", mail_to(mailing, email)["token"])
    with pytest.raises((SessionEnded, MissingToken)):
        auth.accounts.export()
    auth.sign_in(email, PASSWORD)


def test_a_service_that_requires_a_verified_address_says_so(
    do: Do, tmp_path_factory: pytest.TempPathFactory, mailing: Server, auth: Auth  # noqa: F811
) -> None:
    """Whoever cannot sign in yet asks for the mail with address and password."""
    email = sign_up(mailing, auth)
    sent = do(auth.accounts, "request_verification")
    do(auth.accounts, "confirm_verification", code=mail_to(mailing, email)["code"], sent=sent)
    assert EmailNotVerified
    assert tmp_path_factory


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("request_sign_in", ["ada@example.com"]), ("request_password_reset", ["ada@example.com"]), ("confirm_sign_in", [])],
)
def test_a_service_without_mail_says_so(server: Server, name: str, arguments: list[str]) -> None:
    """Not as an outage, and not as a wrong code."""
    options = {} if arguments else {"token": "x" * 43}
    with pytest.raises(NotFound):
        getattr(Auth(server.url, MemoryTokens()).accounts, name)(*arguments, **options)
