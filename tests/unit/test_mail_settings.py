"""Settings of mail: the URL of the mail server, the sender, the notices, and what becomes of mail without them."""

from __future__ import annotations

from pathlib import Path

import pytest

from handstamp.assemble.mailing import MailTools
from handstamp.config.loading import load
from handstamp.config.mail_server import load_mail_server
from handstamp.domain.smtp import Mailbox, SmtpServer
from handstamp.errors import ConfigurationError

PASSWORD = "p@ss:w/rd"
SERVER = "smtp://mail.example.com"


def server(**fields: object) -> SmtpServer:
    """Return a server without user."""
    defaults: dict[str, object] = {"host": "mail.example.com", "port": 587, "protection": "starttls"}
    return SmtpServer(**defaults | fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (SERVER, server()),
        (f"{SERVER}:2525", server(port=2525)),
        (f"{SERVER}?tls=off", server(protection="none")),
        ("smtps://mail.example.com", server(port=465, protection="tls")),
        ("smtp://ada:p%40ss%3Aw%2Frd@mail.example.com", server(user="ada", password=PASSWORD)),
        ("smtp://ada%40example.com:x@mail.example.com:25", server(port=25, user="ada@example.com", password="x")),
        ("smtp://localhost:1025", server(host="localhost", port=1025, protection="none")),
        ("smtp://127.0.0.1?tls=required", server(host="127.0.0.1")),
        ("smtp://mail_server:25?tls=off", server(host="mail_server", port=25, protection="none")),
        ("smtp://[::1]:25", server(host="::1", port=25, protection="none")),
        ("inbox", "inbox"),
        ("", None),
    ],
)
def test_valid_urls(url: str, expected: object) -> None:
    """Off loopback the connection is protected unless the URL says otherwise."""
    assert load({"HANDSTAMP_SMTP_URL": url}).smtp_url == expected


@pytest.mark.parametrize(
    "url",
    [
        "mail.example.com",
        "http://mail.example.com",
        "smtp://",
        "smtp://:587",
        "smtp://mail.example.com:0",
        "smtp://mail.example.com:70000",
        "smtp://mail.example.com/path",
        "smtp://mail.example.com?tls=maybe",
        "smtp://mail.example.com?tls=off&tls=off",
        "smtp://mail.example.com?tls=off&debug=1",
        "smtp://mail.example.com#fragment",
        "smtps://mail.example.com?tls=off",
        "smtp://hush@mail.example.com",
        "smtp://:hush@mail.example.com",
        "smtp://ada:@mail.example.com",
        "smtp://@mail.example.com",
        "smtp://ada:hush%0d%0aQUIT@mail.example.com",
        "smtp://ada:hush%ff@mail.example.com",
        "smtp://ada:hu sh@mail.example.com",
        "smtp://ada:hush\n@mail.example.com",
        "smtp://ada:hush/@mail.example.com",
        "smtp://bücher.example",
    ],
)
def test_invalid_urls_are_refused_without_their_password(url: str) -> None:
    """The message says how to write it, and repeats nothing of it."""
    with pytest.raises(ConfigurationError, match="HANDSTAMP_SMTP_URL") as refused:
        load({"HANDSTAMP_SMTP_URL": url})
    assert "hush" not in str(refused.value)


def test_no_text_of_the_settings_shows_the_password() -> None:
    """Neither the settings nor the server."""
    settings = load({"HANDSTAMP_SMTP_URL": "smtp://ada:hush@mail.example.com"})
    assert "hush" not in f"{settings} {settings.smtp_url}"
    assert isinstance(settings.smtp_url, SmtpServer)
    assert settings.smtp_url.describe() == "mail.example.com:587"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no-reply@example.com", Mailbox("", "no-reply@example.com")),
        ("Example <no-reply@example.com>", Mailbox("Example", "no-reply@example.com")),
        ("", None),
        ('"Bücher & Co." <post@bücher.example>', Mailbox("Bücher & Co.", "post@bücher.example")),
    ],
)
def test_valid_senders(text: str, expected: Mailbox | None) -> None:
    """An address, alone or with a name, or none."""
    assert load({"HANDSTAMP_MAIL_FROM": text}).mail_from == expected


@pytest.mark.parametrize(
    "text",
    [
        "Example",
        "no-reply@",
        "@example.com",
        "a@b@c",
        "Example <a@b.c",
        "a@b.c>",
        "<a@b.c> <d@e.f>",
        "Example\r\nBcc: x@y.z <a@b.c>",
        "a@b.c\nBcc: x@y.z",
        "a b@c.d",
        "a,b@c.d",
    ],
)
def test_invalid_senders_are_refused(text: str) -> None:
    """A name or an address can add no header."""
    with pytest.raises(ConfigurationError, match="HANDSTAMP_MAIL_FROM"):
        load({"HANDSTAMP_MAIL_FROM": text})


@pytest.mark.parametrize("text", ["help@example.com", "https://example.com/help?a=b", ""])
def test_valid_contacts(text: str) -> None:
    """An address, the URL of a page, or none."""
    assert load({"HANDSTAMP_SUPPORT_CONTACT": text}).support_contact == text


@pytest.mark.parametrize("text", ["call us", "javascript:alert(1)", "http://example.com", "https://example.com/ x", "a@b\nc"])
def test_invalid_contacts_are_refused(text: str) -> None:
    """Nothing that a page must not link to."""
    with pytest.raises(ConfigurationError, match="HANDSTAMP_SUPPORT_CONTACT"):
        load({"HANDSTAMP_SUPPORT_CONTACT": text})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", set()),
        ("new_device, password_changed", {"new_device", "password_changed"}),
        ("account_deleted", {"account_deleted"}),
    ],
)
def test_notices_are_named(text: str, expected: set[str]) -> None:
    """All are sent unless the setting names others."""
    assert load({"HANDSTAMP_MAIL_NOTICES": text}).mail_notices == expected
    assert load({}).mail_notices > expected


@pytest.mark.parametrize("text", ["", "reset_password", "address_changed", "all,none", "everything"])
def test_only_notices_can_be_turned_off(text: str) -> None:
    """Mail that a person asks for, and the one that can undo a change of address, are always sent."""
    with pytest.raises(ConfigurationError, match="new_device"):
        load({"HANDSTAMP_MAIL_NOTICES": text})


def test_the_url_may_be_in_a_file(tmp_path: Path) -> None:
    """The file must be private, and there must be one source only."""
    file = tmp_path / "smtp"
    file.write_text("smtp://ada:hush@mail.example.com\n")
    file.chmod(0o600)
    named = {"HANDSTAMP_SMTP_URL_FILE": str(file)}
    assert load_mail_server(load(named)) == server(user="ada", password="hush")
    with pytest.raises(ConfigurationError, match="keep one"):
        load_mail_server(load(named | {"HANDSTAMP_SMTP_URL": SERVER}))
    file.write_text("smtp://hush@")
    with pytest.raises(ConfigurationError, match="write smtp://") as refused:
        load_mail_server(load(named))
    assert "hush" not in str(refused.value)
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load_mail_server(load(named))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_mail_server(load({"HANDSTAMP_SMTP_URL_FILE": str(tmp_path / "none")}))


def test_a_file_of_settings_with_the_password_must_be_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for the password of a database."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "handstamp.toml"
    file.write_text('smtp_url = "smtp://ada:hush@mail.example.com"\n')
    file.chmod(0o644)
    with pytest.raises(ConfigurationError, match="chmod 600"):
        load({})


@pytest.mark.parametrize(
    ("settings", "is_on", "confirms"),
    [
        ({"issuer": "https://auth.example.com"}, False, False),
        ({"issuer": "https://auth.example.com", "smtp_url": SERVER, "mail_from": "a@b.c"}, True, True),
        ({"issuer": "http://localhost:8000"}, True, False),
        ({"issuer": "http://localhost:8000", "smtp_url": "inbox"}, True, True),
        ({"issuer": "http://localhost:8000", "smtp_url": SERVER, "mail_from": "a@b.c"}, True, True),
        ({"issuer": "https://localhost", "host": "0.0.0.0"}, False, False),
        ({"issuer": "http://localhost:8000", "trusted_proxies": "10.0.0.1"}, False, False),
    ],
)
def test_what_becomes_of_mail(settings: dict[str, str], is_on: bool, confirms: bool) -> None:
    """Without a mail server, mail is shown on loopback and is off elsewhere, and signing up needs no proof."""
    tools = MailTools(load({}, **settings))
    assert (tools.way != "off", tools.confirms_sign_up) == (is_on, confirms)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"issuer": "https://auth.example.com", "smtp_url": "inbox"}, "loopback only"),
        ({"issuer": "https://localhost", "host": "0.0.0.0", "smtp_url": "inbox"}, "loopback only"),
        ({"issuer": "http://localhost", "trusted_proxies": "unix", "smtp_url": "inbox"}, "behind a proxy"),
        ({"issuer": "https://auth.example.com", "smtp_url": SERVER}, "HANDSTAMP_MAIL_FROM is not set"),
    ],
)
def test_contradicting_settings_are_refused(settings: dict[str, str], why: str) -> None:
    """The inbox is never shown where others could see it, and mail has a sender."""
    with pytest.raises(ConfigurationError, match=why):
        MailTools(load({}, **settings))
