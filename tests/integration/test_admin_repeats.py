"""A request of an operator that is sent again with the same `Idempotency-Key` gets the same answer, and changes nothing twice."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.crypto.credential_secrets import CredentialSecrets
from handstamp.crypto.seal import MasterSecret
from handstamp.domain.receipt import LIFETIME_MS
from handstamp.domain.totp import Totp
from handstamp.web.routing import OPERATIONS
from tests.administering import Service, serving
from tests.builders import a_mail
from tests.integration.helpers import expect_problem

pytestmark = pytest.mark.anyio
BODIES: dict[str, dict[str, Any] | None] = {
    "/admin/accounts": {"email": "grace@example.com", "name": "Grace", "roles": ["editor"]},
    "/admin/accounts/{id}/email": {"email": "ada@example.org"},
    "/admin/accounts/{id}/password": {"password": "another kelp lantern rivet of the tests"},
    "/admin/accounts/{id}/grant": {"role": "editor"},
    "/admin/accounts/{id}/revoke": {"role": "writer"},
    "/admin/accounts/{id}/disable": None,
    "/admin/accounts/{id}/enable": None,
    "/admin/accounts/{id}/unlock": None,
    "/admin/accounts/{id}/reset-factors": None,
    "/admin/accounts/{id}/reset-mail": None,
    "/admin/accounts/{id}/sign-out": None,
    "/admin/credentials": {"name": "orders", "scopes": ["read"]},
    "/admin/mails/retry": None,
    "/admin/keys": None,
    "/admin/keys/{id}/retire": None,
    "/admin/keys/{id}/void": None,
}
"""Each POST of operators with a body. Add a new one here, and what it needs to `prepare`."""

LOOK, LOOK_BY_LINK = "/admin/accounts/{id}/impersonate", "/admin/accounts/{id}/impersonation-link"
"""The one answers the current tokens again, see test_impersonation.py. The other begins nothing."""


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service."""
    async with serving(tmp_path, smtp_url="smtp://127.0.0.1:1", mail_from="no-reply@example.com") as running:
        yield running


def test_every_post_is_in_the_table() -> None:
    """A new one must show that it can be sent again."""
    posts = [operation for operation in OPERATIONS if operation.credential == "operator" and operation.method == "POST"]
    assert sorted([*BODIES, LOOK, LOOK_BY_LINK]) == sorted(operation.path for operation in posts)
    assert [operation.path for operation in posts if not operation.is_repeatable] == [LOOK_BY_LINK]


async def prepare(service: Service, path: str) -> str:
    """Make what a request needs, so that it changes something; return its path."""
    running = service.running
    if path.endswith(("/retire", "/void")):
        key = (
            await running.keys.rotate(service.caller)
            if "retire" in path
            else (await running.keys.list_all(service.clock()))[0][0]
        )
        return path.replace("{id}", key.kid)
    if "mails" in path:
        waiting = a_mail(next_at_ms=service.clock() + 86_400_000, error="refused", created_at_ms=service.clock())
        await running.store.transact(lambda rows: rows.mails.insert(waiting))
        return path
    ada = await service.account("ada@example.com", "writer")
    for _ in range(2):
        await service.sign_in(ada)
    await running.store.transact(
        lambda rows: rows.totp.save(Totp(account_id=ada.id, sealed=b"x", created_at_ms=0, last_step=0, used_at_ms=0))
    )
    return path.replace("{id}", ada.id)


async def snapshot(service: Service) -> list[Any]:
    """Return all that a request of an operator may change, and what was recorded."""
    running, now_ms = service.running, service.clock()
    accounts = await running.accounts.list_page()
    return [
        accounts,
        [await running.accounts.list_factors(each.id, service.caller) for each in accounts],
        await running.store.read(lambda rows: rows.sessions.list_page(None, now_ms=now_ms, limit=100)),
        await running.credentials.list_all(),
        (await running.mailing.queue.list_newest(limit=10))[0],
        await running.keys.list_all(now_ms),
        await service.events(),
    ]


@pytest.mark.parametrize("path", BODIES)
async def test_a_request_that_is_sent_again_has_one_effect(service: Service, path: str) -> None:
    """Also after something else has happened meanwhile. Another body with the same key is refused."""
    auth = await service.credential("admin")
    headers, body = {"idempotency-key": str(uuid.uuid4())}, BODIES[path]
    at = await prepare(service, path)
    untouched = await snapshot(service)
    service.clock.advance(seconds=1)
    first = await service.client.post(at, json=body, headers=headers, auth=auth)
    assert first.is_success, first.text
    after = await snapshot(service)
    assert after != untouched
    service.clock.advance(seconds=1)
    second = await service.client.post(at, json=body, headers=headers, auth=auth)
    assert (second.status_code, second.content) == (first.status_code, first.content)
    assert await snapshot(service) == after
    if body is not None:
        name = "name" if "name" in body else next(iter(body))
        other = body | {name: f"{body[name]}x"}
        refused = expect_problem(await service.client.post(at, json=other, headers=headers, auth=auth), 422, "invalid_request")
        assert [field["name"] for field in refused["fields"]] == ["Idempotency-Key"]
    for wrong in ("short", "x" * 200):
        malformed = await service.client.post(at, json=body, headers={"idempotency-key": wrong}, auth=auth)
        expect_problem(malformed, 400, "invalid_request")


async def test_a_credential_whose_answer_was_lost_is_shown_again_for_a_minute(service: Service) -> None:
    """To the operator who asked for it, with the same key. Two copies of a request at once make one credential."""
    auth, (_, other) = await service.credential("admin"), await service.administrator()
    body, headers = BODIES["/admin/credentials"], {"idempotency-key": str(uuid.uuid4())}
    first, second = await asyncio.gather(
        *(service.client.post("/admin/credentials", json=body, headers=headers, auth=auth) for _ in range(2))
    )
    assert first.json() == second.json()
    pair = httpx.BasicAuth(first.json()["id"], first.json()["secret"])
    assert (await service.client.get("/revocations?wait=0", auth=pair)).status_code == 200
    by_another = await service.client.post("/admin/credentials", json=body, headers=headers | other)
    assert [field["name"] for field in expect_problem(by_another, 422, "invalid_request")["fields"]] == ["name"]
    service.clock.advance(ms=LIFETIME_MS + 1)
    late = await service.client.post("/admin/credentials", json=body, headers=headers, auth=auth)
    assert [field["name"] for field in expect_problem(late, 422, "invalid_request")["fields"]] == ["name"]


async def test_a_credential_that_was_removed_meanwhile_is_made_anew(service: Service) -> None:
    """Its old secret does not come back."""
    auth = await service.credential("admin")
    body, headers = BODIES["/admin/credentials"], {"idempotency-key": str(uuid.uuid4())}
    first = await service.client.post("/admin/credentials", json=body, headers=headers, auth=auth)
    await service.client.delete(f"/admin/credentials/{first.json()['id']}", auth=auth)
    second = await service.client.post("/admin/credentials", json=body, headers=headers, auth=auth)
    assert second.status_code == 201
    assert all(first.json()[name] != second.json()[name] for name in ("id", "secret"))


def test_a_secret_needs_the_master_secret_and_the_key_of_the_client() -> None:
    """Another id, key or master secret makes another one. A secret that a previous master secret made is found."""
    masters = [MasterSecret(f"the master secret of a test: 0123456789 {number}".encode()) for number in range(2)]
    made = {CredentialSecrets(each).make(name, key) for each in masters for name in "ab" for key in ("k" * 16, "l" * 16)}
    assert len(made) == 8
    assert {len(each) for each in made} == {43}
    assert CredentialSecrets(masters[0]).make("a", "k" * 16) in CredentialSecrets(masters[1].beside([masters[0]])).make_again(
        "a", "k" * 16
    )
