"""Every kind of client, httpx and httpx2, synchronous, under asyncio and trio: redirects, repeats, refusals, time-outs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
import trio

from handstamp import ConfigurationError, InvalidCredentials, SessionEnded, Unavailable
from handstamp.client import Auth, FileTokens, MemoryTokens
from tests.client.apis import KINDS, Api, Kind, run_asyncio
from tests.client.helpers import MINUTE_MS, generation, keep, load_tokens, sign_in_new_account, stale, tokens_of
from tests.client.hostile import Hostile
from tests.integration.helpers import sign_up
from tests.serving import PASSWORD, Server


@pytest.fixture
def api() -> Iterator[Api]:
    """Return a new API."""
    with Api().running() as api:
        yield api


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Return each kind of client."""
    return KINDS[request.param]


@pytest.fixture
def auth(kind: Kind, api: Api, server: Server, answer: dict[str, Any]) -> Auth:
    """Return an `Auth` with tokens a minute old, for both origins of the API."""
    store = MemoryTokens()
    keep(store, tokens_of(answer, server.url))
    return kind.auth(server.url, store, origins=[api.url, api.other])


def first_of(answer: dict[str, Any], code: str = "expired_token") -> Callable[[str], str | None]:
    """Return a function that refuses the first token of a sign-in alone."""
    return lambda token: code if token == answer["accessToken"] else None


# --- redirects


def test_a_redirected_request_is_not_sent_again_from_its_first_hop(
    kind: Kind, api: Api, auth: Auth, server: Server, answer: dict[str, Any]
) -> None:
    """If the target of a redirect refuses the token, only the last request is repeated: the POST is not sent twice."""
    api.refuses = first_of(answer)
    response = kind.send(auth, "POST", f"{api.url}/see-other", content=b"an order")
    assert response.status_code == 200
    assert api.hops == ["POST /see-other*", "GET /echo*", "GET /echo*"]
    assert generation(server, answer["sessionId"]) == 1


def test_a_redirect_that_keeps_the_method_keeps_the_body(kind: Kind, api: Api, auth: Auth, answer: dict[str, Any]) -> None:
    """The last request is repeated with its body."""
    api.refuses = first_of(answer)
    response = kind.send(auth, "POST", f"{api.url}/move", content=b"an order")
    assert (response.status_code, response.content) == (200, b"an order")
    assert api.hops == ["POST /move*", "POST /echo*", "POST /echo*"]


def test_named_origins_keep_their_token_across_a_redirect(
    kind: Kind, api: Api, auth: Auth, server: Server, answer: dict[str, Any]
) -> None:
    """`httpx` removes the token from a redirect to another origin. If that origin is named and asks for it, it gets it."""
    response = kind.send(auth, "POST", f"{api.url}/hop", content=b"an order")
    assert (response.status_code, response.content) == (200, b"an order")
    assert api.hops == ["POST /hop*", "POST /echo", "POST /echo*"]
    api.refuses = first_of(answer)
    assert kind.send(auth, "GET", f"{api.url}/hop").status_code == 200
    assert generation(server, answer["sessionId"]) == 1


def test_another_host_in_between_costs_the_token(kind: Kind, api: Api, auth: Auth) -> None:
    """A host that is not named has shaped the request, so the token does not go with it, even to a named origin."""
    assert kind.send(auth, "GET", f"{api.url}/away").status_code == 401
    assert api.hops == ["GET /away*", "GET /hop", "GET /echo"]


def test_two_origins_that_redirect_to_each_other_are_left_in_the_end(server: Server, answer: dict[str, Any]) -> None:
    """`httpx` limits the redirects, also those that follow an answer to the token."""
    seen: list[bool] = []

    def bounce(request: httpx.Request) -> httpx.Response:
        seen.append("authorization" in request.headers)
        if not seen[-1]:
            return httpx.Response(401, headers={"www-authenticate": "Bearer"})
        return httpx.Response(
            307, headers={"location": {"a.test": "https://b.test/", "b.test": "https://a.test/"}[request.url.host]}
        )

    auth = Auth(server.url, MemoryTokens(), tokens=answer, origins=["https://a.test", "https://b.test"])
    client = httpx.Client(auth=auth, transport=httpx.MockTransport(bounce), follow_redirects=True)
    with client, pytest.raises(httpx.TooManyRedirects):
        client.get("https://a.test/")
    assert len(seen) < 50


# --- repeats


@pytest.mark.parametrize(
    ("body", "is_repeated"),
    [
        ({"files": {"photo": ("a.png", b"\x89PNG")}, "data": {"name": "Ada"}}, True),
        ({"files": [("a", b"1"), ("b", ("b.txt", "2"))]}, True),
        ({"json": {"a": 1}}, True),
        ({"data": {"a": "1"}}, True),
        ({"files": {"photo": ("a.png", BytesIO(b"\x89PNG"))}}, False),
    ],
    ids=["form with bytes", "several files", "json", "form", "file"],
)
def test_a_body_in_memory_is_sent_again(
    kind: Kind, api: Api, auth: Auth, answer: dict[str, Any], body: dict[str, Any], *, is_repeated: bool
) -> None:
    """Also multipart, if its files are bytes. An open file may have been read or changed, so it is not sent again."""
    api.refuses = first_of(answer)
    response = kind.send(auth, "POST", f"{api.url}/echo", **body)
    assert response.status_code == (200 if is_repeated else 401)
    bodies = [seen.body for seen in api.seen]
    assert len(bodies) == (2 if is_repeated else 1)
    assert len(set(bodies)) == 1


# --- an API that refuses every token


@pytest.mark.parametrize("code", ["expired_token", "invalid_token", "session_ended"])
def test_an_api_whose_clock_is_wrong_costs_one_renewal(  # noqa: PLR0917 - fixtures
    kind: Kind, api: Api, auth: Auth, server: Server, answer: dict[str, Any], code: str
) -> None:
    """A refused token is renewed once. If the API refuses the new one too, its refusals are handed back."""
    api.refuses = lambda _: code
    for _ in range(3):
        assert kind.send(auth, "GET", f"{api.url}/echo").status_code == 401
        assert kind.send(auth, "GET", f"{api.url}/open").status_code == 200  # proves nothing about the token
        store = auth._store
        tokens = load_tokens(store)
        age_ms = MINUTE_MS if tokens.access_token == answer["accessToken"] else 10 * MINUTE_MS
        keep(store, tokens_of(_as_answer(tokens), server.url, age_ms=age_ms))
    assert generation(server, answer["sessionId"]) == 1
    assert len(api.seen) == 3 + 1 + 3
    api.refuses = lambda _: None
    assert kind.send(auth, "GET", f"{api.url}/echo").status_code == 200


def test_one_apis_wrong_clock_does_not_keep_others_from_renewing(
    kind: Kind, api: Api, auth: Auth, server: Server, answer: dict[str, Any]
) -> None:
    """Another origin, and another reason, still lead to a renewal."""
    api.refuses = lambda _: "expired_token"
    assert kind.send(auth, "GET", f"{api.url}/echo").status_code == 401
    tokens = load_tokens(auth._store)
    keep(auth._store, tokens_of(_as_answer(tokens), server.url))
    api.refuses = lambda token: "expired_token" if token == tokens.access_token else None
    assert kind.send(auth, "GET", f"{api.other}/echo").status_code == 200
    assert generation(server, answer["sessionId"]) == 2


def test_a_refused_request_is_not_repeated_for_another_session(  # noqa: PLR0917 - fixtures
    kind: Kind, api: Api, auth: Auth, server: Server, client: httpx.Client, answer: dict[str, Any]
) -> None:
    """The application signs somebody else in while a request is refused: it gets the refusal, and they do not get its order."""
    other = tokens_of(sign_in_new_account(client), server.url)

    def refuse(token: str) -> str | None:
        if token == other.access_token:
            return None
        keep(auth._store, other)
        return "expired_token"

    api.refuses = refuse
    assert kind.send(auth, "POST", f"{api.url}/echo", content=b"an order").status_code == 401
    assert [seen.token for seen in api.seen] == [answer["accessToken"]]
    assert kind.send(auth, "GET", f"{api.url}/echo").status_code == 200
    assert generation(server, answer["sessionId"]) == generation(server, other.session_id) == 0


def _as_answer(tokens: Any) -> dict[str, Any]:
    return {
        "sessionId": tokens.session_id,
        "accessToken": tokens.access_token,
        "refreshToken": tokens.refresh_token,
        "expiresIn": tokens.expires_in_s,
    }


# --- time-outs


def test_the_callers_time_out_covers_the_renewal(kind: Kind, proxy: Hostile, server: Server, answer: dict[str, Any]) -> None:
    """A request waits for new tokens no longer than for an answer. The renewal goes on, and the next request has its result."""
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    auth = kind.auth(proxy.url, store, timeout_s=60)
    proxy.play("hold")
    with pytest.raises(Unavailable):
        kind.send(auth, "GET", f"{proxy.url}/profile", timeout=0.2)
    assert not proxy.release.is_set()
    proxy.release.set()
    assert kind.send(auth, "GET", f"{proxy.url}/profile").status_code == 200
    assert generation(server, answer["sessionId"]) == len(proxy.questions) == 1


# --- event loops


@pytest.mark.parametrize("run", [run_asyncio, trio.run], ids=["asyncio", "trio"])
def test_signing_in_and_out_in_each_event_loop(run: Callable[..., Any], server: Server, client: httpx.Client) -> None:
    """The coroutines of `Auth` run under asyncio and trio, and raise the same errors."""
    email, auth = sign_up(client), Auth(server.url, MemoryTokens())

    async def in_loop() -> None:
        with pytest.raises(InvalidCredentials):
            await auth.sign_in_async(email, "not the password of anybody")
        await auth.sign_in_async(email, PASSWORD)
        async with httpx.AsyncClient(auth=auth, trust_env=False, verify=False, timeout=60) as http:
            assert (await http.get(f"{server.url}/profile")).status_code == 200
        await auth.sign_out_async()

    run(in_loop)
    assert auth._store.load() is None


def test_a_cancelled_trio_task_leaves_the_renewal_running(proxy: Hostile, server: Server, answer: dict[str, Any]) -> None:
    """Cancelling every task, or ending the event loop, does not interrupt a renewal."""
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, proxy.url)))
    auth = Auth(proxy.url, store, timeout_s=60)
    proxy.play("hold")

    async def in_loop() -> None:
        async with httpx.AsyncClient(auth=auth, trust_env=False, verify=False) as http, trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(http.get, f"{proxy.url}/profile")
            await trio.to_thread.run_sync(proxy.arrived.acquire)
            nursery.cancel_scope.cancel()

    trio.run(in_loop)
    proxy.release.set()
    assert KINDS["httpx"].send(auth, "GET", f"{proxy.url}/profile").status_code == 200
    assert generation(server, answer["sessionId"]) == len(proxy.questions) == 1


# --- hooks of the client that calls the service


def raise_for_status(response: Any) -> None:
    """Raise for every refusal, as many applications do."""
    response.raise_for_status()


def raise_always(_: Any) -> None:
    """Raise an exception that is none of httpx's."""
    raise LookupError("the hook is broken")


@pytest.mark.parametrize("make", [httpx.Client, httpx2.Client], ids=["httpx", "httpx2"])
@pytest.mark.parametrize("hook", [raise_for_status, raise_always])
def test_a_hook_that_raises_does_not_hide_the_answer(
    server: Server, client: httpx.Client, answer: dict[str, Any], make: Any, hook: Any
) -> None:
    """A hook of the client for the service may raise: the end of the session is still recognised, and renewals still work."""
    store = MemoryTokens()
    keep(store, stale(tokens_of(answer, server.url)))
    auth = Auth(server.url, store, http=lambda: make(trust_env=False, verify=False, event_hooks={"response": [hook]}))
    assert KINDS["httpx"].send(auth, "GET", f"{server.url}/profile").status_code == 200
    client.post("/logout", json={"refreshToken": load_tokens(store).refresh_token})
    keep(store, stale(load_tokens(store)))
    with pytest.raises(SessionEnded) as ended:
        KINDS["httpx"].send(auth, "GET", f"{server.url}/profile")
    assert ended.value.reason == "logout"
    assert store.load() is None


# --- paths


def test_a_path_may_begin_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]) -> None:
    """`~` is the home of the user, as in a shell."""
    monkeypatch.setenv("HOME", str(tmp_path))
    keep(FileTokens("~/tokens.json"), tokens_of(answer, "https://auth.example.com"))
    assert (tmp_path / "tokens.json").is_file()
    assert FileTokens(Path("~") / "tokens.json").load() is not None
    with pytest.raises(ConfigurationError, match="no home"):
        FileTokens("~nobody-of-this-name/tokens.json")


def test_nothing_imports_trio_or_httpx2_for_others() -> None:
    """The client loads neither for applications that do not use them."""
    import subprocess

    program = "import sys, handstamp.client; print([name for name in ('trio', 'httpx2') if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout == "[]\n"
