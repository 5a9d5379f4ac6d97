"""The pages of administrators: who sees them, and what they show."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from handstamp.domain.session import FRESH_MS
from handstamp.domain.totp import Totp
from tests.administering import Service, serving
from tests.builders import SECOND_MS
from tests.deployment import ISSUER
from tests.serving import cookie_name

pytestmark = pytest.mark.anyio
PAGES = (
    "/admin",
    "/admin/person?id=nobodys",
    "/admin/new-person",
    "/admin/why?id=nobodys",
    "/admin/recent",
    "/admin/service",
)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    """Run the service, which trusts the pages of an application."""
    async with serving(tmp_path, trusted_origins="https://app.example.com") as running:
        yield running


async def visit(service: Service, email: str, *roles: str, acr: str = "mfa", has_factor: bool = True) -> dict[str, str]:
    """Sign a new person in with cookies, and return the headers of a browser that shows pages of the service."""
    person = await service.account(email, *roles)
    if has_factor:
        app = Totp(account_id=person.id, sealed=b"x", created_at_ms=0, last_step=0, used_at_ms=0)
        await service.running.store.transact(lambda rows: rows.totp.save(app))
    pair = await service.sign_in(person, acr=acr, delivery="cookie")
    return {"cookie": f"{cookie_name('refresh', ISSUER)}={pair.refresh_token}", "sec-fetch-site": "same-origin"}


async def load(service: Service, path: str, headers: dict[str, str]) -> httpx.Response:
    """Return a page."""
    return await service.client.get(path, headers=headers)


async def test_people_are_found_and_shown(service: Service) -> None:
    """By the beginning of the address; a name is shown as text, whatever it is."""
    root = await visit(service, "root@example.com", "admin")
    ada = await service.account("ada@example.com", "editor", name="<script>alert(1)</script>")
    await service.account("bob@example.com")
    await service.sign_in(ada)
    found = await load(service, "/admin?email=Ad", root)
    assert found.status_code == 200
    assert ("ada@example.com" in found.text, "bob@example.com" in found.text, "<script>alert" in found.text) == (
        True,
        False,
        False,
    )
    person = await load(service, f"/admin/person?id={ada.id}", root)
    assert person.status_code == 200
    for text in (
        "ada@example.com",
        "editor",
        "Firefox on Linux",
        "192.0.2.1",
        "What has happened",
        "An operator created the account.",
    ):
        assert text in person.text, text
    assert "<script>alert" not in person.text
    assert "No account has such an address." in (await load(service, "/admin?email=x", root)).text
    assert (await load(service, "/admin/person?id=nobodys", root)).status_code == 404
    assert (await load(service, "/admin/person?id=ada@example.com", root)).status_code == 404
    assert (await load(service, "/admin/person", root)).headers["location"].endswith("/admin")


async def test_a_page_is_short_however_many_people_there_are(service: Service) -> None:
    """It says that there are more."""
    root = await visit(service, "root@example.com", "admin")
    for number in range(21):
        await service.account(f"p{number}@example.com")
    page = await load(service, "/admin?email=p", root)
    assert page.text.count("/admin/person?id=") == 20
    assert "There are more." in page.text


@pytest.mark.parametrize("path", PAGES)
async def test_only_administrators_with_a_fresh_factor_see_them(service: Service, path: str) -> None:
    """All others are refused, or led to the page where they can prove or add a factor, and see no address."""
    await service.account("ada@example.com")
    assert (await load(service, path, {})).headers["location"].endswith("/sign-in")
    assert (await load(service, path, await visit(service, "bob@example.com"))).status_code == 403
    weak = await load(service, path, await visit(service, "weak@example.com", "admin", acr="pwd"))
    assert (weak.status_code, "/confirm?return_to=" in weak.headers["location"]) == (303, True)
    bare = await load(service, path, await visit(service, "bare@example.com", "admin", acr="pwd", has_factor=False))
    assert bare.headers["location"].endswith("/account/sign-in")
    root = await visit(service, "root@example.com", "admin")
    assert (await load(service, path, root)).status_code in (200, 404)
    service.clock.advance(seconds=FRESH_MS // SECOND_MS)
    assert "/confirm?" in (await load(service, path, root)).headers["location"]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_of_a_trusted_origin_cannot_read_them(service: Service, path: str) -> None:
    """Although its requests carry the cookie, and it may read what is for applications."""
    root = await visit(service, "root@example.com", "admin")
    for site in ("same-site", "cross-site"):
        foreign = {**root, "sec-fetch-site": site, "sec-fetch-mode": "cors", "origin": "https://app.example.com"}
        answer = await load(service, path, foreign)
        assert (answer.status_code, "root@example.com" in answer.text) == (403, False)
