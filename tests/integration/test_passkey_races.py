"""Passkeys on two nodes at once, on both stores, and after a backup was restored."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.assemble.backups import back_up, restore
from handstamp.domain.passkey import MOST, Passkey
from handstamp.storage.postgres.store import PostgresStore
from handstamp.storage.sqlite.store import SqliteStore
from handstamp.storage.store import Transaction
from tests.authenticator import Authenticator, encode
from tests.builders import a_passkey
from tests.deployment import ISSUER, deployed
from tests.ways_in import Node, Person, a_client, a_person, add_passkey, by_passkey

pytestmark = pytest.mark.anyio
SECRET = "a-secret-of-32-bytes-0123456789-abcdef"


@pytest.fixture(params=["sqlite", "postgres"])
async def ada(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Person]:
    """Return a person without a factor, and two nodes. The test's clock is that of all."""
    monkeypatch.setattr(PostgresStore, "time", SqliteStore.time)
    server = request.getfixturevalue("postgres_server") if request.param == "postgres" else ""
    async with a_person(tmp_path, server) as person:
        yield person


async def enrol(ada: Person) -> None:
    """Add a passkey that counts, and end all sessions."""
    await add_passkey(ada, {}, token=(await ada.login())["accessToken"])
    await ada.forget()


async def begin(ada: Person) -> dict[str, Any]:
    """Return the options for using a passkey alone."""
    return await ada.right("/login/passkey/options", {})


def sign(device: Authenticator, begun: dict[str, Any]) -> dict[str, Any]:
    """Return what signs in with a passkey alone."""
    return {"passkey": device.use(begun["publicKey"]), "challenge": begun["challenge"], "ticket": begun["ticket"]}


async def at_once(ada: Person, path: str, *bodies: dict[str, Any], token: str = "") -> list[httpx.Response]:
    """Send requests at once, in turn to both nodes."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    clients = [ada.nodes[number % 2].client for number in range(len(bodies))]
    return await asyncio.gather(
        *(client.post(path, json=body, headers=headers) for client, body in zip(clients, bodies, strict=True))
    )


async def test_one_answer_begins_one_session(ada: Person) -> None:
    """Sent ten times at once, alone and as a second factor."""
    await enrol(ada)
    answers = await at_once(ada, "/login/passkey", *[sign(ada.device, await begin(ada))] * 10)
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 9
    assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {"invalid_challenge"}
    assert len(await ada.sessions()) == 1

    first = await ada.login()
    begun = await ada.right("/login/passkey/options", first)
    body = first | {"passkey": ada.device.use(begun["publicKey"]), "passkeyChallenge": begun["challenge"]}
    answers = await at_once(ada, "/login/second-factor", *[body] * 4)
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422]
    assert len(await ada.sessions()) == 2


async def test_two_copies_of_a_key_that_counts_are_not_both_accepted(ada: Person) -> None:
    """Each signs its own challenge with the same count. The count never goes back, whichever order the nodes choose."""
    await enrol(ada)
    bodies = []
    for _ in range(6):
        bodies.append(sign(ada.device, await begin(ada)))
        ada.device.count -= 1
    answers = await at_once(ada, "/login/passkey", *bodies)
    assert [answer.status_code for answer in answers].count(200) == 1
    assert {answer.json()["code"] for answer in answers if answer.status_code != 200} == {"invalid_passkey"}
    rising = []
    for _ in range(6):
        ada.device.count += 1
        rising.append(sign(ada.device, await begin(ada)))
    answers = await at_once(ada, "/login/passkey", *rising)
    accepted = [number for number, answer in enumerate(answers) if answer.status_code == 200]
    assert accepted
    (passkey,) = await ada.nodes[1].running.store.read(lambda rows: rows.passkeys.list_of(ada.account_id))
    assert passkey.sign_count == ada.device.count - 2 * (5 - accepted[-1])
    assert (await by_passkey(ada)).status_code == 200


async def make(ada: Person, device: Authenticator, token: str) -> dict[str, Any]:
    """Return what adds the passkey of a device."""
    begun = await ada.right("/passkeys/options", {}, token=token)
    return {"passkey": device.make(begun["publicKey"]), "passkeyChallenge": begun["challenge"], "ticket": begun["ticket"]}


async def test_two_first_passkeys_at_once_have_one_handle(ada: Person) -> None:
    """And bring ten recovery codes once."""
    token = (await ada.login())["accessToken"]
    devices = [Authenticator(ISSUER) for _ in range(2)]
    answers = await at_once(ada, "/passkeys", *[await make(ada, device, token) for device in devices], token=token)
    assert [answer.status_code for answer in answers] == [201, 201]
    assert sorted(len(answer.json()["recoveryCodes"]) for answer in answers) == [0, 10]
    assert devices[0].handle == devices[1].handle
    for device in devices:
        answer = await ada.send("/login/passkey", sign(device, await begin(ada)))
        assert answer.status_code == 200, answer.text


async def test_the_limit_holds_for_passkeys_that_are_made_at_once(ada: Person) -> None:
    """Six begin while there is room for two. Two are added, at whichever node; the others leave nothing, and no other begins."""
    token = (await ada.login())["accessToken"]
    await add_passkey(ada, {}, token=token)
    bodies = [await make(ada, Authenticator(ISSUER), token) for _ in range(6)]
    store = ada.nodes[0].running.store
    for number in range(MOST - 3):
        held = a_passkey(f"held-{number}", ada.account_id, ada.clock())
        assert await store.transact(partial(insert, held))
    answers = await at_once(ada, "/passkeys", *bodies, token=token)
    assert sorted(answer.status_code for answer in answers) == [201] * 2 + [422] * 4
    assert {answer.json()["code"] for answer in answers if answer.status_code == 422} == {"invalid_request"}
    kept = {each.id for each in await store.read(lambda rows: rows.passkeys.list_of(ada.account_id))}
    made = {body["passkey"]["id"]: answer.status_code for body, answer in zip(bodies, answers, strict=True)}
    assert len(kept) == MOST
    assert {name for name in made if name in kept} == {name for name, status in made.items() if status == 201}
    (refused,) = await at_once(ada, "/passkeys/options", {}, token=token)
    assert refused.json()["code"] == "invalid_request"


async def insert(passkey: Passkey, rows: Transaction) -> bool:
    """Add a passkey."""
    return await rows.passkeys.insert(passkey)


async def test_a_restored_backup_has_the_passkeys_of_its_time(tmp_path: Path) -> None:
    """One that counts goes on from its higher count. One that was removed since is accepted, one that was added is unknown."""
    backup = tmp_path / "backup.db"
    async with a_person(tmp_path, "", secret=SECRET) as ada:
        settings, clock = ada.nodes[0].running.settings, ada.clock
        await enrol(ada)
        old = ada.device
        back_up(settings, backup, may_replace=False, report=lambda *_: None)
        for _ in range(3):
            assert (await by_passkey(ada)).status_code == 200
        token = (await by_passkey(ada)).json()["accessToken"]
        await add_passkey(ada, {}, token=token)
        headers = {"authorization": f"Bearer {token}"}
        assert (await ada.nodes[0].client.delete(f"/passkeys/{encode(old.id)}", headers=headers)).status_code == 200
        new, ada.device = ada.device, old
        assert (await by_passkey(ada)).json()["code"] == "unknown_passkey"
    restore(settings, backup, report=lambda *_: None)
    async with deployed(tmp_path, clock, secret=SECRET) as running, a_client(running) as client:
        node = Node(running, client)
        again = Person((node, node), clock)
        for device, code in ((old, None), (new, "unknown_passkey"), (old, None)):
            again.device = device
            assert (await by_passkey(again)).json().get("code") == code
        old.count -= 1
        assert (await by_passkey(again)).json()["code"] == "invalid_passkey"
