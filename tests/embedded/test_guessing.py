"""The limits of guessing at the endpoints of an embedded Handstamp."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from handstamp.embedded import Handstamp
from tests.integration.helpers import set_cookies
from tests.serving import PASSWORD

pytestmark = pytest.mark.anyio
ORIGIN = "https://app.example.com"


async def test_an_embedded_service_limits_guessing_and_knows_devices(tmp_path: Path) -> None:
    """Mounted in an application, sign-ins are limited as in the service, and the device cookie works (R71)."""
    auth = Handstamp(database=f"sqlite:///{tmp_path}/app.db", issuer=f"{ORIGIN}/auth")
    application = Starlette(routes=[Mount("/auth", auth.asgi)])
    transport = httpx.ASGITransport(application, client=("192.0.2.1", 1))
    body = {"email": "ada@example.com", "password": PASSWORD}
    async with auth, httpx.AsyncClient(transport=transport, base_url=ORIGIN, headers={"origin": ORIGIN}) as client:
        assert (await client.post("/auth/register", json=body)).status_code == 201
        answer = await client.post("/auth/login", json=body)
        device = set_cookies(answer)["__Host-handstamp-device"].value
        client.cookies.clear()
        for status in (*[401] * 5, 429):
            wrong = body | {"password": "a sentence that ada never said"}
            assert (await client.post("/auth/login", json=wrong)).status_code == status
        assert (await client.post("/auth/login", json=body)).status_code == 429
        known = {"cookie": f"__Host-handstamp-device={device}"}
        assert (await client.post("/auth/login", json=body, headers=known)).status_code == 200
