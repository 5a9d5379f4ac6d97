"""The two steps of a sign-in, and proving again for an API that wants it, with a real service and a real API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pyotp
import pytest
from fastapi import Depends, FastAPI
from fido2.webauthn import PublicKeyCredentialCreationOptions, PublicKeyCredentialRequestOptions

from handstamp.client import Auth, Proof
from handstamp.client.second_step import UsePasskey
from handstamp.domain.claims import AccessClaims
from handstamp.errors import (
    ConfigurationError,
    InsufficientAuthentication,
    InvalidChallenge,
    InvalidCode,
    InvalidCredentials,
    InvalidPasskey,
    SecondFactorRequired,
)
from handstamp.verify.fastapi import Require
from handstamp.verify.verifier import Verifier
from tests.client.applications import async_client_with, client_with
from tests.integration.helpers import change_session, sign_up
from tests.security_key import SecurityKey
from tests.serving import PASSWORD, Server

pytestmark = pytest.mark.anyio


def enrol(server: Server, email: str) -> pyotp.TOTP:
    """Add an authenticator app to an account. Its code of the current step is used up."""
    auth = Auth(server.url)
    auth.sign_in(email, PASSWORD)
    with client_with(auth) as application:
        begun = application.post("/totp", json={}).json()
        app = pyotp.TOTP(begun["secret"].replace(" ", ""))
        answer = application.post("/totp/confirm", json={"enrolment": begun["enrolment"], "code": app.now()})
        assert answer.status_code == 200, answer.text
        app.recovery_codes = answer.json()["recoveryCodes"]  # type: ignore[attr-defined]
    auth.sign_out()
    return app


def enrol_key(server: Server, email: str) -> UsePasskey:
    """Add a passkey to an account, and return what uses it: `fido2`'s client, with a security key in software."""
    browser = SecurityKey(verifies=True).client(server.url)
    auth = Auth(server.url)
    auth.sign_in(email, PASSWORD)
    with client_with(auth) as application:
        begun = application.post("/passkeys/options", json={}).json()
        made = browser.make_credential(PublicKeyCredentialCreationOptions.from_dict(begun["publicKey"]))
        body = {"passkeyChallenge": begun["challenge"], "ticket": begun["ticket"], "passkey": dict(made)}
        assert application.post("/passkeys", json=body).status_code == 201
    auth.sign_out()
    return lambda options: dict(browser.get_assertion(PublicKeyCredentialRequestOptions.from_dict(options)).get_response(0))


def recovery_code(app: pyotp.TOTP) -> str:
    """Return a recovery code, which needs no waiting for the next half minute."""
    return str(app.recovery_codes.pop())  # type: ignore[attr-defined]


@asynccontextmanager
async def an_api(server: Server, **needs: str) -> AsyncIterator[httpx.ASGITransport]:
    """Run an API in this process that wants a proof."""
    verifier = Verifier(server.url, check="offline", audience=server.url)
    require = Require(verifier)
    claims_of = Depends(require(**needs))  # type: ignore[arg-type]
    app = FastAPI()

    @app.get("/payments")
    async def pay(claims: AccessClaims = claims_of) -> str:
        return str(claims.acr)

    yield httpx.ASGITransport(app)


@pytest.mark.parametrize("dpop", [False, True])
async def test_a_passkey(server: Server, client: httpx.Client, dpop: bool) -> None:
    """It signs in alone, is a second factor, and proves again, all by an authenticator of the program."""
    email = sign_up(client)
    use = await asyncio.to_thread(enrol_key, server, email)
    auth = Auth(server.url, dpop=dpop)
    await auth.sign_in_with_passkey_async(use)
    async with async_client_with(auth) as application:
        assert (await application.get("/profile")).json()["email"] == email
    auth.sign_out()
    with pytest.raises(SecondFactorRequired) as needed:
        auth.sign_in(email, PASSWORD)
    with pytest.raises(InvalidPasskey):
        auth.complete_sign_in(needed.value, passkey=lambda options: use(options | {"challenge": "A" * 43}))
    auth.complete_sign_in(needed.value, passkey=use)
    with client_with(auth) as application:
        sid = application.get("/profile").json()["session"]["id"]
    change_session(server, sid, authenticated_at_ms=1)
    await auth.step_up_async(Proof(passkey=use))
    with client_with(auth) as application:
        assert application.post("/passkeys/options", json={}).status_code == 200
    auth.sign_out()
    auth.sign_in_with_passkey(use)
    with pytest.raises(RuntimeError, match="no finger"):
        auth.step_up(Proof(passkey=_refuse))
    with pytest.raises(ConfigurationError):
        auth.step_up(Proof(passkey=use, code="123456"))


def _refuse(_: object) -> dict[str, object]:
    raise RuntimeError("no finger")


def test_a_sign_in_with_two_steps(server: Server, client: httpx.Client) -> None:
    """The password alone stores no tokens. A wrong code can be tried again; the challenge is used once."""
    email = sign_up(client)
    app = enrol(server, email)
    auth = Auth(server.url)
    with pytest.raises(SecondFactorRequired) as needed:
        auth.sign_in(email, PASSWORD)
    assert needed.value.methods == ("totp", "recovery_code")
    assert needed.value.challenge not in repr(needed.value)
    with pytest.raises(InvalidCode):
        auth.complete_sign_in(needed.value, code="000000")
    code = recovery_code(app)
    auth.complete_sign_in(needed.value, recovery_code=code)
    with client_with(auth) as application:
        assert application.get("/profile").json()["email"] == email
    with pytest.raises(InvalidChallenge):
        auth.complete_sign_in(needed.value, recovery_code=code)
    with pytest.raises(ConfigurationError):
        auth.complete_sign_in(needed.value)


async def test_two_steps_in_coroutines(server: Server, client: httpx.Client) -> None:
    """With the same errors."""
    email = sign_up(client)
    app = enrol(server, email)
    auth = Auth(server.url)
    with pytest.raises(SecondFactorRequired) as needed:
        await auth.sign_in_async(email, PASSWORD)
    await auth.complete_sign_in_async(needed.value, recovery_code=recovery_code(app))
    async with async_client_with(auth) as application:
        assert (await application.get("/profile")).json()["email"] == email


async def test_an_api_that_wants_a_second_factor_gets_it(server: Server, client: httpx.Client) -> None:
    """The person is asked once, however many requests wait; each is sent again with the new token."""
    email = sign_up(client)
    asked: list[InsufficientAuthentication] = []
    apps: list[pyotp.TOTP] = []

    def ask(needed: InsufficientAuthentication) -> Proof:
        asked.append(needed)
        return Proof(recovery_code=recovery_code(apps[0]))

    auth = Auth(server.url, origins=["https://api.example.com"], on_step_up=ask)
    auth.sign_in(email, PASSWORD)
    apps.append(enrol(server, email))
    async with an_api(server, acr="mfa") as transport:
        options = {"transport": transport, "base_url": "https://api.example.com"}
        async with httpx.AsyncClient(auth=auth, **options) as application:  # type: ignore[arg-type]
            answers = await asyncio.gather(*(application.get("/payments") for _ in range(5)))
    assert [answer.json() for answer in answers] == ["mfa"] * 5
    assert [(needed.acr, needed.max_age_s) for needed in asked] == [("mfa", None)]


async def test_an_application_that_asks_its_own_users(server: Server, client: httpx.Client) -> None:
    """Its server has recorded the proof (`sessions.step_up`). The client renews, and sends no proof itself."""
    sids: list[str] = []

    def ask(_: InsufficientAuthentication) -> Proof:
        change_session(server, sids[0], acr="mfa")
        return Proof(recorded=True)

    auth = Auth(server.url, origins=["https://api.example.com"], on_step_up=ask)
    auth.sign_in(sign_up(client), PASSWORD)
    with client_with(auth) as application:
        sids.append(application.get("/profile").json()["session"]["id"])
    async with (
        an_api(server, acr="mfa") as transport,
        httpx.AsyncClient(auth=auth, transport=transport, base_url="https://api.example.com") as shop,
    ):
        assert (await shop.get("/payments")).json() == "mfa"
    with pytest.raises(ConfigurationError, match="one of"):
        Proof(recorded=True).body(lambda: pytest.fail("it has no passkey"))


async def test_a_person_who_gives_no_proof_keeps_the_session(server: Server, client: httpx.Client) -> None:
    """The refusal is handed back, as it is without a function that asks."""
    for on_step_up in (None, lambda _: None):
        auth = Auth(server.url, origins=["https://api.example.com"], on_step_up=on_step_up)
        auth.sign_in(sign_up(client), PASSWORD)
        async with an_api(server, acr="mfa") as transport:
            options = {"transport": transport, "base_url": "https://api.example.com"}
            async with httpx.AsyncClient(auth=auth, **options) as application:  # type: ignore[arg-type]
                answer = await application.get("/payments")
        assert answer.status_code == 401
        assert 'acr_values="mfa"' in answer.headers["www-authenticate"]
        with client_with(auth) as application:
            assert application.get("/profile").status_code == 200


def test_stepping_up_with_a_password(server: Server, client: httpx.Client) -> None:
    """It renews the tokens; a wrong password is said; with a factor it is not enough."""
    email = sign_up(client)
    auth = Auth(server.url)
    auth.sign_in(email, PASSWORD)
    auth.step_up(Proof(password=PASSWORD))
    with pytest.raises(InvalidCredentials):
        auth.step_up(Proof(password="another sentence, not hers"))
    enrol(server, email)
    with pytest.raises(InsufficientAuthentication) as needed:
        auth.step_up(Proof(password=PASSWORD))
    assert (needed.value.acr, needed.value.max_age_s) == ("mfa", 600)
    assert PASSWORD not in repr(Proof(password=PASSWORD))
