"""The client for React Native, in Node with a real service: the refresh token is kept in a store of the application's own."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from tests.native.device import Device
from tests.packaging.npm import ClientPackage
from tests.serving import PASSWORD, Server
from tests.verifying import eventually

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("npm-clients")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a running service."""
    running = Server(tmp_path_factory.mktemp("native"))
    yield running.start()
    running.stop()


@pytest.fixture
def install_application(client_package: ClientPackage, server: Server, tmp_path: Path) -> Iterator[Callable[[], Device]]:
    """Return a function that installs the application on a new device, for a new account."""
    library = client_package.folder / "dist/native.js"
    devices: list[Device] = []

    def install() -> Device:
        email = f"ada-{uuid4().hex[:8]}@example.com"
        assert server.register(email).status_code == 201
        devices.append(Device(library, server.url, tmp_path / f"store-{len(devices)}.json", email))
        return devices[-1]

    yield install
    for device in devices:
        device.kill()


@pytest.fixture
def device(install_application: Callable[[], Device]) -> Device:
    """Return a device whose application has started and is signed out."""
    installed = install_application()
    installed.run("start()")
    assert installed.run("until({ status: 'signed-out' })") == {"status": "signed-out"}
    return installed


def refresh(server: Server, token: str) -> httpx.Response:
    """Refresh with a token of the store, as a thief would."""
    with server.client() as client:
        return client.post("/refresh", json={"refreshToken": token})


def test_a_session_outlives_the_application(device: Device) -> None:
    """After a restart the stored token restores the session, and is replaced."""
    session = device.sign_in()
    first = device.stored["token"]
    device.restart()
    assert device.run("until({ status: 'signed-in' })") == {"status": "signed-in", "online": True, "sessionId": session}
    assert device.run("auth.profile()")["email"] == device.email
    assert device.stored["token"] != first


def test_a_wrong_password_and_a_request_to_another_origin(device: Device) -> None:
    """Errors are the same as in a browser. The token goes to named origins only."""
    assert device.run(f"auth.signIn({device.email!r}, 'not this one at all')") == "HandstampError: invalid_credentials"
    device.sign_in()
    assert device.run("auth.fetch('http://127.0.0.1:1/')").startswith("TypeError: http://127.0.0.1:1 may not get the access")


def test_sign_out_ends_the_session_and_empties_the_store(device: Device, server: Server) -> None:
    """Nothing is left on the device."""
    device.sign_in()
    token = device.stored["token"]
    assert device.run("auth.signOut()") is None
    assert device.run("auth.state") == {"status": "signed-out", "reason": "logout"}
    assert device.stored == {}
    assert refresh(server, token).json()["reason"] == "logout"
    device.restart()
    assert device.run("until({ status: 'signed-out' })") == {"status": "signed-out"}


def test_sign_out_everywhere_empties_the_store(device: Device) -> None:
    """The token has no use any more."""
    device.sign_in()
    assert device.run("auth.signOutEverywhere()") is None
    assert eventually(lambda: device.stored == {})


def test_a_sign_out_while_offline_is_finished_by_a_later_start(device: Device, server: Server) -> None:
    """The person is signed out at once. The token waits in the store until the service has ended the session."""
    device.sign_in()
    token = device.stored["token"]
    server.kill()
    try:
        assert device.run("auth.signOut()") == "OfflineError: The service cannot be reached, or cannot answer now."
        assert device.run("auth.state.status") == "signed-out"
        assert device.stored == {"ending": [token]}
        device.restart()
        assert device.run("until({ status: 'signed-out' })")["reason"] == "logout"
        assert device.stored == {"ending": [token]}
    finally:
        server.start()
    device.restart()
    assert eventually(lambda: device.stored == {})
    assert device.run("auth.state.status") == "signed-out"
    assert refresh(server, token).json()["reason"] == "logout"


def test_a_sign_in_after_a_sign_out_while_offline(device: Device, server: Server) -> None:
    """The new session begins, and the earlier one ends."""
    device.sign_in()
    former = device.stored["token"]
    server.kill()
    try:
        assert device.run("auth.signOut()").startswith("OfflineError")
    finally:
        server.start()
    session = device.sign_in()
    assert eventually(lambda: device.stored.get("ending") == [])
    assert refresh(server, former).json()["reason"] == "logout"
    device.restart()
    assert device.run("until({ status: 'signed-in' })")["sessionId"] == session


def test_a_sign_in_over_a_session_ends_the_former_one(device: Device, server: Server) -> None:
    """No session stays behind that the device has forgotten."""
    device.sign_in()
    former = device.stored["token"]
    device.sign_in()
    assert eventually(lambda: device.stored.get("ending") == [])
    assert refresh(server, former).json()["reason"] == "logout"
    assert device.run("auth.profile()")["email"] == device.email


def test_a_sign_out_during_a_sign_in(device: Device) -> None:
    """The session that the sign-in begins ends, too."""
    outcomes = device.run(
        f"Promise.allSettled([auth.signIn({device.email!r}, {PASSWORD!r}), auth.signOut()])"
        ".then((all) => all.map(({ status, reason }) => reason?.code ?? status))"
    )
    assert outcomes == ["session_ended", "fulfilled"]
    assert device.stored == {}
    device.restart()
    assert device.run("until({ status: 'signed-out' })") == {"status": "signed-out"}


def test_a_sign_out_before_the_store_was_read(device: Device, server: Server) -> None:
    """An application may sign out as soon as it starts."""
    device.sign_in()
    token = device.stored["token"]
    device.kill()
    device.open()
    assert device.run("(start(), auth.signOut())") is None
    assert device.stored == {}
    assert refresh(server, token).json()["reason"] == "logout"


def test_a_request_is_aborted_while_the_store_is_read(device: Device, server: Server) -> None:
    """The request ends. The session is not affected."""
    device.kill()
    device.open()
    aborted = f"auth.fetch('{server.url}/profile', {{ signal: controller.signal }}).catch(({{ name }}) => name)"
    device.run("(hanging.add('get'), (globalThis.controller = new AbortController()), start())")
    device.run(f"void (globalThis.outcome = {aborted})")
    assert device.run("(controller.abort(), outcome)") == "AbortError"
    assert device.run("auth.state.status") == "unknown"


def test_an_application_that_is_killed_before_the_new_token_is_stored(device: Device) -> None:
    """The service takes the former token again, because the new one was never used."""
    session = device.sign_in()
    first = device.stored["token"]
    device.kill()
    device.open()
    device.run("(hanging.add('set'), start())")
    assert eventually(lambda: device.run("isHanging"))
    assert device.run("auth.state.status") == "unknown"
    assert device.stored["token"] == first
    device.restart()
    assert device.run("until({ status: 'signed-in' })")["sessionId"] == session
    assert device.stored["token"] != first


def test_a_store_that_cannot_be_read_signs_nobody_out(device: Device) -> None:
    """As before the device is unlocked. The state says so, and the client tries again."""
    session = device.sign_in()
    device.kill()
    device.open()
    device.run("(failing.add('get'), start())")
    assert eventually(lambda: "problem" in device.run("auth.state"))
    problem = "The token store cannot be read: Error: User interaction is not allowed"
    assert device.run("auth.state") == {"status": "unknown", "online": False, "problem": problem}
    assert device.run("auth.profile()").startswith("OfflineError")
    device.run("failing.clear()")
    assert device.run("auth.profile()")["email"] == device.email
    assert device.run("auth.state") == {"status": "signed-in", "online": True, "sessionId": session}


def test_a_store_that_cannot_be_written(device: Device) -> None:
    """The session goes on in memory. The next change is stored again."""
    device.run("failing.add('set')")
    device.sign_in()
    assert device.stored == {}
    assert device.run("auth.profile()")["email"] == device.email
    device.run("failing.clear()")
    device.sign_in()
    assert device.stored["token"]


def test_a_damaged_item_counts_as_no_session(device: Device) -> None:
    """The person signs in again."""
    device.sign_in()
    (key,) = json.loads(device.file.read_text())
    device.file.write_text(json.dumps({key: "{damaged"}))
    device.restart()
    assert device.run("until({ status: 'signed-out' })") == {"status": "signed-out"}


def test_sign_outs_that_wait_fit_into_an_item(device: Device, server: Server) -> None:
    """A secure store takes 2048 bytes. The item is far smaller with one session, and never larger with many."""
    device.sign_in()
    (item,) = json.loads(device.file.read_text()).values()
    assert len(item) < 700
    many = json.dumps({"ending": [f"{number}{device.stored['token']}" for number in range(9)]})
    device.kill()
    device.file.write_text(json.dumps(dict.fromkeys(json.loads(device.file.read_text()), many)))
    server.kill()
    try:
        device.open()
        device.run("start()")
        assert device.run("until({ status: 'signed-out' })")["reason"] == "logout"
        assert device.run("auth.signOut()").startswith("OfflineError")
        (item,) = json.loads(device.file.read_text()).values()
        assert len(item) <= 2048
        assert json.loads(item)["ending"][-1].startswith("8")
    finally:
        server.start()


def test_a_renewal_in_the_background_stores_the_token(device: Device) -> None:
    """The client renews when the token is due, here because the device's clock went on."""
    device.sign_in()
    first = device.stored["token"]
    device.run("(Date.now = ((now) => () => now() + 86_400_000)(Date.now), auth.profile())")
    assert eventually(lambda: device.stored["token"] != first)
    assert device.run("auth.profile()")["email"] == device.email


def test_a_trace_goes_on_in_the_service(device: Device, server: Server) -> None:
    """The `traceparent` of a request arrives as it was given, and the log has its trace id."""
    device.sign_in()
    trace_id = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace_id}-00f067aa0ba902b7-01"}
    assert device.run(f"auth.fetch('{server.url}/nothing', {{ headers: {headers} }}).then(({{ status }}) => status)") == 404
    (line,) = [json.loads(line) for line in server.log.read_text().splitlines() if trace_id in line]
    assert (line["event"], line["trace_id"]) == ("request_refused", trace_id)
    device.run(
        """(Date.now = ((now) => () => now() + 86_400_000)(Date.now),
            globalThis.renewals = [],
            globalThis.fetch = ((fetch) => (input, init) => {
                if (String(input).endsWith("/refresh")) renewals.push(init.headers.traceparent);
                return fetch(input, init);
            })(fetch),
            0)""".replace("\n", "")
    )
    device.run(f"auth.fetch('{server.url}/nothing', {{ headers: {headers} }}).then(({{ status }}) => status)")
    assert eventually(lambda: device.run("renewals") == list(headers.values()))
