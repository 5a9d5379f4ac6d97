"""Tests of `handstamp keys retire` beside a service of two workers: a leaked key is soon refused by both."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.commands import output_of, run_command
from tests.integration.helpers import (
    SignedIn,
    client_of,
    create_credential,
    expect_problem,
    mint_of,
    profile,
    refresh,
    run_server,
    sign_in_new_user,
)
from tests.serving import Server

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("leaked-keys")]
CONNECTIONS = 24
"""With this number of connections, one of two workers serves none in one of eight million runs."""
PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with two workers."""
    with run_server(tmp_path_factory.mktemp("leaked"), "--workers", "2") as server:
        yield server


def kid_of(token: str) -> str:
    """Return the key id in a token's header."""
    kid: str = json.loads(base64.urlsafe_b64decode(token.partition(".")[0] + "=="))["kid"]
    return kid


def keys_of(server: Server) -> dict[str, str]:
    """Return the state of each key, oldest first, from `keys list`."""
    listed: list[dict[str, Any]] = json.loads(output_of(run_command(server.folder, "keys", "list", "--json")))
    return {key["kid"]: key["state"] for key in listed}


def published_kids(client: httpx.Client) -> set[str]:
    """Return the ids of the keys that the worker behind a connection publishes."""
    return {key["kid"] for key in client.get("/.well-known/jwks.json").json()["keys"]}


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until a condition is true; fail if it does not become true in time."""
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, "it never came to that"
        time.sleep(0.02)


def test_a_leaked_key_is_void_in_every_process(server: Server) -> None:
    """With `--now`, all workers refuse the key's tokens and stop publishing the key (R31).

    The feed announces it, and all sessions can refresh.
    """
    credential = create_credential(server)
    with ExitStack() as stack:
        clients = [stack.enter_context(client_of(server)) for _ in range(CONNECTIONS)]
        people = [sign_in_new_user(clients[0], delivery=delivery) for delivery in ("json", "split", "cookie")]
        leaked = kid_of(people[0].access)
        forged = mint_of(server).access(people[0].access, jti="a thief's own")
        by_thief = {"authorization": f"Bearer {forged}"}
        assert all(client.get("/profile", headers=by_thief).status_code == 200 for client in clients), "a leaked key opens doors"
        cursor = clients[0].get("/revocations", auth=credential.basic).json()["cursor"]

        said = output_of(run_command(server.folder, "keys", "retire", leaked, "--now"))
        assert leaked in said
        assert "no session ends" in said.lower()
        wait_until(lambda: all(leaked not in published_kids(client) for client in clients))
        for client in clients:
            expect_problem(client.get("/profile", headers=by_thief), 401, "invalid_token")
            assert client.post("/introspect", data={"token": forged}, auth=credential.basic).json() == {"active": False}
            for person in people:
                expect_problem(profile(client, person), 401, "invalid_token")

        page = clients[0].get("/revocations", params={"after": cursor}, auth=credential.basic).json()
        ((entry),) = page["entries"]
        assert (entry.keys(), entry["kid"]) == ({"kid", "exp"}, leaked)
        assert entry["exp"] - page["now"] > 3600

        renewed = [person.after(refresh(clients[number], person)) for number, person in enumerate(people)]
        assert {kid_of(person.access) for person in renewed} == published_kids(clients[0])
        assert leaked not in published_kids(clients[0])
        for client in clients:
            assert [profile(client, person).status_code for person in renewed] == [200, 200, 200]
    assert list(keys_of(server).values()) == ["active"]
    assert "Traceback" not in server.log.read_text()


def test_retiring_a_key_keeps_its_tokens_valid(server: Server) -> None:
    """Without `--now`, tokens stay valid and a successor is published ahead. A key that has not signed is deleted."""
    with server.client() as client:
        ada: SignedIn = sign_in_new_user(client)
        first = kid_of(ada.access)
        assert "Another key replaces" in output_of(run_command(server.folder, "keys", "retire", first))
        assert list(keys_of(server).values()) == ["active", "published"]
        second = next(kid for kid, state in keys_of(server).items() if state == "published")
        assert "Another key replaces" in output_of(run_command(server.folder, "keys", "retire", first))
        assert list(keys_of(server)) == [first, second], "asking twice makes no second successor"
        assert "Removed" in output_of(run_command(server.folder, "keys", "retire", second))
        assert keys_of(server) == {first: "active"}
        assert profile(client, ada).status_code == 200
        assert profile(client, ada.after(refresh(client, ada))).status_code == 200
