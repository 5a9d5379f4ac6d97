"""Text that PostgreSQL cannot hold, in every place where a stranger can put some: never "unavailable", never a fault of ours."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator

import pytest

from tests.integration.helpers import new_email, run_server, send_raw, sign_in
from tests.postgres import fresh_database
from tests.serving import PASSWORD, Server

TEXTS = {
    "NUL": ("\\u0000", "%00", b"\x00"),
    "half a surrogate pair": ("\\ud800", "%ed%a0%80", b"\xed\xa0\x80"),
    "bytes that are no text": ("\\u00ff", "%ff%fe", b"\xff\xfe"),
    "outside the basic plane": ("\\ud83d\\ude00", "%f0%9f%98%80", b"\xf0\x9f\x98\x80"),
    "very long": ("x" * 9000, "x" * 9000, b"x" * 9000),
}
"""Each text in JSON, in a URL or a form, and in a header field."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, postgres_server: str) -> Iterator[Server]:
    """Run a service on PostgreSQL."""
    with asyncio.Runner() as runner:
        opened = fresh_database(postgres_server)
        settings = {"DATABASE": runner.run(opened.__aenter__()), "SECRET": "a secret of the test, thirty-two bytes"}
        with run_server(tmp_path_factory.mktemp("postgres"), **settings) as running:
            yield running
        runner.run(opened.__aexit__(None, None, None))


@pytest.mark.slow
@pytest.mark.parametrize("in_json, in_url, in_header", TEXTS.values(), ids=TEXTS)  # noqa: PT006 - as the others
def test_no_text_of_a_stranger_reaches_the_database_as_an_error(
    server: Server, count: Callable[[str], None], in_json: str, in_url: str, in_header: bytes
) -> None:
    """Bodies, forms, paths, queries, cookies and header fields: every answer is an ordinary one."""
    statuses: list[int] = []
    with server.client() as client:
        email = new_email()
        client.post("/register", json={"email": email, "password": PASSWORD})
        bearer = sign_in(client, email).bearer

        def send(method: str, path: str, **request: object) -> None:
            statuses.append(client.request(method, path, **request).status_code)  # type: ignore[arg-type]

        def send_json(path: str, **fields: str) -> None:
            body = "{" + ", ".join(f'"{name}": "{value}"' for name, value in fields.items()) + "}"
            send("POST", path, content=body.encode(), headers={"content-type": "application/json", **bearer})

        for address in (f"a{in_json}b@example.com", f"ada@{in_json}.example", in_json):
            send_json("/register", email=address, password=PASSWORD)
            send_json("/login", email=address, password=PASSWORD)
        send_json("/register", email=new_email(), password=f"{PASSWORD}{in_json}")
        send_json("/login", email=email, password=in_json)
        send_json("/login", email=email, password=PASSWORD, delivery=in_json)
        send_json("/password", currentPassword=in_json, newPassword=in_json)
        send_json("/refresh", refreshToken=in_json)
        send_json("/logout", refreshToken=in_json)
        form = {"content-type": "application/x-www-form-urlencoded"}
        for path in ("/token", "/revoke", "/introspect", "/sign-in", "/create-account"):
            for name in ("token", "refresh_token", "email", "return_to", "client_id"):
                send("POST", path, content=f"grant_type=refresh_token&password=x&{name}={in_url}", headers=form)
        send("DELETE", f"/sessions/{in_url}", headers=bearer)
        for path in ("/sessions?after=", "/sign-in?return_to=", "/revocations?after=", "/account?done="):
            send("GET", f"{path}{in_url}", headers=bearer)
        credential = base64.b64encode(in_header + b":" + in_header)
        send("GET", "/revocations", headers={b"authorization": b"Basic " + credential})
    statuses += send_headers(server, email, in_header)
    assert 500 not in statuses
    assert 503 not in statuses
    assert {200, 401} <= set(statuses)
    count(f"{len(statuses)} requests")


def send_headers(server: Server, email: str, value: bytes) -> list[int]:
    """Sign in with this text in header fields whose values are stored, and return the statuses."""
    found = []
    body = f'{{"email": "{email}", "password": "{PASSWORD}"}}'.encode()
    for name in (b"User-Agent", b"X-Forwarded-For", b"Idempotency-Key", b"Cookie"):
        head = b"POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n"
        request = head + name + b": " + value + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        found.append(int(send_raw(server, request).split()[1]))
    return found
