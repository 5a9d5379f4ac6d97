"""Accounts in the client for React Native: without cookies, the codes of mails are bound to a ticket in the device's store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyotp
import pytest

from tests.mail_server import MailServer, mail_server
from tests.mailbox import Mailbox
from tests.native.device import Device
from tests.packaging.npm import ClientPackage
from tests.serving import PASSWORD, Server
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("npm-clients")]


@pytest.fixture(scope="module")
def mail() -> Iterator[MailServer]:
    """Run a mail server."""
    with mail_server() as running:
        yield running


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mail: MailServer) -> Iterator[Server]:
    """Run a service that sends mail."""
    settings = {"SMTP_URL": f"smtp://localhost:{mail.port}", "MAIL_FROM": "auth@example.com", "SIGN_IN_BY_CODE": "on"}
    running = Server(tmp_path_factory.mktemp("native-accounts"), **settings)
    yield running.start()
    running.stop()


@pytest.fixture
def mailbox(mail: MailServer) -> Mailbox:
    """Return the mailbox of a new address."""
    return Mailbox(mail, f"ada-{uuid4().hex[:8]}@example.com")


@pytest.fixture
def device(client_package: ClientPackage, server: Server, mailbox: Mailbox, tmp_path: Path) -> Iterator[Device]:
    """Return a device whose application has started and is signed out."""
    running = Device(client_package.folder / "dist/native.js", server.url, tmp_path / "store.json", mailbox.address)
    running.run("start()")
    assert running.run("until({ status: 'signed-out' })") == {"status": "signed-out"}
    yield running
    running.kill()


def sign_up(device: Device, mailbox: Mailbox) -> None:
    """Create the account and sign in."""
    account = json.dumps({"email": device.email, "password": PASSWORD})
    sent = device.run(f"auth.register({account})")
    assert sent == {"status": "mail-sent", "email": device.email, "expiresIn": 3600, "codeExpiresIn": 600}
    assert device.run(f"auth.confirmRegistration({{ code: '{mailbox.code()}' }})")["status"] == "signed-in"


def test_the_application_is_killed_while_the_person_reads_the_mail(device: Device, mailbox: Mailbox) -> None:
    """The ticket is in the store. Another device cannot use the code."""
    sign_up(device, mailbox)
    assert device.run("auth.profile()")["emailVerified"] is True
    assert device.run("auth.signOut()") is None
    device.run(f"auth.requestCode('{device.email}')")
    code = mailbox.code()
    assert eventually(lambda: "ticket" in device.stored)
    device.restart()
    assert device.run("until({ status: 'signed-out' })") == {"status": "signed-out"}
    assert device.run(f"auth.signInWithCode({{ code: '{code}' }})")["status"] == "signed-in"
    assert "token" in device.stored
    device.restart()
    assert device.run("until({ status: 'signed-in' })")["online"] is True


def test_another_device_cannot_use_the_code(device: Device, mailbox: Mailbox, server: Server) -> None:
    """Whoever has the code alone is refused."""
    sign_up(device, mailbox)
    device.run("auth.signOut()")
    device.run(f"auth.requestCode('{device.email}')")
    with server.client() as client:
        answer = client.post("/login/code/confirm", json={"code": mailbox.code()})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_code")


def test_a_new_password_and_the_end_of_the_account(device: Device, mailbox: Mailbox) -> None:
    """The new session's token is stored; a deleted account leaves nothing on the device."""
    sign_up(device, mailbox)
    first = device.stored["token"]
    new_password = "another kelp lantern of the tests"
    assert device.run(f"auth.changePassword('{PASSWORD}', '{new_password}')")["status"] == "signed-in"
    assert device.stored["token"] != first
    assert device.run("auth.profile()")["email"] == device.email
    device.restart()
    assert device.run("until({ status: 'signed-in' })")["online"] is True
    assert device.run(f"auth.deleteAccount('{device.email}')") is None
    assert eventually(lambda: "token" not in device.stored)
    assert device.run(f"auth.signIn('{device.email}', '{new_password}')") == "HandstampError: invalid_credentials"


def test_signing_in_with_two_steps(device: Device, mailbox: Mailbox) -> None:
    """The challenge is bound to a ticket, since there is no cookie. Nothing is stored before the last step."""
    sign_up(device, mailbox)
    made = device.run("auth.createTotp().then((made) => (globalThis.made = made))")
    code = pyotp.TOTP(made["secret"].replace(" ", "")).now()
    (recovery, *_) = device.run(f"auth.confirmTotp(made, '{code}')")
    assert device.run("auth.signOut()") is None
    first = device.run(f"auth.signIn('{device.email}', '{PASSWORD}').then((first) => (globalThis.first = first))")
    assert first["status"] == "second-factor"
    assert device.stored == {}
    assert device.run(f"auth.secondFactor({{ ...first, ticket: undefined }}, {{ recoveryCode: '{recovery}' }})") == (
        "HandstampError: invalid_challenge"
    )
    assert device.run(f"auth.secondFactor(first, {{ recoveryCode: '{recovery}' }})")["status"] == "signed-in"
    assert "token" in device.stored
