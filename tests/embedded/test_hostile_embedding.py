"""Applications that make mistakes: wrong values, missing starts and repeated starts. All parts are real."""

from __future__ import annotations

import asyncio
import pickle
from collections import UserDict
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from handstamp.crypto.jwk import KeySet
from handstamp.embedded import Handstamp
from handstamp.errors import InvalidFields, InvalidToken, Unavailable
from handstamp.verify.verifier import Verifier
from tests.embedded.test_sessions import ISSUER, embedded
from tests.serving import PASSWORD

pytestmark = pytest.mark.anyio


class Marked(str):
    """A subclass of text, like those of template engines and database drivers."""

    __slots__ = ()


class Fraction(float):
    """A subclass of a number, like those of numerical libraries."""

    __slots__ = ()


# --- wrong values


@pytest.mark.parametrize(
    "given",
    [{"subject": value} for value in ("\ud800", "a\u202eb", "a\x7f", b"42", None, ["42"])]
    + [{"claims": value} for value in ([1], "x", 5, [("a", 1)])]
    + [
        {"claims": {"c": value}}
        for value in ({1}, float("inf"), b"x", 10**400, {1: 2}, "\ud800", {"\ud800": 1}, [[[[[[[[[0]]]]]]]]])
    ]
    + [{"claims": {name: 1}} for name in ("sub", "exp", "nbf", "scope", "(rest)", "", "a b", "\ud800", 1)]
    + [{"roles": value} for value in (None, 5, "admin", ["\ud800"], [1], [""], ["x" * 1_000_000])]
    + [{"scope": value} for value in (None, 5, "a  b", "a\nb", 'a"', "x" * 1_000_000)]
    + [{"amr": value} for value in (None, 5, "pwd", (1,), ("\ud800",), (object,), ("x" * 1_000_000,))]
    + [{"delivery": value} for value in (None, 5, b"json", "bogus", ["json"], "\ud800")]
    + [{"ip": value} for value in (5, b"x", ["x"])]
    + [{"user_agent": value} for value in (5, b"x", ["x"])],
    ids=lambda given: repr(given)[:50].encode("ascii", "backslashreplace").decode(),
)
async def test_a_start_with_a_wrong_value_is_refused(given: dict[str, Any], tmp_path: Path) -> None:
    """The error names the field in a text that clients may see, and no session is left behind."""
    async with embedded(tmp_path) as auth:
        with pytest.raises(InvalidFields) as refused:
            await auth.sessions.start(**{"subject": "42"} | given)
        assert next(iter(given)) in str(refused.value)
        str(refused.value).encode()
        assert await auth.sessions.of("42") == []


@pytest.mark.parametrize("name", ["ip", "user_agent"])
async def test_user_agents_are_shortened_and_sanitised(name: str, tmp_path: Path) -> None:
    """A user agent may have any length and control characters. Like `/login`, `start` keeps only printable text."""
    async with embedded(tmp_path) as auth:
        given: dict[str, Any] = {name: "a\n\x1b[31m\ud800" + "x" * 100_000}
        await auth.sessions.start("42", **given)
        kept = getattr((await auth.sessions.of("42"))[0], name)
        assert len(kept) <= 256
        assert kept.isprintable()


@pytest.mark.parametrize(
    "given",
    [
        {"subject": Marked("42")},
        {"scope": Marked("a")},
        {"roles": [Marked("a")]},
        {"claims": {"c": Marked("a")}},
        {"claims": {"c": Fraction(1.5)}},
        {"claims": MappingProxyType({"c": 1})},
        {"claims": UserDict(c=1)},
    ],
)
async def test_subclasses_are_accepted_or_refused_by_name(given: dict[str, Any], tmp_path: Path) -> None:
    """Any mapping is accepted. A subclass of text or a number works like its parent class, or the error names its field."""
    async with embedded(tmp_path) as auth:
        try:
            pair = await auth.sessions.start(**{"subject": "42"} | given)
        except InvalidFields:
            assert not isinstance(given.get("claims"), MappingProxyType | UserDict)
        else:
            assert (await auth.verifier.verify_async(pair.access_token)).sub == "42"


@pytest.mark.parametrize("token", [None, b"a.b.c", 5, [], "", "...", "\ud800.a.b", "x" * 1_000_000])
async def test_non_tokens_are_invalid_tokens(token: Any, tmp_path: Path) -> None:
    """A value of any type gives `InvalidToken`, for example None from a form."""
    async with embedded(tmp_path) as auth:
        for ask in (auth.sessions.refresh, auth.verifier.verify_async):
            with pytest.raises(InvalidToken):
                await ask(token)


@pytest.mark.parametrize("name", [None, b"x", 5, [], object, "", "\ud800", "x" * 1_000_000])
async def test_an_unknown_subject_has_no_sessions(name: Any, tmp_path: Path) -> None:
    """None, as from a lookup without a result, does not mean all subjects."""
    async with embedded(tmp_path) as auth:
        pair = await auth.sessions.start("42")
        for ask in (auth.sessions.end, auth.sessions.end_all, auth.sessions.of):
            with suppress(InvalidFields):
                assert not await ask(name)
        assert (await auth.verifier.verify_async(pair.access_token)).sub == "42"


async def test_changed_claims_affect_no_other_caller(tmp_path: Path) -> None:
    """Neither the cache of verified tokens nor the store returns the same dictionary twice."""
    async with embedded(tmp_path) as auth:
        for claims in ({"plan": {"of": ["pro"]}}, {}):
            pair = await auth.sessions.start("42", claims=claims)
            said = await auth.verifier.verify_async(pair.access_token)
            said.extra["admin"] = True
            said.extra.setdefault("plan", {"of": []})["of"].append("admin")
            assert (await auth.verifier.verify_async(pair.access_token)).extra == claims


async def test_changed_session_values_affect_no_other_session(tmp_path: Path) -> None:
    """Sessions without granted claims do not share one empty dictionary."""
    async with embedded(tmp_path) as auth:
        await auth.sessions.start("42")
        mine = (await auth.sessions.of("42"))[0].granted.claims
        mine["admin"] = True
        try:
            other = await auth.sessions.start("43")
            assert (await auth.verifier.verify_async(other.access_token)).extra == {}
        finally:
            mine.clear()


async def test_claims_are_the_same_for_every_verifier(tmp_path: Path) -> None:
    """Nested, escaped and extreme values are equal in the application and in another service."""
    claims = {
        "a": {"b": [1, -0.0, 1e-9, 2**53 - 1, None, True]},
        "ü".encode().hex(): 'é\u2028\\"\0{[\U0001f600',
        "x:y/z.w-_": {"": []},
    }
    async with embedded(tmp_path) as auth:
        pair = await auth.sessions.start("42", claims=claims)
        keys = KeySet.from_jwks(await _get(auth, "/.well-known/jwks.json"))
        remote = Verifier(ISSUER, audience=ISSUER, keys=keys, check="offline")
        for _ in range(2):
            assert (await auth.verifier.verify_async(pair.access_token)).extra == claims
            assert remote.verify(pair.access_token).extra == claims
        for shown in (repr(pair), repr(auth), repr(await auth.sessions.of("42")), repr(auth.verifier)):
            assert pair.access_token not in shown
            assert pair.refresh_token not in shown
        assert pickle.loads(pickle.dumps(pair)) == pair


async def _get(auth: Handstamp, path: str) -> bytes:
    transport = httpx.ASGITransport(auth.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="https://app.example.com") as client:
        return (await client.get(path)).content


# --- starting and stopping


def test_an_application_can_be_restarted_repeatedly(tmp_path: Path) -> None:
    """One module-level application is started repeatedly, each time in a new event loop, like in test suites."""
    auth = Handstamp(database=f"sqlite:///{tmp_path}/app.db", issuer="http://localhost:9000/auth")
    app = FastAPI(lifespan=auth.lifespan)
    app.mount("/elsewhere", auth.asgi)

    @app.post("/login")
    async def login() -> Any:
        return auth.answer(await auth.sessions.start("42"))

    async def live() -> None:
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost:9000") as client,
        ):
            answer = await client.post("/login")
            headers = {"authorization": f"Bearer {answer.json()['accessToken']}"}
            assert (await client.get("/elsewhere/profile", headers=headers)).json()["id"] == "42"
            passwords = {"currentPassword": PASSWORD, "newPassword": f"{PASSWORD} again"}
            assert (await client.post("/elsewhere/password", headers=headers, json=passwords)).status_code == 404
            assert (await client.get("/elsewhere/sessions", headers=headers)).json()["sessions"]
            assert (await client.post("/elsewhere/logout-everywhere", headers=headers)).status_code == 204
            assert (await client.get("/elsewhere/sessions", headers=headers)).status_code == 401

    for _ in range(2):
        asyncio.run(live())


async def test_use_before_start_is_a_configuration_error(tmp_path: Path) -> None:
    """Before the start no key is known. The error must not make clients drop their tokens."""
    async with embedded(tmp_path) as auth:
        pair = await auth.sessions.start("42")
    unstarted = Handstamp(database=f"sqlite:///{tmp_path}/app.db", issuer=ISSUER)
    for call, token in ((unstarted.verifier.verify_async, pair.access_token), (unstarted.sessions.refresh, pair.refresh_token)):
        with pytest.raises((Unavailable, RuntimeError)):
            await call(token)
