"""Passkeys over the API: made, used alone and as a second factor, refused where anything is not as it must be."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fido2.cose import ES256, RS256, CoseKey, EdDSA

from handstamp.assemble.application import make_application
from handstamp.domain.attempt import LIFETIME_MS
from handstamp.domain.session import FRESH_MS
from tests.authenticator import Authenticator, decode, encode
from tests.builders import Clock
from tests.deployment import ISSUER, caller, deployed
from tests.integration.helpers import expect_problem, read_claims
from tests.integration.test_second_factor import EMAIL, PASSWORD, Person

pytestmark = pytest.mark.anyio
RELATED = "https://shop.example.net"


@asynccontextmanager
async def a_person(folder: Path, **settings: object) -> AsyncIterator[Person]:
    """Run the service with a person who is signed in nowhere."""
    clock = Clock()
    async with (
        deployed(folder, clock, **settings) as running,
        httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER) as client,
    ):
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        yield Person(running, clock, client)


async def add(ada: Person, device: Authenticator, token: str, **body: Any) -> httpx.Response:
    """Make a passkey in a session."""
    begun = (await ada.post("/passkeys/options", token=token)).json()
    made = {"passkeyChallenge": begun["challenge"], "ticket": begun["ticket"], "passkey": device.make(begun["publicKey"])}
    return await ada.post("/passkeys", made | body, token=token)


async def begin(ada: Person, **body: Any) -> dict[str, Any]:
    """Return the options for using a passkey."""
    answer = await ada.post("/login/passkey/options", body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def finish(ada: Person, begun: dict[str, Any], passkey: dict[str, Any]) -> httpx.Response:
    """Sign in with a passkey alone."""
    return await ada.post("/login/passkey", {"challenge": begun["challenge"], "ticket": begun["ticket"], "passkey": passkey})


async def enrolled(ada: Person, **options: Any) -> Authenticator:
    """Return an authenticator with a passkey of the account, and end all sessions."""
    device = Authenticator(ISSUER, **options)
    answer = await add(ada, device, (await ada.login())["accessToken"])
    assert answer.status_code == 201, answer.text
    await ada.running.sign_out.end_all((await ada.running.accounts.get_by_email(EMAIL)).id, caller(ada.clock))
    return device


@pytest.mark.parametrize("algorithm", [ES256, EdDSA, RS256])
async def test_a_passkey_signs_in_alone(tmp_path: Path, algorithm: type[CoseKey]) -> None:
    """No address, no password, no second step; its strength is that of a proof that cannot be phished."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada, algorithm=algorithm)
        begun = await begin(ada)
        assert (begun["publicKey"]["userVerification"], begun["publicKey"]["allowCredentials"]) == ("required", [])
        answer = await finish(ada, begun, device.use(begun["publicKey"]))
        assert answer.status_code == 200, answer.text
        claims = read_claims(answer.json()["accessToken"])
        assert (claims["acr"], claims["amr"]) == ("phr", ["pop", "user", "mfa"])
        assert claims["auth_time"] == ada.clock() // 1000


async def test_it_is_the_second_factor_of_a_password(tmp_path: Path) -> None:
    """Then it need not verify the person, who has typed the password. The options name the account's passkeys alone."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada, counts=True)
        first = await ada.login()
        assert first["methods"] == ["passkey", "recovery_code"]
        begun = await begin(ada, challenge=first["challenge"], ticket=first["ticket"])
        assert [each["id"] for each in begun["publicKey"]["allowCredentials"]] == [encode(device.id)]
        assert begun["publicKey"]["userVerification"] == "preferred"
        used = device.use(begun["publicKey"], verified=False)
        used["response"]["userHandle"] = None  # a key that cannot keep it leaves it away
        answer = await ada.complete(first, passkey=used, passkeyChallenge=begun["challenge"])
        assert answer.status_code == 200, answer.text
        claims = read_claims(answer.json()["accessToken"])
        assert (claims["acr"], claims["amr"]) == ("phr", ["pwd", "pop", "user", "mfa"])
        assert await ada.count_sessions() == 1


async def test_it_steps_up(tmp_path: Path) -> None:
    """In the same session."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada)
        begun = await begin(ada)
        token = (await finish(ada, begun, device.use(begun["publicKey"]))).json()["accessToken"]
        ada.clock.advance(ms=FRESH_MS)
        expect_problem(await ada.post("/passkeys/options", token=token), 401, "insufficient_user_authentication")
        renamed = await ada.client.patch(
            f"/passkeys/{encode(device.id)}", json={"name": "Not mine"}, headers={"authorization": f"Bearer {token}"}
        )
        expect_problem(renamed, 401, "insufficient_user_authentication")
        begun = (await ada.post("/login/passkey/options", token=token)).json()
        assert [each["id"] for each in begun["publicKey"]["allowCredentials"]] == [encode(device.id)]
        body = {
            "passkey": device.use(begun["publicKey"]),
            "passkeyChallenge": begun["challenge"],
            "ticket": begun["ticket"],
        }
        answer = await ada.post("/login/step-up", body, token=token)
        assert (answer.status_code, answer.json()["acr"]) == (200, "phr"), answer.text
        assert (await ada.post("/passkeys/options", token=token)).status_code == 200


async def test_a_code_makes_no_passkey_fresh(tmp_path: Path) -> None:
    """A step-up by what can be phished is `mfa`, also in a session that began with a passkey."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada)
        begun = await begin(ada)
        tokens = (await finish(ada, begun, device.use(begun["publicKey"]))).json()
        await ada.enrol(tokens["accessToken"])
        ada.clock.advance(ms=FRESH_MS)
        answer = await ada.post("/login/step-up", {"code": ada.next_code()}, token=tokens["accessToken"])
        assert (answer.status_code, answer.json()["acr"]) == (200, "mfa"), answer.text
        after = read_claims((await ada.post("/refresh", {"refreshToken": tokens["refreshToken"]})).json()["accessToken"])
        assert (after["acr"], after["auth_time"]) == ("mfa", ada.clock() // 1000)
        assert (await ada.post("/passkeys/options", token=tokens["accessToken"])).status_code == 200


async def test_the_list_tells_what_signals_need(tmp_path: Path) -> None:
    """Named by model, renamed, removed; each answer has the true full list."""
    async with a_person(tmp_path) as ada:
        token = (await ada.login())["accessToken"]
        phone, key = Authenticator(ISSUER), Authenticator(ISSUER, counts=True, aaguid="00000000-0000-0000-0000-000000000000")
        first = (await add(ada, phone, token)).json()
        assert len(first["recoveryCodes"]) == 10
        ada.clock.advance(seconds=1)
        unnamed = (await add(ada, Authenticator(ISSUER, aaguid="00000000-0000-0000-0000-000000000000"), token)).json()
        assert unnamed["passkeys"][-1]["name"] == "Passkey"
        await ada.client.delete(f"/passkeys/{unnamed['id']}", headers={"authorization": f"Bearer {token}"})
        second = (await add(ada, key, token, name=" My  key ")).json()
        assert second["recoveryCodes"] == []
        assert [each["name"] for each in second["passkeys"]] == ["1Password", "My key"]
        assert [each["backedUp"] for each in second["passkeys"]] == [True, False]
        assert second["allAcceptedCredentialIds"] == [encode(phone.id), encode(key.id)]
        assert (second["rpId"], second["userId"], second["name"]) == ("auth.example.com", phone.handle, EMAIL)
        assert phone.handle == key.handle
        headers = {"authorization": f"Bearer {token}"}
        renamed = await ada.client.patch(f"/passkeys/{encode(key.id)}", json={"name": "Blue key"}, headers=headers)
        assert renamed.json()["name"] == "Blue key"
        wrong = await ada.client.patch(f"/passkeys/{encode(key.id)}", json={"name": "a\nb\x00"}, headers=headers)
        expect_problem(wrong, 422, "invalid_request")
        left = (await ada.client.delete(f"/passkeys/{encode(phone.id)}", headers=headers)).json()
        assert left["allAcceptedCredentialIds"] == [encode(key.id)]
        expect_problem(await ada.client.delete(f"/passkeys/{encode(phone.id)}", headers=headers), 404, "not_found")
        begun = await begin(ada)
        expect_problem(await finish(ada, begun, phone.use(begun["publicKey"])), 422, "unknown_passkey")
        assert (await ada.client.get("/passkeys", headers=headers)).json() == left
        none = (await ada.client.delete(f"/passkeys/{encode(key.id)}", headers=headers)).json()
        assert (none["userId"], none["allAcceptedCredentialIds"]) == (phone.handle, [])
        again = Authenticator(ISSUER)
        assert (await add(ada, again, token)).status_code == 201
        assert again.handle == phone.handle


async def test_the_authenticator_that_has_one_makes_no_second(tmp_path: Path) -> None:
    """The options exclude it, and a credential id is stored once."""
    async with a_person(tmp_path) as ada:
        token = (await ada.login())["accessToken"]
        device = Authenticator(ISSUER)
        await add(ada, device, token)
        options = (await ada.post("/passkeys/options", token=token)).json()["publicKey"]
        assert [each["id"] for each in options["excludeCredentials"]] == [encode(device.id)]
        assert options["authenticatorSelection"]["residentKey"] == "required"
        assert options["attestation"] == "none"
        assert len(options["user"]["id"]) == 43
        assert EMAIL not in options["user"]["id"]
        expect_problem(await add(ada, device, token), 422, "invalid_passkey")


@pytest.mark.parametrize(
    "how",
    [
        {"verified": False},
        {"present": False},
        {"origin": "https://evil.example"},
        {"challenge": encode(b"x" * 32)},
        {"type": "webauthn.create"},
        {"crossOrigin": True},
    ],
)
async def test_what_is_not_as_it_must_be_signs_nobody_in(tmp_path: Path, how: dict[str, Any]) -> None:
    """And leaves the passkey as it is."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada)
        begun = await begin(ada)
        expect_problem(await finish(ada, begun, device.use(begun["publicKey"], **how)), 422, "invalid_passkey")
        assert await ada.count_sessions() == 0
        assert (await finish(ada, begun, device.use(begun["publicKey"]))).status_code == 200


async def test_forged_answers(tmp_path: Path) -> None:
    """A signature by another key, another relying party, a foreign handle, bytes that are nothing, and deep ones."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada)
        begun = await begin(ada)
        good = device.use(begun["publicKey"])
        other = Authenticator(ISSUER)
        other.id, other.handle = device.id, device.handle
        other_party = device.use(begun["publicKey"] | {"rpId": "evil.example"})
        forged: list[Any] = [
            other.use(begun["publicKey"]),
            other_party,
            good | {"response": good["response"] | {"userHandle": encode(b"y" * 32)}},
            good | {"response": good["response"] | {"userHandle": None}},
            good | {"response": good["response"] | {"signature": ""}},
            good | {"response": good["response"] | {"authenticatorData": encode(b"\x9f" * 4000)}},
            good | {"rawId": encode(b"z")},
            good | {"id": 7},
            good | {"response": {}},
            good | {"response": good["response"] | {"clientDataJSON": encode(b"[" * 3000)}},
            {},
        ]
        for answer in forged:
            assert (await finish(ada, begun, answer)).json()["code"] == "invalid_passkey", answer
        assert await ada.count_sessions() == 0


async def test_forged_creations(tmp_path: Path) -> None:
    """Nothing is stored."""
    async with a_person(tmp_path) as ada:
        token = (await ada.login())["accessToken"]
        begun = (await ada.post("/passkeys/options", token=token)).json()
        device = Authenticator(ISSUER)
        good = device.make(begun["publicKey"])
        hostile = [b"\x9f" * 3000, b"\xbf" * 3000, b"\xa3cfmtdnone", bytes(5000), b"\xa1" + b"\x81" * 3000]
        forged = [good | {"response": good["response"] | {"attestationObject": encode(data)}} for data in hostile]
        forged += [
            device.make(begun["publicKey"], origin="https://evil.example"),
            device.make(begun["publicKey"], present=False),
            device.make(begun["publicKey"] | {"rp": {"id": "evil.example"}}),
        ]
        body = {"passkeyChallenge": begun["challenge"], "ticket": begun["ticket"]}
        for answer in forged:
            expect_problem(await ada.post("/passkeys", body | {"passkey": answer}, token=token), 422, "invalid_passkey")
        assert (await ada.client.get("/passkeys", headers={"authorization": f"Bearer {token}"})).json()["passkeys"] == []
        assert (await ada.post("/passkeys", body | {"passkey": good}, token=token)).status_code == 201


async def test_the_browser_may_make_one_without_a_gesture(tmp_path: Path) -> None:
    """Right after a sign-in with a password, if the client says so (conditional create). The session is no stronger then."""
    async with a_person(tmp_path) as ada:
        signed_in = await ada.login()
        token = signed_in["accessToken"]
        begun = (await ada.post("/passkeys/options", token=token)).json()
        made = Authenticator(ISSUER).make(begun["publicKey"], present=False, verified=False)
        body = {"passkeyChallenge": begun["challenge"], "ticket": begun["ticket"], "passkey": made, "conditional": True}
        assert (await ada.post("/passkeys", body, token=token)).status_code == 201
        refreshed = (await ada.post("/refresh", {"refreshToken": signed_in["refreshToken"]})).json()["accessToken"]
        assert (read_claims(refreshed)["acr"], read_claims(refreshed)["amr"]) == ("pwd", ["pwd"])
        refused = await ada.post("/recovery-codes", token=refreshed)  # it proves nothing of the person
        expect_problem(refused, 401, "insufficient_user_authentication")


async def test_a_sign_in_is_not_completed_without_a_gesture(tmp_path: Path) -> None:
    """While it adds a factor, a passkey that says that it was made by itself is no second factor."""
    async with a_person(tmp_path, second_factor="required") as ada:
        first = await ada.login()
        held = {"challenge": first["challenge"], "ticket": first["ticket"]}
        begun = (await ada.post("/passkeys/options", held)).json()
        made = Authenticator(ISSUER).make(begun["publicKey"], present=False, verified=False)
        body = held | {"passkeyChallenge": begun["challenge"], "passkey": made, "conditional": True}
        expect_problem(await ada.post("/passkeys", body), 422, "invalid_passkey")
        expect_problem(await ada.complete(first), 422, "invalid_request")


async def test_a_challenge_is_single_use_bound_and_short(tmp_path: Path) -> None:
    """Of 256 random bits, one purpose, one browser, one account, and five minutes."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada)
        begun, other = await begin(ada), await begin(ada)
        challenges = {decode(each["publicKey"]["challenge"]) for each in (begun, other)}
        assert [len(each) for each in challenges] == [32, 32]
        used = device.use(begun["publicKey"])
        expect_problem(await finish(ada, begun | {"ticket": other["ticket"]}, used), 422, "invalid_challenge")
        expect_problem(await finish(ada, other, used), 422, "invalid_passkey")
        assert (await finish(ada, begun, used)).status_code == 200
        expect_problem(await finish(ada, begun, device.use(begun["publicKey"])), 422, "invalid_challenge")
        token = (await finish(ada, other, device.use(other["publicKey"]))).json()["accessToken"]
        late = await begin(ada)
        ada.clock.advance(ms=LIFETIME_MS)
        expect_problem(await finish(ada, late, device.use(late["publicKey"])), 422, "invalid_challenge")
        first = await ada.login()
        alone = await begin(ada)
        mixed = await ada.complete(
            first | {"ticket": alone["ticket"]}, passkey=device.use(alone["publicKey"]), passkeyChallenge=alone["challenge"]
        )
        expect_problem(mixed, 422, "invalid_challenge")
        factor = await begin(ada, challenge=first["challenge"], ticket=first["ticket"])
        expect_problem(await finish(ada, factor, device.use(factor["publicKey"])), 422, "invalid_challenge")
        step_up = (await ada.post("/login/passkey/options", {"ticket": first["ticket"]}, token=token)).json()
        ada.client.headers["cookie"] = f"__Host-handstamp-grant={first['ticket']}"
        second = await ada.login()
        assert second["ticket"] == first["ticket"]
        del ada.client.headers["cookie"]
        for other in (step_up, await begin(ada, challenge=second["challenge"], ticket=first["ticket"])):
            used = device.use(other["publicKey"])  # of the same account and browser, but of another session or sign-in
            expect_problem(await ada.complete(first, passkey=used, passkeyChallenge=other["challenge"]), 422, "invalid_challenge")
        enrol = (await ada.post("/passkeys/options", token=token)).json()
        expect_problem(await finish(ada, enrol, device.use(factor["publicKey"])), 422, "invalid_challenge")


async def test_a_passkey_of_another_account(tmp_path: Path) -> None:
    """Is no second factor of this one."""
    async with a_person(tmp_path) as ada:
        await enrolled(ada)
        await ada.running.create_account("bob@example.com", PASSWORD, caller(ada.clock))
        token = (await ada.post("/login", {"email": "bob@example.com", "password": PASSWORD})).json()["accessToken"]
        bobs = Authenticator(ISSUER)
        await add(ada, bobs, token)
        first = await ada.login()
        begun = await begin(ada, challenge=first["challenge"], ticket=first["ticket"])
        used = bobs.use(begun["publicKey"])
        expect_problem(await ada.complete(first, passkey=used, passkeyChallenge=begun["challenge"]), 422, "invalid_passkey")
        headers = {"authorization": f"Bearer {token}"}
        (mine,) = (await ada.client.get("/passkeys", headers=headers)).json()["allAcceptedCredentialIds"]
        assert mine == encode(bobs.id)


async def test_a_counter_that_goes_back(tmp_path: Path) -> None:
    """A copy of a hardware key is refused; a synced passkey does not count, and is not suspected."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada, counts=True)
        begun = await begin(ada)
        assert (await finish(ada, begun, device.use(begun["publicKey"]))).status_code == 200
        device.count -= 1
        begun = await begin(ada)
        refused = expect_problem(await finish(ada, begun, device.use(begun["publicKey"])), 422, "invalid_passkey")
        assert "another copy" in refused["detail"]


async def test_related_origins(tmp_path: Path) -> None:
    """Pages of trusted origins use the same passkeys, and the file tells browsers so. Others cannot."""
    async with a_person(tmp_path, trusted_origins=[RELATED, "capacitor://localhost"]) as ada:
        assert (await ada.client.get("/.well-known/webauthn")).json() == {"origins": [RELATED]}
        device = await enrolled(ada)
        device.origin = RELATED
        begun = await begin(ada)
        assert (await finish(ada, begun, device.use(begun["publicKey"]))).status_code == 200


@pytest.mark.parametrize("between", ["disable", "delete", "remove"])
async def test_what_happens_during_the_ceremony_counts(tmp_path: Path, between: str) -> None:
    """A passkey that is gone, or an account, signs nobody in."""
    async with a_person(tmp_path) as ada:
        device = await enrolled(ada)
        begun = await begin(ada)
        account = await ada.running.accounts.get_by_email(EMAIL)
        match between:
            case "disable":
                await ada.running.accounts.disable(EMAIL, caller(ada.clock))
            case "delete":
                await ada.running.accounts.delete(EMAIL, caller(ada.clock))
            case _:
                await ada.running.store.transact(lambda rows: rows.passkeys.delete(account.id, encode(device.id)))
        answer = await finish(ada, begun, device.use(begun["publicKey"]))
        assert answer.json()["code"] in {"invalid_credentials", "unknown_passkey"}
        assert await ada.count_sessions() == 0


async def test_the_policy_is_kept_with_a_passkey(tmp_path: Path) -> None:
    """Enrolled while signing in, it completes the sign-in; the last one stays."""
    async with a_person(tmp_path, second_factor="required") as ada:
        first = await ada.login()
        with_challenge = {"challenge": first["challenge"], "ticket": first["ticket"]}
        begun = (await ada.post("/passkeys/options", with_challenge)).json()
        device = Authenticator(ISSUER)
        body = with_challenge | {"passkeyChallenge": begun["challenge"], "passkey": device.make(begun["publicKey"])}
        added = await ada.post("/passkeys", body)
        assert added.status_code == 201, added.text
        assert len(added.json()["recoveryCodes"]) == 10
        token = (await ada.complete(first)).json()["accessToken"]
        assert read_claims(token)["acr"] == "phr"
        refused = await ada.client.delete(f"/passkeys/{encode(device.id)}", headers={"authorization": f"Bearer {token}"})
        expect_problem(refused, 409, "factor_required")


async def test_the_last_way_to_sign_in_stays(tmp_path: Path) -> None:
    """Of an account without a password one passkey can be removed, and the last one cannot. Nothing of it changes."""
    async with a_person(tmp_path) as ada:
        token = (await ada.login())["accessToken"]
        first, second = Authenticator(ISSUER), Authenticator(ISSUER)
        for device in (first, second):
            assert (await add(ada, device, token)).status_code == 201
        account = await ada.running.accounts.get_by_email(EMAIL)
        passwordless = msgspec.structs.replace(account, password_hash="")
        await ada.running.store.transact(lambda rows: rows.accounts.update(passwordless))
        headers = {"authorization": f"Bearer {token}"}
        assert (await ada.client.delete(f"/passkeys/{encode(first.id)}", headers=headers)).status_code == 200
        expect_problem(await ada.client.delete(f"/passkeys/{encode(second.id)}", headers=headers), 409, "last_way")
        begun = await begin(ada)
        assert (await finish(ada, begun, second.use(begun["publicKey"]))).status_code == 200
