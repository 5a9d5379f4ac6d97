"""Ceremonies that another implementation makes: `fido2`'s client, with a security key in software.

`fido2` has no code in common with `webauthn`, which judges the answers in the service.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fido2.client import ClientError, Fido2Client
from fido2.webauthn import PublicKeyCredentialCreationOptions, PublicKeyCredentialRequestOptions

from tests.authenticator import encode
from tests.deployment import ISSUER
from tests.integration.helpers import expect_problem, read_claims
from tests.integration.test_passkeys import a_person, begin, finish
from tests.integration.test_second_factor import Person
from tests.security_key import SecurityKey

pytestmark = pytest.mark.anyio
EVIL = "https://evil.example"


def make(browser: Fido2Client, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a browser answers to creation options."""
    return dict(browser.make_credential(PublicKeyCredentialCreationOptions.from_dict(options)))


def use(browser: Fido2Client, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a browser answers to request options."""
    return dict(browser.get_assertion(PublicKeyCredentialRequestOptions.from_dict(options)).get_response(0))


async def enrol(ada: Person, browser: Fido2Client) -> None:
    """Add a passkey in a session. The options keep the key from making a second one."""
    token = (await ada.login())["accessToken"]
    begun = (await ada.post("/passkeys/options", token=token)).json()
    made = make(browser, begun["publicKey"])
    body = {"passkeyChallenge": begun["challenge"], "ticket": begun["ticket"], "passkey": made}
    added = await ada.post("/passkeys", body, token=token)
    assert added.status_code == 201, added.text
    (listed,) = added.json()["passkeys"]
    assert (listed["id"], listed["backedUp"]) == (made["id"], False)
    begun = (await ada.post("/passkeys/options", token=token)).json()
    with pytest.raises(ClientError, match="CREDENTIAL_EXCLUDED"):
        make(browser, begun["publicKey"])


@pytest.mark.parametrize("verifies", [True, False])
async def test_every_ceremony(tmp_path: Path, verifies: bool) -> None:
    """A key that does not verify people is a second factor only: its client does not sign in with it, nor does the service."""
    key = SecurityKey(verifies=verifies)
    browser = key.client(ISSUER)
    async with a_person(tmp_path) as ada:
        await enrol(ada, browser)

        first = await ada.login()
        begun = await begin(ada, challenge=first["challenge"], ticket=first["ticket"])
        used = use(browser, begun["publicKey"])
        answer = await ada.complete(first, passkey=used, passkeyChallenge=begun["challenge"])
        assert answer.status_code == 200, answer.text
        assert read_claims(answer.json()["accessToken"])["amr"] == ["pwd", "pop", "user", "mfa"]

        begun = await begin(ada)
        if verifies:
            answer = await finish(ada, begun, use(browser, begun["publicKey"]))
            assert answer.status_code == 200, answer.text
            assert read_claims(answer.json()["accessToken"])["acr"] == "phr"
            begun = await begin(ada)
        else:
            with pytest.raises(ClientError, match="User verification not configured"):
                use(browser, begun["publicKey"])
        unverified = use(browser, begun["publicKey"] | {"userVerification": "discouraged"})
        expect_problem(await finish(ada, begun, unverified), 422, "invalid_passkey")


async def test_a_page_of_another_domain(tmp_path: Path) -> None:
    """A client makes no ceremony for it. What one without this check makes is refused, and so is another challenge."""
    key = SecurityKey(verifies=True)
    async with a_person(tmp_path) as ada:
        await enrol(ada, key.client(ISSUER))
        begun = await begin(ada)
        with pytest.raises(ClientError, match="BAD_REQUEST"):
            use(key.client(EVIL), begun["publicKey"])
        phished = use(key.client(EVIL, checks_domain=False), begun["publicKey"])
        expect_problem(await finish(ada, begun, phished), 422, "invalid_passkey")
        other = use(key.client(ISSUER), begun["publicKey"] | {"challenge": encode(b"x" * 32)})
        expect_problem(await finish(ada, begun, other), 422, "invalid_passkey")
        assert (await finish(ada, begun, use(key.client(ISSUER), begun["publicKey"]))).status_code == 200
