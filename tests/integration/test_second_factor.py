"""Signing in with a second factor, over the API: no step is left out, and nothing comes too early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pyotp
import pytest

from handstamp.assemble.application import make_application
from handstamp.assemble.backups import back_up, restore
from handstamp.assemble.deployment import Deployment
from handstamp.domain.attempt import LIFETIME_MS, MAX_TRIES
from handstamp.domain.session import FRESH_MS
from tests.builders import NOW_MS, SECOND_MS, Clock
from tests.deployment import ISSUER, caller, deployed, operator
from tests.integration.helpers import expect_problem, read_claims

pytestmark = pytest.mark.anyio
EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"
STEP_S = 30


class Person:
    """A person with an authenticator app, and the service in this process."""

    def __init__(self, running: Deployment, clock: Clock, client: httpx.AsyncClient) -> None:
        """Use a client of the service."""
        self.running, self.clock, self.client = running, clock, client
        self.secret = ""
        self.recovery_codes: list[str] = []

    async def post(self, path: str, body: dict[str, Any] | None = None, *, token: str = "") -> httpx.Response:
        """Send a request, with an access token if there is one."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        return await self.client.post(path, json=body or {}, headers=headers)

    async def login(self, password: str = PASSWORD, **body: Any) -> dict[str, Any]:
        """Return the answer to the first step, which is right."""
        answer = await self.post("/login", {"email": EMAIL, "password": password} | body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["cache-control"] == "no-store"
        found: dict[str, Any] = answer.json()
        return found

    async def enrol(self, token: str) -> list[str]:
        """Add an authenticator app, and return the recovery codes."""
        begun = (await self.post("/totp", token=token)).json()
        self.secret = begun["secret"].replace(" ", "")
        assert begun["qr"].startswith("<svg")
        answer = await self.post("/totp/confirm", {"enrolment": begun["enrolment"], "code": self.code()}, token=token)
        assert answer.status_code == 200, answer.text
        codes: list[str] = answer.json()["recoveryCodes"]
        self.recovery_codes = codes or self.recovery_codes
        return codes

    def code(self, *, later_s: int = 0) -> str:
        """Return the code that the app shows."""
        return pyotp.TOTP(self.secret).at(self.clock() // SECOND_MS + later_s)

    def next_code(self) -> str:
        """Let half a minute pass, and return the new code."""
        self.clock.advance(seconds=STEP_S)
        return self.code()

    async def complete(self, first: dict[str, Any], **answer: Any) -> httpx.Response:
        """Send the second step."""
        return await self.post("/login/second-factor", {"challenge": first["challenge"], "ticket": first.get("ticket"), **answer})

    async def count_sessions(self) -> int:
        """Return how many sessions live."""
        found, _ = await self.running.sessions.list_all(None, caller(self.clock))
        return len(found)


@asynccontextmanager
async def a_person(folder: Path, *, enrolled: bool = True, **settings: object) -> AsyncIterator[Person]:
    """Run the service with a person who has an authenticator app, and who is signed in nowhere."""
    clock = Clock()
    async with (
        deployed(folder, clock, **settings) as running,
        httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER) as client,
    ):
        ada = Person(running, clock, client)
        await running.create_account(EMAIL, PASSWORD, caller(clock))
        if enrolled:
            token = (await ada.login())["accessToken"]
            assert len(await ada.enrol(token)) == 10
            await running.sign_out.end_all((await running.accounts.get_by_email(EMAIL)).id, caller(clock))
        yield ada


async def test_two_steps(tmp_path: Path) -> None:
    """The password alone gets no token, no session and no event of a sign-in; with a code both steps are in the token."""
    async with a_person(tmp_path) as ada:
        first = await ada.login()
        assert first.keys() == {"challenge", "methods", "expiresIn", "ticket"}
        assert (first["methods"], first["expiresIn"]) == (["totp", "recovery_code"], LIFETIME_MS // 1000)
        assert await ada.count_sessions() == 0
        answer = await ada.complete(first, code=ada.next_code())
        assert answer.status_code == 200, answer.text
        claims = read_claims(answer.json()["accessToken"])
        assert (claims["acr"], claims["amr"]) == ("mfa", ["pwd", "otp", "mfa"])
        assert claims["auth_time"] == ada.clock() // 1000
        assert await ada.count_sessions() == 1


async def test_a_browser_has_a_cookie_instead_of_the_ticket(tmp_path: Path) -> None:
    """And neither a token's cookie nor a device's is set before the last step."""
    async with a_person(tmp_path) as ada:
        ada.client.headers["origin"] = ISSUER
        ada.client.headers["sec-fetch-site"] = "same-origin"
        first = await ada.login()
        assert "ticket" not in first
        assert [name for name in ada.client.cookies if "grant" not in name] == []
        answer = await ada.complete(first, code=ada.next_code())
        assert answer.status_code == 200, answer.text
        assert {name.removeprefix("__Host-handstamp-") for name in ada.client.cookies} >= {"refresh", "device"}


async def test_a_wrong_password_does_not_tell_of_a_second_factor(tmp_path: Path) -> None:
    """The answer is that of any account."""
    async with a_person(tmp_path) as ada:
        answers = [
            await ada.post("/login", {"email": email, "password": "a wrong sentence, 23 words"})
            for email in (EMAIL, "nobody@example.com")
        ]
        problems = [expect_problem(answer, 401, "invalid_credentials") for answer in answers]
        assert len({tuple(sorted(problem.items() - {("instance", problem["instance"])})) for problem in problems}) == 1


async def test_a_challenge_is_used_up(tmp_path: Path) -> None:
    """Neither it nor its code works again."""
    async with a_person(tmp_path) as ada:
        first = await ada.login()
        code = ada.next_code()
        assert (await ada.complete(first, code=code)).status_code == 200
        ada.clock.advance(seconds=STEP_S)
        expect_problem(await ada.complete(first, code=ada.code()), 422, "invalid_challenge")
        second = await ada.login()
        expect_problem(await ada.complete(second, code=code), 422, "invalid_code")
        assert await ada.count_sessions() == 1


@pytest.mark.parametrize("later_s", [-STEP_S, 0, STEP_S])
async def test_the_clock_of_the_app_may_differ(tmp_path: Path, later_s: int) -> None:
    """By one step in either direction; not by two."""
    async with a_person(tmp_path) as ada:
        ada.clock.advance(seconds=5 * STEP_S)
        first = await ada.login()
        expect_problem(await ada.complete(first, code=ada.code(later_s=3 * later_s or 90)), 422, "invalid_code")
        assert (await ada.complete(first, code=ada.code(later_s=later_s))).status_code == 200


async def test_a_challenge_is_bound_to_its_browser_and_its_time(tmp_path: Path) -> None:
    """A phished or copied challenge opens nothing elsewhere."""
    async with a_person(tmp_path) as ada:
        first, other = await ada.login(), await ada.login()
        code = ada.next_code()
        for ticket in (other["ticket"], None, "x"):
            expect_problem(await ada.complete(first | {"ticket": ticket}, code=code), 422, "invalid_challenge")
        for challenge in ("", "x", first["challenge"][:-4], "A" * 1024):
            refused = await ada.complete(first | {"challenge": challenge}, code=code)
            expect_problem(refused, 422, "invalid_challenge")
        ada.clock.advance(ms=LIFETIME_MS)
        expect_problem(await ada.complete(first, code=ada.code()), 422, "invalid_challenge")
        assert await ada.count_sessions() == 0


async def test_wrong_codes_end_the_attempt(tmp_path: Path) -> None:
    """Of many connections at once, five codes are looked at. The account stays open for another attempt."""
    async with a_person(tmp_path) as ada:
        first = await ada.login()
        right = ada.next_code()
        wrong = f"{(int(right) + 1) % 1_000_000:06}"
        answers = await asyncio.gather(*(ada.complete(first, code=wrong) for _ in range(50)))
        codes = [answer.json()["code"] for answer in answers]
        assert codes.count("invalid_code") == MAX_TRIES
        assert set(codes) == {"invalid_code", "invalid_challenge"}
        expect_problem(await ada.complete(first, code=right), 422, "invalid_challenge")
        assert await ada.count_sessions() == 0


async def test_two_nodes_look_at_five_codes_and_accept_one(tmp_path: Path) -> None:
    """The row of the attempt and that of the app are the same for both."""
    async with a_person(tmp_path) as ada, AsyncExitStack() as stack:
        other = await stack.enter_async_context(deployed(tmp_path, ada.clock))
        client = httpx.AsyncClient(transport=httpx.ASGITransport(make_application(other)), base_url=ISSUER)
        second = Person(other, ada.clock, await stack.enter_async_context(client))
        first = await ada.login()
        right = ada.next_code()
        answers = await asyncio.gather(*(person.complete(first, code=right) for person in (ada, second) * 5))
        assert sorted(answer.status_code for answer in answers).count(200) == 1
        assert await ada.count_sessions() == 1
        first = await ada.login()
        wrong = f"{(int(right) + 1) % 1_000_000:06}"
        refused = await asyncio.gather(*(person.complete(first, code=wrong) for person in (ada, second) * 25))
        assert [answer.json()["code"] for answer in refused].count("invalid_code") == MAX_TRIES


async def test_a_recovery_code_works_once(tmp_path: Path) -> None:
    """With any case and any gaps; it is told by mail and counted."""
    async with a_person(tmp_path) as ada:
        code = ada.recovery_codes[3]
        assert (await ada.complete(await ada.login(), recoveryCode=code.upper().replace("-", " "))).status_code == 200
        expect_problem(await ada.complete(await ada.login(), recoveryCode=code), 422, "invalid_code")
        expect_problem(await ada.complete(await ada.login(), recoveryCode="x"), 422, "invalid_request")
        token = (await ada.complete(await ada.login(), code=ada.next_code())).json()["accessToken"]
        answer = await ada.client.get("/factors", headers={"authorization": f"Bearer {token}"})
        assert (answer.json()["recoveryCodes"], answer.json()["hasPassword"]) == (9, True)


async def test_one_factor_is_needed(tmp_path: Path) -> None:
    """None, or two at once, is a mistake that changes nothing."""
    async with a_person(tmp_path) as ada:
        first = await ada.login()
        expect_problem(await ada.complete(first), 422, "invalid_request")
        expect_problem(await ada.complete(first, code=ada.code(), recoveryCode=ada.recovery_codes[0]), 422, "invalid_request")
        expect_problem(await ada.complete(first, passkey={"id": "x"}), 422, "invalid_challenge")
        assert (await ada.complete(first, code=ada.next_code())).status_code == 200


@pytest.mark.parametrize("between", ["disable", "password", "delete", "everywhere"])
async def test_what_ends_all_sessions_ends_the_sign_in(tmp_path: Path, between: str) -> None:
    """Also between its steps."""
    async with a_person(tmp_path) as ada:
        first = await ada.login()
        code = ada.next_code()
        accounts, now = ada.running.accounts, caller(ada.clock)
        match between:
            case "disable":
                await accounts.disable(EMAIL, now)
            case "password":
                await accounts.set_password(EMAIL, "another sentence, hers alone", now)
            case "delete":
                await accounts.delete(EMAIL, now)
            case _:
                await ada.running.sign_out.end_all((await accounts.get_by_email(EMAIL)).id, now)
        assert (await ada.complete(first, code=code)).json()["code"] in {
            "invalid_challenge",
            "invalid_credentials",
            "invalid_code",
        }
        assert await ada.count_sessions() == 0


async def test_a_factor_that_is_removed_meanwhile_completes_nothing(tmp_path: Path) -> None:
    """And one that is added meanwhile is asked for."""
    async with a_person(tmp_path) as ada:
        inside = (await ada.complete(await ada.login(), code=ada.next_code())).json()["accessToken"]
        first = await ada.login()
        answer = await ada.client.delete("/totp", headers={"authorization": f"Bearer {inside}"})
        assert answer.status_code == 204, answer.text
        expect_problem(await ada.complete(first, code=ada.next_code()), 422, "invalid_code")
        assert "accessToken" in await ada.login()
        await ada.enrol(inside)
        assert "challenge" in await ada.login()


async def test_a_lost_answer_is_repeated(tmp_path: Path) -> None:
    """The same second step, sent again with its key, gets the same session."""
    async with a_person(tmp_path) as ada:
        first = await ada.login()
        ada.client.headers["idempotency-key"] = "a-key-of-sixteen-or-more"
        code = ada.next_code()
        answers = [await ada.complete(first, code=code) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json()["sessionId"] == answers[1].json()["sessionId"]
        assert await ada.count_sessions() == 1


async def test_the_policy_leads_through_enrolment(tmp_path: Path) -> None:
    """No session begins before a factor is there; its first code completes the sign-in, and the next one needs it."""
    async with a_person(tmp_path, enrolled=False, second_factor="required") as ada:
        first = await ada.login()
        assert (first["methods"], first["enrol"]) == ([], ["passkey", "totp"])
        expect_problem(await ada.complete(first, code="123456"), 422, "invalid_code")
        expect_problem(await ada.complete(first), 422, "invalid_request")
        with_challenge = {"challenge": first["challenge"], "ticket": first["ticket"]}
        begun = (await ada.post("/totp", with_challenge)).json()
        ada.secret = begun["secret"].replace(" ", "")
        added = await ada.post("/totp/confirm", with_challenge | {"enrolment": begun["enrolment"], "code": ada.code()})
        assert len(added.json()["recoveryCodes"]) == 10
        assert await ada.count_sessions() == 0
        answer = await ada.complete(first)
        assert answer.status_code == 200, answer.text
        token = answer.json()["accessToken"]
        assert (read_claims(token)["acr"], read_claims(token)["amr"]) == ("mfa", ["pwd", "otp", "mfa"])
        assert (await ada.login())["methods"] == ["totp", "recovery_code"]
        removed = await ada.client.delete("/totp", headers={"authorization": f"Bearer {token}"})
        expect_problem(removed, 409, "factor_required")


async def test_a_password_alone_adds_no_second_app(tmp_path: Path) -> None:
    """A challenge that asks for a factor cannot be used to add another one."""
    async with a_person(tmp_path) as ada:
        first = await ada.login()
        body = {"challenge": first["challenge"], "ticket": first["ticket"]}
        expect_problem(await ada.post("/totp", body), 422, "invalid_challenge")


async def test_a_policy_for_roles(tmp_path: Path) -> None:
    """Only accounts with the role need a factor. A session from before gets the role when it is proved with one."""
    async with a_person(tmp_path, enrolled=False, second_factor="required_for:admin") as ada:
        begun = await ada.login()
        for role in ("admin", "clerk"):
            await ada.running.accounts.grant_role(EMAIL, role, caller(ada.clock))
        assert "enrol" in await ada.login()
        weak = (await ada.post("/refresh", {"refreshToken": begun["refreshToken"]})).json()
        assert (await roles_of(ada, weak), read_claims(weak["accessToken"])["roles"]) == (["clerk"], ["clerk"])
        await ada.enrol(weak["accessToken"])
        strong = (await ada.post("/refresh", {"refreshToken": weak["refreshToken"]})).json()
        both = ["admin", "clerk"]
        assert (await roles_of(ada, strong), read_claims(strong["accessToken"])["roles"]) == (both, both)
        assert strong["sessionId"] == begun["sessionId"]


async def roles_of(ada: Person, tokens: dict[str, Any]) -> list[str]:
    """Return the roles that the profile shows."""
    answer = await ada.client.get("/profile", headers={"authorization": f"Bearer {tokens['accessToken']}"})
    found: list[str] = answer.json()["roles"]
    return found


async def test_stepping_up(tmp_path: Path) -> None:
    """The session stays, its proof is new, and the next refresh carries it; a password does not do for a factor."""
    async with a_person(tmp_path) as ada:
        tokens = (await ada.complete(await ada.login(), code=ada.next_code())).json()
        before = read_claims(tokens["accessToken"])
        ada.clock.advance(ms=FRESH_MS - 2 * STEP_S * SECOND_MS)
        ada.clock.advance(seconds=2 * STEP_S)
        access = tokens["accessToken"]
        refused = expect_problem(await ada.post("/recovery-codes", token=access), 401, "insufficient_user_authentication")
        assert refused["status"] == 401
        expect_problem(
            await ada.post("/login/step-up", {"password": PASSWORD}, token=access), 401, "insufficient_user_authentication"
        )
        expect_problem(await ada.post("/login/step-up", token=access), 422, "invalid_request")
        expect_problem(await ada.post("/login/step-up", {"code": "000000"}, token=access), 422, "invalid_code")
        answer = await ada.post("/login/step-up", {"code": ada.code()}, token=access)
        assert answer.status_code == 200, answer.text
        assert (answer.json()["acr"], answer.json()["amr"]) == ("mfa", ["pwd", "otp", "mfa"])
        assert len((await ada.post("/recovery-codes", token=access)).json()["recoveryCodes"]) == 10
        after = read_claims((await ada.post("/refresh", {"refreshToken": tokens["refreshToken"]})).json()["accessToken"])
        assert after["sid"] == before["sid"]
        assert after["auth_time"] == ada.clock() // 1000 > before["auth_time"]


async def test_stepping_up_with_a_password(tmp_path: Path) -> None:
    """For an account without a factor. Wrong ones are counted as elsewhere."""
    async with a_person(tmp_path, enrolled=False) as ada:
        access = (await ada.login())["accessToken"]
        ada.clock.advance(ms=FRESH_MS)
        expect_problem(await ada.post("/totp", token=access), 401, "insufficient_user_authentication")
        expect_problem(await ada.post("/login/step-up", {"password": "wrong"}, token=access), 401, "invalid_credentials")
        answer = await ada.post("/login/step-up", {"password": PASSWORD}, token=access)
        assert (answer.json()["acr"], answer.json()["authTime"]) == ("pwd", "2027-01-15T08:10:00Z")
        assert ada.clock() - NOW_MS == FRESH_MS
        assert (await ada.post("/totp", token=access)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/password", {"currentPassword": PASSWORD, "newPassword": "another sentence, hers alone"}),
        ("POST", "/me/delete", {"email": EMAIL}),
        ("GET", "/me/export", None),
        ("DELETE", "/totp", None),
        ("POST", "/totp", {}),
        ("POST", "/recovery-codes", None),
    ],
)
async def test_a_session_from_before_the_factor_changes_nothing(
    tmp_path: Path, method: str, path: str, body: dict[str, Any] | None
) -> None:
    """A session that was proved with the password alone, on another device, is asked for the factor."""
    async with a_person(tmp_path, enrolled=False) as ada:
        old, new = (await ada.login())["accessToken"], (await ada.login())["accessToken"]
        await ada.enrol(new)
        answer = await ada.client.request(method, path, json=body, headers={"authorization": f"Bearer {old}"})
        expect_problem(answer, 401, "insufficient_user_authentication")
        assert 'acr_values="mfa"' in answer.headers["www-authenticate"]
        again = await ada.client.request(method, path, json=body, headers={"authorization": f"Bearer {new}"})
        assert again.status_code < 300, again.text


async def test_a_new_password_keeps_the_strength_of_the_session(tmp_path: Path) -> None:
    """The session that replaces the one of the change needs no second step."""
    async with a_person(tmp_path) as ada:
        token = (await ada.complete(await ada.login(), code=ada.next_code())).json()["accessToken"]
        body = {"currentPassword": PASSWORD, "newPassword": "another sentence, hers alone"}
        answer = await ada.post("/password", body, token=token)
        claims = read_claims(answer.json()["accessToken"])
        assert (claims["acr"], claims["auth_time"]) == ("mfa", read_claims(token)["auth_time"])


async def test_a_new_password_is_no_fresh_proof_by_a_factor(tmp_path: Path) -> None:
    """Otherwise a copy of an old session and the password would be enough to remove the factor."""
    async with a_person(tmp_path) as ada:
        signed_in = (await ada.complete(await ada.login(), code=ada.next_code())).json()
        ada.clock.advance(ms=FRESH_MS)
        renewed = (await ada.post("/refresh", {"refreshToken": signed_in["refreshToken"]})).json()["accessToken"]
        body = {"currentPassword": PASSWORD, "newPassword": "another sentence, hers alone"}
        token = (await ada.post("/password", body, token=renewed)).json()["accessToken"]
        removed = await ada.client.delete("/totp", headers={"authorization": f"Bearer {token}"})
        expect_problem(removed, 401, "insufficient_user_authentication")
        assert (await ada.post("/login/step-up", {"code": ada.next_code()}, token=token)).status_code == 200
        assert (await ada.client.delete("/totp", headers={"authorization": f"Bearer {token}"})).status_code == 204


async def test_deleting_the_account_forgets_its_factors(tmp_path: Path) -> None:
    """No row is left."""
    async with a_person(tmp_path) as ada:
        account = await ada.running.accounts.get_by_email(EMAIL)
        await ada.complete(await ada.login(), code="000000")
        await ada.running.accounts.delete(EMAIL, caller(ada.clock))
        assert await ada.running.store.read(lambda rows: rows.totp.get(account.id)) is None
        assert await ada.running.store.read(lambda rows: rows.recovery_codes.list_of(account.id)) == []


async def test_apps_survive_another_master_secret(tmp_path: Path) -> None:
    """They work beside the previous secret, and without it once they are sealed again."""
    old, new = "an-old-secret-of-32-bytes-0123456789-abc", "a-new-secret-of-32-bytes-9876543210-xyz"
    async with a_person(tmp_path, secret=old) as ada:
        secret, clock, codes = ada.secret, ada.clock, ada.recovery_codes

    async def sign_in(**settings: object) -> None:
        async with (
            deployed(tmp_path, clock, **settings) as running,
            httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER) as client,
        ):
            person = Person(running, clock, client)
            person.secret = secret
            answer = await person.complete(await person.login(), code=person.next_code())
            assert answer.status_code == 200, answer.text
            recovered = await person.complete(await person.login(), recoveryCode=codes.pop())
            assert recovered.status_code == 200, recovered.text
            await running.keys.reseal(operator(clock))
            await running.reseal_apps(operator(clock))
            assert await running.reseal_apps(operator(clock)) == 0
            left = {(event.kind, event.actor) async for page in running.audit_trail.export() for _, event in page}
            assert {("key_resealed", "operator"), ("secrets_resealed", "operator")} <= left

    await sign_in(secret=new, previous_secrets=old)
    await sign_in(secret=new)


async def test_a_restored_backup_has_the_factors_of_its_time(tmp_path: Path) -> None:
    """A code that was used since works again if it is a recovery code. One of an app has expired after a minute and a half."""
    backup = tmp_path / "backup.db"
    async with a_person(tmp_path) as ada:
        settings = ada.running.settings
        back_up(settings, backup, may_replace=False, report=lambda *_: None)
        used = ada.next_code()
        assert (await ada.complete(await ada.login(), code=used)).status_code == 200
        token = (await ada.complete(await ada.login(), recoveryCode=ada.recovery_codes[0])).json()["accessToken"]
        assert (await ada.client.delete("/totp", headers={"authorization": f"Bearer {token}"})).status_code == 204
        assert "accessToken" in await ada.login()
    restore(settings, backup, report=lambda *_: None)
    ada.clock.advance(seconds=90)
    async with (
        deployed(tmp_path, ada.clock) as ada.running,
        httpx.AsyncClient(transport=httpx.ASGITransport(make_application(ada.running)), base_url=ISSUER) as ada.client,
    ):
        expect_problem(await ada.complete(await ada.login(), code=used), 422, "invalid_code")
        assert (await ada.complete(await ada.login(), code=ada.code())).status_code == 200
        recovered = await ada.complete(await ada.login(), recoveryCode=ada.recovery_codes[0])
        assert recovered.status_code == 200, recovered.text


async def test_confirming_an_app_again_makes_no_used_code_valid(tmp_path: Path) -> None:
    """The same enrolment can be sent twice. An earlier code does not set the last used step back."""
    async with a_person(tmp_path, enrolled=False) as ada:
        token = (await ada.login())["accessToken"]
        begun = (await ada.post("/totp", token=token)).json()
        ada.secret = begun["secret"].replace(" ", "")
        for later_s in (STEP_S, 0):
            body = {"enrolment": begun["enrolment"], "code": ada.code(later_s=later_s)}
            assert (await ada.post("/totp/confirm", body, token=token)).status_code == 200
        for later_s in (0, STEP_S):
            expect_problem(await ada.complete(await ada.login(), code=ada.code(later_s=later_s)), 422, "invalid_code")
