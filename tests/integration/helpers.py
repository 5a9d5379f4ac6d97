"""Helpers of the integration tests: clients without a cookie jar, accounts, and tokens signed with the service's keys."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import os
import socket
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec

from handstamp.assemble.deployment import Deployment
from handstamp.clock import now_ms
from handstamp.config.loading import load
from handstamp.config.secret_file import load_master_secret
from handstamp.crypto import jws
from handstamp.crypto.jwk import SigningKey
from handstamp.domain.claims import ACCESS_TYPE, REFRESH_TYPE, AccessClaims, RefreshClaims
from handstamp.service.parts.caller import Caller
from tests.serving import PASSWORD, Server, cookie_name

T = TypeVar("T")
PROBLEM = "application/problem+json"
CODES = frozenset(
    {
        "invalid_request",
        "missing_token",
        "invalid_token",
        "expired_token",
        "session_ended",
        "invalid_credentials",
        "invalid_client",
        "insufficient_user_authentication",
        "email_not_verified",
        "invalid_code",
        "proof_required",
        "second_factor_required",
        "invalid_challenge",
        "invalid_passkey",
        "unknown_passkey",
        "factor_required",
        "last_way",
        "invalid_dpop_proof",
        "use_dpop_nonce",
        "insufficient_scope",
        "administrator_protected",
        "person_required",
        "impersonated",
        "cross_site",
        "deletion_blocked",
        "not_found",
        "account_exists",
        "too_many_attempts",
        "unavailable",
        "not_linked",
        "identity_taken",
        "provider_refused",
        "invalid_provider_answer",
        "provider_unavailable",
    }
)
"""All error codes of the public contract."""
EPOCH = "Thu, 01 Jan 1970 00:00:00 GMT"
_SHORT_LIVED = frozenset({"failure", "receipt"})
_numbers = itertools.count(1)


@contextmanager
def running(server: Server) -> Iterator[Server]:
    """Run a server for the length of a `with` block."""
    try:
        yield server.start()
    finally:
        server.stop()


def run_server(folder: Path, *options: str, **settings: str) -> AbstractContextManager[Server]:
    """Run a server in a folder for the length of a `with` block."""
    return running(Server(folder, *options, **settings))


def client_of(server: Server, **options: Any) -> httpx.Client:
    """Return a client that stores no cookies: it sends only what the test passes."""
    client = server.client(**options)
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    return client


def new_email(name: str = "ada") -> str:
    """Return an email address that no other test uses."""
    return f"{name}-{os.getpid()}-{next(_numbers)}@example.com"


def new_address() -> str:
    """Return an IPv4 address that no other test uses, for the header `X-Forwarded-For`."""
    number = next(_numbers)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@dataclass(frozen=True, slots=True)
class Cookie:
    """One `Set-Cookie` line: the value, and its attributes with lower-case names."""

    value: str
    attributes: Mapping[str, str]


def set_cookies(answer: httpx.Response) -> dict[str, Cookie]:
    """Return the cookies that an answer sets or deletes, by name. Fail if a name appears twice."""
    cookies: dict[str, Cookie] = {}
    for line in answer.headers.get_list("set-cookie"):
        first, *rest = (part.strip() for part in line.split(";"))
        name, _, value = first.partition("=")
        assert name not in cookies, f"{name} is set twice"
        pairs = (part.partition("=") for part in rest)
        cookies[name] = Cookie(value, {key.lower(): text for key, _, text in pairs})
    return cookies


def token_cookies(answer: httpx.Response) -> dict[str, Cookie]:
    """Return what `set_cookies` returns, without the device cookie, which sign-ins set in browsers."""
    return {name: cookie for name, cookie in set_cookies(answer).items() if "handstamp-device" not in name}


def cookies_by_kind(answer: httpx.Response) -> dict[str, Cookie]:
    """Return `token_cookies` by `access` and `refresh`. `test_cookies` checks the whole names."""
    return {name.removeprefix("__Host-").split("-")[1]: cookie for name, cookie in token_cookies(answer).items()}


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session as its client stores it, for every delivery."""

    email: str
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    sid: str
    delivery: str
    origin: str

    @property
    def bearer(self) -> dict[str, str]:
        """Return the `Authorization` header with the access token."""
        return {"authorization": f"Bearer {self.access}"}

    @property
    def cookies(self) -> dict[str, str]:
        """Return the headers that a browser sends from the service's own page."""
        pairs = [("refresh", self.refresh), ("access", self.access)] if self.delivery == "cookie" else [("refresh", self.refresh)]
        text = "; ".join(f"{cookie_name(kind, self.origin)}={token}" for kind, token in pairs)
        return {"cookie": text, "origin": self.origin, "sec-fetch-site": "same-origin"}

    @property
    def headers(self) -> dict[str, str]:
        """Return the headers that authenticate this session at an endpoint that requires an access token."""
        return self.cookies if self.delivery == "cookie" else self.bearer

    def after(self, answer: httpx.Response) -> SignedIn:
        """Return the session with the tokens of a token answer."""
        assert answer.status_code == 200, answer.text
        return _read_session(answer, self.email, self.delivery, self.origin)


def sign_up(client: httpx.Client, email: str = "", password: str = PASSWORD) -> str:
    """Create an account and return its email address."""
    email = email or new_email()
    answer = client.post("/register", json={"email": email, "password": password})
    assert answer.status_code == 201, answer.text
    return email


def sign_in(client: httpx.Client, email: str, *, delivery: str = "json", origin: str = "", password: str = PASSWORD) -> SignedIn:
    """Sign in and return the session."""
    origin = origin or str(client.base_url).rstrip("/")
    headers = {} if delivery == "json" else {"origin": origin}
    answer = client.post("/login", json={"email": email, "password": password, "delivery": delivery}, headers=headers)
    assert answer.status_code == 200, answer.text
    return _read_session(answer, email, delivery, origin)


def sign_in_new_user(client: httpx.Client, *, delivery: str = "json", origin: str = "") -> SignedIn:
    """Create an account, sign in and return the session."""
    return sign_in(client, sign_up(client), delivery=delivery, origin=origin)


def refresh(client: httpx.Client, signed_in: SignedIn, token: str | None = None) -> httpx.Response:
    """Refresh a session with the method of its delivery. `token` replaces the session's refresh token."""
    presented = token or signed_in.refresh
    if signed_in.delivery == "json":
        return client.post("/refresh", json={"refreshToken": presented})
    cookie = f"{cookie_name('refresh', signed_in.origin)}={presented}"
    return client.post("/refresh", headers={"cookie": cookie, "origin": signed_in.origin, "sec-fetch-site": "same-origin"})


def profile(client: httpx.Client, signed_in: SignedIn) -> httpx.Response:
    """Request the profile of the signed-in person."""
    return client.get("/profile", headers=signed_in.headers)


def refresh_concurrently(client: httpx.Client, signed_in: SignedIn, times: int) -> list[httpx.Response]:
    """Present one refresh token several times at the same moment."""
    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(lambda _: refresh(client, signed_in), range(times)))


def send_raw(server: Server, request: bytes) -> bytes:
    """Send these exact bytes on a new connection and return the whole answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def expect_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Assert that an answer is this problem with all its members, and return it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code, problem
    assert problem["status"] == status
    assert {"type", "title", "detail", "instance"} <= problem.keys()
    assert all(isinstance(problem[name], str) and problem[name] for name in ("type", "title", "detail", "instance"))
    assert answer.headers["cache-control"] == "no-store"
    return problem


def expect_ended(answer: httpx.Response, reason: str) -> None:
    """Assert that an answer says that the session has ended, for this reason."""
    assert expect_problem(answer, 401, "session_ended")["reason"] == reason, answer.text


def read_claims(token: str) -> dict[str, Any]:
    """Return a token's claims without verifying it."""
    segment = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4)))
    return claims


def row_counts(server: Server) -> dict[str, int]:
    """Return the number of rows of each table, except of those whose rows housekeeping deletes after a minute or two.

    Housekeeping also deletes expired revocations, those of earlier tests on the same server: all that were ever written count.
    """
    with closing(_database(server)) as connection:
        found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").fetchall()
        tables = [name for (name,) in found if name not in _SHORT_LIVED]
        counts = {table: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
        written = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'revocation'").fetchone()[0]
        return counts | {"revocation": written}


@contextmanager
def no_row_changes(server: Server) -> Iterator[None]:
    """Check that no row is added or deleted meanwhile. Attempts of earlier tests may expire, and are then deleted."""
    before = row_counts(server)
    yield
    after = row_counts(server)
    assert after == before | {"attempt": min(after["attempt"], before["attempt"])}


def session_row(server: Server, sid: str) -> dict[str, Any]:
    """Return a session's row from the database file."""
    with closing(_database(server)) as connection:
        connection.row_factory = sqlite3.Row
        return dict(connection.execute("SELECT * FROM session WHERE id = ?", (sid,)).fetchone())


def change_session(server: Server, sid: str, **columns: str | int | None) -> None:
    """Update a session's row, to imitate a restored backup or the passing of time."""
    assignments = ", ".join(f"{name} = ?" for name in columns)
    with closing(_database(server)) as connection, connection:
        done = connection.execute(f"UPDATE session SET {assignments} WHERE id = ?", (*columns.values(), sid))
        assert done.rowcount == 1


@contextmanager
def damaged_account(server: Server, email: str) -> Iterator[None]:
    """Make an account's row unreadable for the length of a `with` block."""

    def write(roles: str) -> None:
        with closing(_database(server)) as connection, connection:
            assert connection.execute("UPDATE account SET roles = ? WHERE email = ?", (roles, email)).rowcount == 1

    write("{rubbish")
    yield
    write("[]")


def event_kinds(server: Server, sid: str) -> list[str]:
    """Return the kinds of a session's audit events, oldest first."""
    with closing(_database(server)) as connection:
        return [kind for (kind,) in connection.execute("SELECT kind FROM event WHERE sid = ? ORDER BY id", (sid,))]


@dataclass(frozen=True, slots=True)
class Mint:
    """The deployment's keys, which sign tokens that the service would issue at another time or never."""

    refresh_key: SigningKey
    access_key: SigningKey

    def access(self, like: str, *, typ: str = ACCESS_TYPE, **changes: Any) -> str:
        """Return an access token with the claims of `like`, changed by `changes`."""
        claims = msgspec.convert(read_claims(like) | changes, AccessClaims)
        return jws.sign(claims, self.access_key, typ=typ)

    def refresh(self, like: str, *, typ: str = REFRESH_TYPE, **changes: Any) -> str:
        """Return a refresh token with the claims of `like`, changed by `changes`."""
        claims = msgspec.convert(read_claims(like) | changes, RefreshClaims)
        return jws.sign(claims, self.refresh_key, typ=typ)

    def expired_access(self, like: str) -> str:
        """Return an access token that expired an hour ago."""
        now_s = int(time.time())
        return self.access(like, iat=now_s - 4500, exp=now_s - 3600)


def run_on_deployment(server: Server, work: Callable[[Deployment, Caller], Awaitable[T]]) -> T:
    """Run `work` on a running server's deployment from this process, as a command would."""
    settings = load(database=f"sqlite:///{server.folder / 'handstamp.db'}", issuer=server.url)

    async def run() -> T:
        opened = Deployment(settings)
        async with opened.open():
            return await work(opened, Caller(now_ms=now_ms()))

    return asyncio.run(run())


def mint_of(server: Server) -> Mint:
    """Return the keys of a running server."""

    async def keys(opened: Deployment, caller: Caller) -> Mint:
        return Mint(load_master_secret(opened.settings).derive_refresh_key(), opened.keys.signing_at(caller.now_ms))

    return run_on_deployment(server, keys)


@dataclass(frozen=True, slots=True)
class Credential:
    """The credential with which a service authenticates."""

    id: str
    name: str
    secret: str = field(repr=False)

    @property
    def basic(self) -> httpx.BasicAuth:
        """Return the credential as HTTP Basic authentication."""
        return httpx.BasicAuth(self.id, self.secret)

    @property
    def fields(self) -> dict[str, str]:
        """Return the credential as form fields."""
        return {"client_id": self.id, "client_secret": self.secret}


def create_credential(server: Server, name: str = "") -> Credential:
    """Create a service credential, as `handstamp credentials create` does."""
    name = name or f"service-{os.getpid()}-{next(_numbers)}"
    client, secret = run_on_deployment(server, lambda opened, caller: opened.credentials.create(name, caller))
    return Credential(client.id, client.name, secret)


def _database(server: Server) -> sqlite3.Connection:
    return sqlite3.connect(server.folder / "handstamp.db", timeout=10)


def _read_session(answer: httpx.Response, email: str, delivery: str, origin: str) -> SignedIn:
    """Read the tokens of an answer from the body and the cookies, according to the delivery."""
    body, cookies = answer.json(), set_cookies(answer)
    in_cookies = {"json": (), "split": ("refresh",), "cookie": ("access", "refresh")}[delivery]
    tokens = {
        kind: cookies[cookie_name(kind, origin)].value if kind in in_cookies else body[f"{kind}Token"]
        for kind in ("access", "refresh")
    }
    return SignedIn(email, tokens["access"], tokens["refresh"], body["sessionId"], delivery, origin)
