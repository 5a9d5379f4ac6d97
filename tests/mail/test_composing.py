"""What messages look like: every kind, hostile values, and templates of a deployment."""

from __future__ import annotations

import email
import logging
import re
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from handstamp.assemble.mailing import MailTools
from handstamp.config.loading import load
from handstamp.domain.brand import Brand
from handstamp.domain.issuer import Issuer
from handstamp.domain.mail import MAIL_KINDS, AddressChanged, MailKind
from handstamp.domain.smtp import Mailbox
from handstamp.errors import ConfigurationError
from handstamp.mail.composer import Composer
from handstamp.mail.layout import NAMES, load_layout
from handstamp.mail.samples import SAMPLES, make_sample
from handstamp.mail.words import Words
from handstamp.service.mailing.delivery import Message
from tests.builders import NOW_MS

pytestmark = pytest.mark.anyio
ISSUER = Issuer("https://auth.example.com")
FROM = Mailbox("Example", "no-reply@example.com")
HOSTILE = "Eve\r\nBcc: victims@example.com\r\n\r\n<script>alert(1)</script>"


def compose(kind: MailKind = "reset_password", *, folder: Path | None = None, sender: Mailbox = FROM, **fields: Any) -> Message:
    """Return the message of an example, with other values of its letter."""
    layout = {} if folder is None else {"layout": load_layout(folder)}
    mail, letter = make_sample(kind, at_ms=NOW_MS)
    return Composer(issuer=ISSUER, sender=sender, brand=Brand(support="help@example.com"), **layout).compose(
        mail, msgspec.structs.replace(letter, **fields)
    )


def parse(message: Message) -> EmailMessage:
    """Return a message as its reader sees it."""
    parsed = email.message_from_bytes(message.data, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def test_there_is_an_example_of_every_kind() -> None:
    """So that every kind is tried with the templates of a deployment."""
    assert SAMPLES.keys() == set(get_args(MailKind))


@pytest.mark.parametrize("kind", get_args(MailKind))
def test_every_kind_says_what_it_is_about(kind: MailKind) -> None:
    """In both parts: the link, the code, when and from where, and whom to ask."""
    message = compose(kind)
    parsed = parse(message)
    assert parsed.get_content_type() == "multipart/alternative"
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]
    assert "auth.example.com" in message.subject
    for text in (message.text, message.html):
        for wanted in ("auth.example.com", "2027-01-15 08:00:00 UTC", "192.0.2.1", "Firefox on Linux", "help@example.com"):
            assert wanted in text
        content = SAMPLES[kind]
        for name, value in msgspec.structs.asdict(content).items():
            assert not isinstance(value, str) or name == "factor" or value in text
    assert "000000" not in message.subject
    assert message.html.count("<h1>") == 1


def test_every_message_can_be_recognised() -> None:
    """A message has the same id whenever it is made, and no answering machine answers it."""
    first, second = parse(compose()), parse(compose())
    assert first["Message-ID"] == second["Message-ID"] == "<sample@example.com>"
    assert first["Date"].datetime.timestamp() * 1000 == NOW_MS
    assert first["Auto-Submitted"] == "auto-generated"


def test_every_line_is_one_that_smtp_can_carry() -> None:
    """ASCII, ending with CRLF, and at most 998 characters long (RFC 5321 §4.5.3.1.6)."""
    for kind in MAIL_KINDS:
        data = compose(kind, user_agent="Firefox/1" * 500).data
        assert data.isascii()
        assert data.count(b"\n") == data.count(b"\r\n") == data.count(b"\r")
        assert max(map(len, data.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "fields",
    [
        {"ip": HOSTILE},
        {"user_agent": HOSTILE},
        {"user_agent": "Win-a-prize at https://evil.example/1"},
        {"content": AddressChanged(old=HOSTILE, new="</p><a href='https://evil.example'>x</a>")},
    ],
)
def test_hostile_values_add_no_header_and_no_element(fields: dict[str, Any]) -> None:
    """A client's own words are shown only where a browser or a system is recognised in them."""
    message = compose(**fields)
    parsed = parse(message)
    assert sorted(parsed.keys()) == sorted(
        ["From", "To", "Subject", "Date", "Message-ID", "Auto-Submitted", "Content-Language", "MIME-Version", "Content-Type"]
    )
    assert parsed["To"] == "ada@example.com"
    assert "<script" not in message.html
    assert "href='https://evil" not in message.html
    if "user_agent" in fields:
        assert "evil" not in message.text
        assert "Eve" not in message.text


@pytest.mark.parametrize(
    "to",
    [
        "a@b\r\nBcc: x@y.z",
        "ada@example.com, eve@example.com",
        "<eve@example.com>",
        "ada",
        "ada@",
        "a b@example.com\n",
        "ada@-.example",
    ],
)
def test_an_address_that_is_none_gets_no_mail(to: str) -> None:
    """Composing fails, and the sender gives the mail up."""
    try:
        message = compose(to=to)
    except ValueError:
        return
    assert len(parse(message)["To"].addresses) == 1
    assert "\r" not in message.to
    assert "\n" not in message.to


@pytest.mark.parametrize("name", ["Bücher & Söhne", 'The "best" <shop>', "示例", "a" * 300, "Ünï\u202ecode"])
def test_any_name_of_the_sender_is_encoded(name: str) -> None:
    """It comes back as it was."""
    sender = parse(compose(sender=Mailbox(name, "no-reply@bücher.example")))["From"].addresses[0]
    assert (sender.display_name, sender.addr_spec) == (name, "no-reply@xn--bcher-kva.example")


def test_a_sender_outside_ascii_is_refused() -> None:
    """Not every server could take its mail."""
    with pytest.raises(ValueError, match="ASCII"):
        compose(sender=Mailbox("", "björn@example.com"))


# --- templates of a deployment


def test_a_template_replaces_the_built_in_one(tmp_path: Path) -> None:
    """For all kinds, or for one; the built-in one can be extended by its name."""
    (tmp_path / "mail.txt").write_text("Dear customer: {{ words.text }}\n{{ words.link }}")
    (tmp_path / "sign_in_code.txt").write_text("Code {{ words.code }}")
    (tmp_path / "notes.md").write_text("for the team")
    assert compose(folder=tmp_path).text.startswith("Dear customer: A new password")
    assert compose("sign_in_code", folder=tmp_path).text == "Code 000000"
    assert compose(folder=tmp_path).html == compose().html


def test_values_are_escaped_in_html_only(tmp_path: Path) -> None:
    """By the name of the template."""
    for name in ("mail.txt", "mail.html"):
        (tmp_path / name).write_text("{{ words.text }}")
    message = compose("address_changed", folder=tmp_path, content=AddressChanged(old="<b>", new="x"))
    assert "<b>" in message.text
    assert "&lt;b&gt;" in message.html


@pytest.mark.parametrize("form", ["txt", "html"])
def test_a_template_that_raises_is_replaced_and_logged(tmp_path: Path, form: str, caplog: pytest.LogCaptureFixture) -> None:
    """The mail goes out in the built-in form. The log names the line, and no value."""
    (tmp_path / f"mail.{form}").write_text("line one\n{{ [words.link][1 if kind == 'reset_password' else 0].x }}")
    with caplog.at_level(logging.WARNING):
        message = compose(folder=tmp_path)
    assert (message.text, message.html) == (compose().text, compose().html)
    (record,) = caplog.records
    assert "mail_template_failed" in record.getMessage()
    assert f"mail.{form}:2" in record.getMessage()
    assert "never-sent" not in caplog.text


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("mail.html", "{% if %}", "line 1"),
        ("mail.txt", "a\n{{ words.nothing }}", "mail.txt:2 fails for account_deleted"),
        ("sign_in_code.txt", "{{ 1 / 0 }}", "fails for sign_in_code"),
        ("sign_in.html", "x", "a name that no mail has"),
        ("mail.txt", "{{ ().__class__.__mro__[1].__subclasses__() }}", "unsafe"),
        ("mail.html", "\udcff", "mail.html"),
    ],
)
async def test_a_mistake_in_a_template_is_found_at_the_start(tmp_path: Path, name: str, text: str, why: str) -> None:
    """Each kind is laid out once, with examples. A template cannot reach into the process."""
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    tools = MailTools(load({}, issuer="https://auth.example.com", mail_templates=str(tmp_path)))
    with pytest.raises(ConfigurationError, match=why):
        await tools.load_composer()


async def test_templates_may_be_mounted_as_kubernetes_does(tmp_path: Path) -> None:
    """Links to files in a folder that has a hidden name, and a link to a file that is gone."""
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "mail.txt").write_text("Mounted {{ words.text }}")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "mail.txt").symlink_to("..data/mail.txt")
    assert compose(folder=tmp_path).text.startswith("Mounted")
    (tmp_path / "mail.html").symlink_to("..data/mail.html")
    with pytest.raises(ConfigurationError, match=r"mail\.html"):
        await MailTools(load({}, issuer="https://auth.example.com", mail_templates=str(tmp_path))).load_composer()


async def test_a_folder_of_templates_must_exist_and_be_ours(tmp_path: Path) -> None:
    """A template is a program: who can change it can read every link."""
    with pytest.raises(ConfigurationError, match="no folder"):
        await MailTools(load({}, issuer="https://auth.example.com", mail_templates=str(tmp_path / "none"))).load_composer()
    (tmp_path / "mail.txt").write_text("x")
    (tmp_path / "mail.txt").chmod(0o666)
    with pytest.raises(ConfigurationError, match="chmod go-w"):
        await MailTools(load({}, issuer="https://auth.example.com", mail_templates=str(tmp_path))).load_composer()


def test_the_how_to_lists_every_kind_and_every_value() -> None:
    """With the descriptions of the code."""
    text = (Path(__file__).parents[2] / "docs/how-to/mail.md").read_text("utf-8")
    for kind, rule in MAIL_KINDS.items():
        assert f"| `{kind}` | {rule.description} |" in text
    for name in Words.__struct_fields__:
        assert f"`words.{name}`" in text
    listed = [kind for kind in re.findall(r"^\| `(\w+)`", text, re.MULTILINE) if kind in MAIL_KINDS]
    assert set(listed[-9:]) == {kind for kind, rule in MAIL_KINDS.items() if rule.is_notice}


def test_names_of_templates_are_those_of_kinds() -> None:
    """And `mail` for all others."""
    assert {f"{kind}.html" for kind in MAIL_KINDS} | {"mail.txt", "mail.html"} <= NAMES


@pytest.mark.parametrize("kind", get_args(MailKind))
def test_every_kind_is_translated_as_a_whole(kind: MailKind) -> None:
    """In Arabic, no English sentence is left, and the HTML is written from right to left."""
    message = compose(kind, language="ar-EG")
    assert '<html lang="ar" dir="rtl">' in message.html
    assert parse(message)["Content-Language"] == "ar"
    ours = re.sub(r"https?://\S+|\S+@\S+|auth\.example\.com|Firefox|Linux|UTC|Google|an authenticator app", "", message.text)
    assert re.findall(r"[A-Za-z]{2,}", ours) == []
    assert re.search(r"[\u0600-\u06ff]", message.subject)


def test_mail_has_the_brand() -> None:
    """Its name in the subject and below, its colour on the button."""
    mail, letter = make_sample("verify_email", at_ms=NOW_MS)
    brand = Brand(name="Acme & Sons", light="#5b21b6", dark="#c4b5fd", support="help@example.com")
    message = Composer(issuer=ISSUER, sender=FROM, brand=brand).compose(mail, letter)
    assert parse(message)["subject"] == "Confirm your address for Acme & Sons"
    assert "Acme & Sons, questions: help@example.com" in message.text
    assert "Acme &amp; Sons, questions: help@example.com" in message.html
    assert "background: #5b21b6" in message.html
    assert "background: #c4b5fd" in message.html
