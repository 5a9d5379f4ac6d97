"""Sessions of programs that are bound to a key (DPoP, RFC 9449), over HTTP and in this process."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from handstamp.crypto import used_proofs
from handstamp.crypto.strict import base64url_encode
from handstamp.errors import InvalidToken
from handstamp.verify.verifier import Verifier
from tests.deployment import ISSUER, caller
from tests.devices import Device
from tests.integration.helpers import expect_ended, expect_problem, read_claims
from tests.integration.test_device_bound import ACCESS_LIFETIME_S, Site, site_in, two_nodes
from tests.postgres import execute
from tests.serving import EMAIL, PASSWORD

pytestmark = pytest.mark.anyio
_numbers = itertools.count()


class Program:
    """A program with a key, which signs each of its requests."""

    def __init__(self, site: Site) -> None:
        """Begin without a session."""
        self.site, self.device = site, Device()
        self.client = httpx.AsyncClient(transport=site.transport, base_url=ISSUER)
        self.access = self.refresh_token = ""

    def prove(self, method: str, path: str, *, access: str = "", header: dict[str, Any] | None = None, **changes: Any) -> str:
        """Return a proof, with changes of its claims or its header. A claim that is None is left out."""
        claims: dict[str, Any] = {
            "jti": f"jti-{next(_numbers)}",
            "htm": method,
            "htu": f"{ISSUER}{path}",
            "iat": self.site.clock() // 1000,
        }
        if access:
            claims["ath"] = base64url_encode(hashlib.sha256(access.encode()).digest())
        claims = {name: value for name, value in (claims | changes).items() if value is not None}
        return self.device.sign({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.device.jwk} | (header or {}), claims)

    async def sign_in(self, proof: str | None = None, **fields: str) -> httpx.Response:
        """Sign in with a proof."""
        headers = {"dpop": self.prove("POST", "/login") if proof is None else proof}
        answer = await self.client.post("/login", json={"email": EMAIL, "password": PASSWORD, **fields}, headers=headers)
        if answer.status_code == 200:
            self._take(answer)
        return answer

    async def refresh(self, proof: str | None = None) -> httpx.Response:
        """Refresh with a proof; "" sends none."""
        sent = self.prove("POST", "/refresh") if proof is None else proof
        answer = await self.client.post(
            "/refresh", json={"refreshToken": self.refresh_token}, headers={"dpop": sent} if sent else {}
        )
        if answer.status_code == 200:
            self._take(answer)
        return answer

    async def profile(self, *, scheme: str = "DPoP", proof: str | None = None) -> httpx.Response:
        """Read the profile."""
        sent = self.prove("GET", "/profile", access=self.access) if proof is None else proof
        headers = {"authorization": f"{scheme} {self.access}"} | ({"dpop": sent} if sent else {})
        return await self.client.get("/profile", headers=headers)

    def _take(self, answer: httpx.Response) -> None:
        self.access, self.refresh_token = answer.json()["accessToken"], answer.json().get("refreshToken", "")


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Return a service with the defaults."""
    async with site_in(tmp_path) as running:
        yield running


async def test_a_sign_in_with_a_proof_begins_a_bound_session(site: Site) -> None:
    """The tokens name the key, and each renewal and each request needs a proof of it (R46)."""
    program = Program(site)
    answer = await program.sign_in()
    assert answer.json()["tokenType"] == "DPoP"
    assert read_claims(program.access)["cnf"] == {"jkt": program.device.key.kid}
    row = await site.row(answer.json()["sessionId"])
    assert (row.bound_by, row.bound_at_ms) == ("dpop", site.clock())
    for generation in (1, 2):
        assert (await program.refresh()).json()["tokenType"] == "DPoP"
        assert (await site.row(row.id)).generation == generation
    assert (await program.profile()).status_code == 200


@pytest.mark.parametrize("path", ["/login/passkey/options", "/totp", "/passkeys/options"])
async def test_every_operation_wants_a_proof_for_its_token(site: Site, path: str) -> None:
    """Also one that signs in as well: a bound token is no bearer token beside a proof, and the proof must name the token."""
    program = Program(site)
    await program.sign_in()

    async def send(scheme: str, *, access: str) -> httpx.Response:
        headers = {"authorization": f"{scheme} {program.access}", "dpop": program.prove("POST", path, access=access)}
        return await program.client.post(path, json={}, headers=headers)

    expect_problem(await send("Bearer", access=""), 401, "invalid_token")
    expect_problem(await send("DPoP", access=""), 401, "invalid_dpop_proof")
    expect_problem(await send("DPoP", access="another token"), 401, "invalid_dpop_proof")
    answer = await send("DPoP", access=program.access)
    assert answer.status_code == 200, answer.text
    if path == "/login/passkey/options":
        assert answer.json()["publicKey"]["userVerification"] == "preferred", "it is for the session, not for any person"


async def test_a_copy_of_the_tokens_is_worthless_without_the_key(site: Site) -> None:
    """It is refused as a bearer token, with another key's proof and without one, and neither renews nor ends the session."""
    program, thief = Program(site), Program(site)
    sid = (await program.sign_in()).json()["sessionId"]
    old = program.refresh_token
    await program.refresh()
    thief.access, thief.refresh_token = program.access, program.refresh_token
    before = await site.row(sid)
    expect_problem(await thief.profile(scheme="Bearer", proof=""), 401, "invalid_token")
    expect_problem(await thief.profile(), 401, "invalid_token")
    refused = await thief.profile(proof="")
    expect_problem(refused, 401, "invalid_dpop_proof")
    assert refused.headers["www-authenticate"] == 'DPoP error="invalid_dpop_proof", algs="ES256"'
    other = program.prove("GET", "/profile", access="another token")
    expect_problem(await program.profile(proof=other), 401, "invalid_dpop_proof")
    for token in (program.refresh_token, old):
        thief.refresh_token = token
        expect_problem(await thief.refresh(), 400, "invalid_dpop_proof")
        expect_problem(await thief.refresh(""), 400, "invalid_dpop_proof")
    form = {"grant_type": "refresh_token", "refresh_token": program.refresh_token}
    assert (await thief.client.post("/token", data=form)).json()["error"] == "invalid_dpop_proof"
    assert await site.row(sid) == before
    with pytest.raises(InvalidToken):
        site.running.verifier.verify(program.access)
    assert (await program.refresh()).status_code == 200


async def test_no_verifier_takes_a_bound_token_as_a_bearer_token(site: Site) -> None:
    """Also those of other services, and in coroutines."""
    program = Program(site)
    await program.sign_in()
    with Verifier(
        ISSUER, audience=ISSUER, keys=lambda: site.running.keys.verifying, check="offline", clock=site.clock
    ) as verifier:
        with pytest.raises(InvalidToken):
            await verifier.verify_async(program.access)
        for proved in (None, "A" * 43):
            with pytest.raises(InvalidToken):
                verifier.verify(program.access, proved=proved)
        assert verifier.verify(program.access, proved=program.device.key.kid).cnf is not None


WRONG: dict[str, dict[str, Any]] = {
    "another method": {"htm": "GET"},
    "another endpoint": {"htu": f"{ISSUER}/token"},
    "another host": {"htu": "https://evil.example/refresh"},
    "no id": {"jti": None},
    "an empty id": {"jti": ""},
    "a time that is no number": {"iat": "now"},
    "no time": {"iat": None},
    "another type": {"header": {"typ": "jwt"}},
    "another algorithm": {"header": {"alg": "none"}},
    "no key": {"header": {"jwk": None}},
    "a private key": {"header": {"jwk": {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43, "d": "AAAA"}}},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
async def test_a_wrong_proof_renews_nothing(site: Site, changes: dict[str, Any]) -> None:
    """The session goes on, and a right proof renews it afterwards."""
    program = Program(site)
    await program.sign_in()
    refused = await program.refresh(program.prove("POST", "/refresh", **changes))
    expect_problem(refused, 400, "invalid_dpop_proof")
    assert refused.headers["www-authenticate"] == 'DPoP error="invalid_dpop_proof", algs="ES256"'
    assert (await program.refresh()).status_code == 200


async def test_a_proof_is_accepted_once(site: Site) -> None:
    """A copy of a whole request does nothing."""
    program = Program(site)
    await program.sign_in()
    proof = program.prove("POST", "/refresh")
    assert (await program.refresh(proof)).status_code == 200
    expect_problem(await program.refresh(proof), 400, "invalid_dpop_proof")


async def test_a_wrong_clock_is_told_a_nonce(site: Site) -> None:
    """With it the time of the proof does not matter. A nonce is valid for some minutes."""
    program = Program(site)
    await program.sign_in()
    nonce = ""
    for iat in (site.clock() // 1000 - 301, site.clock() // 1000 + 301):
        refused = await program.refresh(program.prove("POST", "/refresh", iat=iat))
        expect_problem(refused, 400, "use_dpop_nonce")
        nonce = refused.headers["dpop-nonce"]
        assert (await program.refresh(program.prove("POST", "/refresh", iat=iat, nonce=nonce))).status_code == 200
    site.clock.advance(seconds=240)
    expect_problem(await program.refresh(program.prove("POST", "/refresh", nonce=nonce)), 400, "use_dpop_nonce")
    expect_problem(await program.refresh(program.prove("POST", "/refresh", nonce="guess")), 400, "use_dpop_nonce")


async def test_parallel_renewals_get_one_pair(site: Site) -> None:
    """As without binding: the retry within grace gets the same refresh token, and an old copy with the proof continues."""
    program = Program(site)
    await program.sign_in()
    old = program.refresh_token
    first = (await program.refresh()).json()["refreshToken"]
    program.refresh_token = old
    assert (await program.refresh()).json()["refreshToken"] == first
    site.clock.advance(seconds=3600)
    program.refresh_token = old
    assert (await program.refresh()).json()["refreshToken"] == first


async def test_a_bad_proof_begins_no_session(site: Site) -> None:
    """Otherwise the program would believe that its session is bound."""
    expect_problem(await Program(site).sign_in("rubbish"), 400, "invalid_dpop_proof")
    program = Program(site)
    expect_problem(await program.sign_in(program.prove("POST", "/refresh")), 400, "invalid_dpop_proof")


async def test_tokens_that_are_not_bound_work_as_before(site: Site) -> None:
    """They need no proof, and are refused with one: somebody has exchanged tokens."""
    program = Program(site)
    answer = await program.client.post("/login", json={"email": EMAIL, "password": PASSWORD})
    program.access, program.refresh_token = answer.json()["accessToken"], answer.json()["refreshToken"]
    assert answer.json()["tokenType"] == "Bearer"
    assert "cnf" not in read_claims(program.access)
    assert (await program.profile(scheme="Bearer", proof="")).status_code == 200
    expect_problem(await program.profile(), 401, "invalid_token")
    assert (await program.refresh("")).status_code == 200
    assert (await program.refresh()).json()["tokenType"] == "Bearer"


async def test_the_endpoints_of_oauth_know_proofs(site: Site) -> None:
    """`/token` refreshes with one, introspection names the key, and the metadata says which algorithms there are."""
    program = Program(site)
    await program.sign_in()
    form = {"grant_type": "refresh_token", "refresh_token": program.refresh_token}
    answer = await program.client.post("/token", data=form, headers={"dpop": program.prove("POST", "/token")})
    assert answer.json()["token_type"] == "DPoP"
    metadata = (await program.client.get("/.well-known/oauth-authorization-server")).json()
    assert metadata["dpop_signing_alg_values_supported"] == ["ES256"]
    credential, secret = await site.running.credentials.create("api", caller(site.clock))
    introspected = await program.client.post(
        "/introspect", data={"token": answer.json()["access_token"]}, auth=(credential.id, secret)
    )
    told = introspected.json()
    assert (told["active"], told["token_type"], told["cnf"]) == (True, "DPoP", {"jkt": program.device.key.kid})


async def test_the_openapi_document_lists_the_scheme_wherever_an_access_token_is_accepted(site: Site) -> None:
    """Also for operators."""
    document = (await site.browser().client.get("/openapi.json")).json()
    scheme = document["components"]["securitySchemes"]["boundAccessToken"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "DPoP")
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    taking = [operation for operation in operations if {"accessToken": []} in operation.get("security", ())]
    assert "admin_list_accounts" in {operation["operationId"] for operation in taking}
    assert [operation["operationId"] for operation in taking if {"boundAccessToken": []} not in operation["security"]] == []


async def test_a_challenge_has_the_scheme_of_the_token(site: Site) -> None:
    """Also for a token that has expired, or whose session has ended (RFC 9449 §7.1)."""
    program = Program(site)
    sid = (await program.sign_in()).json()["sessionId"]

    async def challenge(code: str) -> str:
        refused = await program.profile()
        expect_problem(refused, 401, code)
        return refused.headers["www-authenticate"]

    site.clock.advance(seconds=1000)
    assert await challenge("expired_token") == 'DPoP error="invalid_token", error_description="expired_token", algs="ES256"'
    await program.refresh()
    await site.running.sign_out.end_one(sid, caller(site.clock))
    assert await challenge("session_ended") == 'DPoP error="invalid_token", error_description="session_ended", algs="ES256"'
    as_bearer = await program.profile(scheme="Bearer", proof="")
    assert as_bearer.headers["www-authenticate"] == 'Bearer error="invalid_token", error_description="invalid_token"'


async def test_a_new_password_keeps_the_binding(site: Site) -> None:
    """The session that replaces the one of the request has its key. Without a proof for it, no session begins."""
    program = Program(site)
    first = (await program.sign_in()).json()["sessionId"]
    body = {"currentPassword": PASSWORD, "newPassword": "another good password"}
    for scheme, proof in (
        ("Bearer", ""),
        ("DPoP", program.prove("POST", "/login")),
        ("DPoP", program.prove("POST", "/password")),
    ):
        headers = {"authorization": f"{scheme} {program.access}"} | ({"dpop": proof} if proof else {})
        assert (await program.client.post("/password", json=body, headers=headers)).status_code == 401
    proof = program.prove("POST", "/password", access=program.access)
    answer = await program.client.post("/password", json=body, headers={"authorization": f"DPoP {program.access}", "dpop": proof})
    assert answer.json()["tokenType"] == "DPoP"
    row = await site.row(answer.json()["sessionId"])
    assert row.id != first
    assert (row.bound_by, row.bound_key) == ("dpop", (await site.row(first)).bound_key)
    program.access, program.refresh_token = answer.json()["accessToken"], answer.json()["refreshToken"]
    assert (await program.profile()).status_code == 200
    assert (await program.refresh()).status_code == 200


async def test_events_tell_of_keys_and_wrong_proofs(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A session that begins bound, each renewal, and each wrong proof; a request without any is no event."""
    program, thief = Program(site), Program(site)
    sid = (await program.sign_in()).json()["sessionId"]
    assert await site.events(sid) == ["device_bound", "signed_in"]
    caplog.set_level(logging.DEBUG, "handstamp.audit")
    await program.refresh()
    thief.refresh_token = program.refresh_token
    await thief.refresh("")
    await thief.refresh()
    await thief.refresh("rubbish")
    used = program.prove("POST", "/refresh")
    await program.refresh(used)
    await program.refresh(used)
    lines: list[Any] = [record.msg for record in caplog.records if record.name == "handstamp.audit"]
    logged = [(line.event, line.fields.get("why", "")) for line in lines if line.fields.get("sid") == sid]
    assert logged == [
        ("device_renewed", ""),
        ("proof_failed", "the proof is of another key"),
        ("proof_failed", "the proof is not three segments of base64url"),
        ("device_renewed", ""),
        ("proof_failed", "the proof was used before"),
    ]


async def test_people_see_which_programs_are_bound(site: Site) -> None:
    """In `GET /sessions` and on the account page."""
    program = Program(site)
    await program.sign_in()
    headers = {"authorization": f"DPoP {program.access}", "dpop": program.prove("GET", "/sessions", access=program.access)}
    (listed,) = (await program.client.get("/sessions", headers=headers)).json()["sessions"]
    assert listed["bound"] is True
    browser = site.browser()
    await browser.sign_in("split")
    assert (await browser.client.get("/account")).text.count("bound to its device") == 1


async def test_strangers_cannot_push_a_proof_out_of_memory(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proofs of keys that no session has are not remembered, however many are valid: at the sign-in and for another's token."""
    monkeypatch.setattr(used_proofs, "MOST_REMEMBERED", 30)
    program = Program(site)
    await program.sign_in()
    proof = program.prove("GET", "/profile", access=program.access)
    assert (await program.profile(proof=proof)).status_code == 200
    for _ in range(40):
        stranger = Program(site)
        stranger.access, stranger.refresh_token = program.access, program.refresh_token
        assert (await stranger.sign_in(email="nobody@example.com")).status_code in (401, 429)  # the proof was read first
        expect_problem(await stranger.profile(), 401, "invalid_token")
        expect_problem(await stranger.refresh(), 400, "invalid_dpop_proof")
    expect_problem(await program.profile(proof=proof), 401, "invalid_dpop_proof")
    assert (await program.profile()).status_code == 200


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
async def test_two_nodes_serve_one_program(tmp_path: Path, kind: str, request: pytest.FixtureRequest) -> None:
    """The nonce of one is valid on the other. A proof is accepted once for each node, and one token has one next token."""
    async with two_nodes(tmp_path, kind, request) as (first, second):
        program = Program(first)
        await program.sign_in()
        elsewhere = Program(second)
        elsewhere.device, elsewhere.refresh_token = program.device, program.refresh_token
        told = await program.refresh(program.prove("POST", "/refresh", iat=0))
        proof = program.prove("POST", "/refresh", iat=0, nonce=told.headers["dpop-nonce"])
        answers = await asyncio.gather(*(each.refresh(proof) for each in (program, elsewhere) * 3))
        assert sorted(answer.status_code for answer in answers) == [200, 200, 400, 400, 400, 400]
        assert program.refresh_token == elsewhere.refresh_token
        assert (await elsewhere.profile()).status_code == 200
        assert (await program.refresh()).status_code == 200


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("binding", ["off", "preferred", "required"])
async def test_what_the_setting_does(tmp_path: Path, binding: str, kind: str, request: pytest.FixtureRequest) -> None:
    """`off` binds nothing, `preferred` what can be bound, and `required` ends what is not bound in time, and its tokens."""
    async with two_nodes(tmp_path, kind, request, device_binding=binding) as (site, _):
        program, browser, plain = Program(site), site.browser(), site.browser()
        assert (await program.sign_in()).json()["tokenType"] == ("Bearer" if binding == "off" else "DPoP")
        refused = await program.client.post("/login", json={"email": EMAIL, "password": PASSWORD})
        if binding == "required":
            expect_problem(refused, 403, "proof_required")
        else:
            assert refused.json()["tokenType"] == "Bearer"
        assert ("secure-session-registration" in (await browser.sign_in("split")).headers) == (binding != "off")
        if binding != "off":
            await browser.bound("split")
        first = (await plain.sign_in("split")).json()
        assert first["expiresIn"] == (300 if binding == "required" else ACCESS_LIFETIME_S)

        if kind == "sqlite":
            site.clock.advance(seconds=300)
        else:  # whose own clock all nodes follow
            database = str(site.running.settings.database)
            await execute(database, f"UPDATE session SET bind_by_ms = created_at_ms WHERE id = '{plain.sid}' AND bind_by_ms > 0")
        later = await plain.client.post("/refresh")
        if binding == "required":
            expect_ended(later, "unbound")
        else:
            assert later.status_code == 200
        assert (await (browser.client.post("/refresh") if binding == "off" else browser.renew())).status_code == 200
        assert (await program.refresh()).status_code == 200
        assert (await site.row(browser.sid)).bound_by == (None if binding == "off" else "dbsc")
