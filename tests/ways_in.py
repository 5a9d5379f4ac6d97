"""Every way to sign in with all factors, on two nodes of one store. The first node does something at a chosen access to it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx
import pyotp

from handstamp.assemble.application import make_application
from handstamp.assemble.deployment import Deployment
from handstamp.domain.assurance import is_as_strong
from handstamp.domain.session import Session
from handstamp.storage.store import Transaction
from tests.authenticator import Authenticator
from tests.builders import SECOND_MS, Clock
from tests.deployment import ISSUER, caller, deployed
from tests.postgres import fresh_database

EMAIL, PASSWORD = "ada@example.com", "kelp lantern rivet 41 of the tests"
Where = Literal["before", "after"]
WHERE: tuple[Where, ...] = ("before", "after")
_in_request = ContextVar("_in_request", default=False)


class CrashError(BaseException):
    """The process is gone. No code of the service may catch it."""


class RefusedError(Exception):
    """A request was not accepted."""


class Node:
    """One process of the service. It does something at a chosen access to the store."""

    def __init__(self, running: Deployment, client: httpx.AsyncClient) -> None:
        """Count the accesses of a running service."""
        self.running, self.client = running, client
        self.accesses = 0
        self._at = -1
        self._where: Where = "before"
        self._act: Callable[[], Awaitable[None]] | None = None
        store: Any = running.store
        self._read, self._transact = store.read, store.transact
        store.read, store.transact = self._count_read, self._count_transact

    def plan(self, at: int, where: Where, act: Callable[[], Awaitable[None]]) -> None:
        """Do something before or after the access number `at`."""
        self.accesses, self._at, self._where, self._act = 0, at, where, act

    def _next(self) -> int:
        """Return the number of this access, 0 outside of requests: the service also works in the background."""
        self.accesses += _in_request.get()
        return self.accesses if _in_request.get() else 0

    async def _happen(self, number: int, where: Where) -> None:
        if self._act is not None and (number, where) == (self._at, self._where):
            act, self._act = self._act, None
            await act()

    async def _count_read(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        number = self._next()
        await self._happen(number, "before")
        return await self._read(work)

    async def _count_transact(self, work: Callable[[Transaction], Awaitable[Any]]) -> Any:
        number = self._next()
        if self._act is die and (number, self._where) == (self._at, "before"):
            with suppress(RefusedError):
                await self._transact(partial(_run_and_undo, work))
        await self._happen(number, "before")
        done = await self._transact(work)
        await self._happen(number, "after")
        return done


async def _run_and_undo(work: Callable[[Transaction], Awaitable[Any]], rows: Transaction) -> None:
    """Do the work of a transaction that is never committed."""
    await work(rows)
    raise RefusedError


async def die() -> None:
    """Kill the process."""
    raise CrashError


class Person:
    """A person with an app, a passkey and recovery codes, and a program that sends each request again if no answer comes."""

    def __init__(self, nodes: tuple[Node, Node], clock: Clock) -> None:
        """Talk to the first node, and to the second one when the first is gone."""
        self.nodes, self.clock = nodes, clock
        self.account_id = ""
        self.app = pyotp.TOTP(pyotp.random_base32())
        self.device = Authenticator(ISSUER, counts=True)
        self.codes: list[str] = []
        self.sent: list[tuple[str, dict[str, Any], dict[str, str]]] = []
        self.crashes = 0

    def code(self) -> str:
        """Let half a minute pass, and return the code of the app."""
        self.clock.advance(seconds=30)
        return self.app.at(self.clock() // SECOND_MS)

    async def send(self, path: str, body: dict[str, Any], *, token: str = "") -> httpx.Response:
        """Send a request. If its node dies, send it again to the other one."""
        headers = {"idempotency-key": secrets.token_urlsafe(16)}
        headers |= {"authorization": f"Bearer {token}"} if token else {}
        self.sent.append((path, body, headers))
        within = _in_request.set(True)
        try:
            return await self.nodes[0].client.post(path, json=body, headers=headers)
        except CrashError:
            self.crashes += 1
            await self.expect_sound()
            return await self.nodes[1].client.post(path, json=body, headers=headers)
        finally:
            _in_request.reset(within)

    async def right(self, path: str, body: dict[str, Any], *, token: str = "") -> dict[str, Any]:
        """Send a request, which is accepted. Return its answer."""
        answer = await self.send(path, body, token=token)
        if not answer.is_success:
            raise RefusedError(path, answer.text)
        found: dict[str, Any] = answer.json()
        return found

    async def login(self) -> dict[str, Any]:
        """Send the password. Return the challenge and the ticket with which the sign-in goes on."""
        found = await self.right("/login", {"email": EMAIL, "password": PASSWORD})
        return {"challenge": found["challenge"], "ticket": found["ticket"]} if "challenge" in found else found

    async def sessions(self) -> list[Session]:
        """Return the sessions that live."""
        found, _ = await self.nodes[1].running.sessions.list_all(None, caller(self.clock))
        rows = [await self.nodes[1].running.store.session(each.id) for each in found]
        return [row[0] for row in rows if row is not None]

    async def expect_sound(self) -> list[Session]:
        """Assert that there is at most one session, and that it has all factors."""
        found = await self.sessions()
        assert len(found) <= 1
        assert all(is_as_strong(session.acr, "mfa") for session in found)
        return found

    async def forget(self) -> None:
        """End all sessions, and begin a new record of requests."""
        await self.nodes[1].running.sign_out.end_all(self.account_id, caller(self.clock))
        self.sent, self.crashes = [], 0


Way = Callable[[Person], Awaitable[httpx.Response]]


# The ways in. Each returns the answer to its last request.


async def by_app(ada: Person) -> httpx.Response:
    """With the password and a code of the app."""
    return await ada.send("/login/second-factor", await ada.login() | {"code": ada.code()})


async def by_recovery_code(ada: Person) -> httpx.Response:
    """With the password and a recovery code."""
    return await ada.send("/login/second-factor", await ada.login() | {"recoveryCode": ada.codes.pop()})


async def by_passkey_factor(ada: Person) -> httpx.Response:
    """With the password and the passkey."""
    first = await ada.login()
    begun = await ada.right("/login/passkey/options", first)
    used = {"passkey": ada.device.use(begun["publicKey"]), "passkeyChallenge": begun["challenge"]}
    return await ada.send("/login/second-factor", first | used)


async def by_passkey(ada: Person) -> httpx.Response:
    """With the passkey alone."""
    begun = await ada.right("/login/passkey/options", {})
    used = {"passkey": ada.device.use(begun["publicKey"]), "challenge": begun["challenge"], "ticket": begun["ticket"]}
    return await ada.send("/login/passkey", used)


async def by_new_app(ada: Person) -> httpx.Response:
    """With the password, while signing in a first app is added."""
    first = await ada.login()
    await add_app(ada, first)
    return await ada.send("/login/second-factor", first)


async def by_new_passkey(ada: Person) -> httpx.Response:
    """With the password, while signing in a first passkey is added."""
    first = await ada.login()
    await add_passkey(ada, first)
    return await ada.send("/login/second-factor", first)


async def add_app(ada: Person, held: dict[str, Any], *, token: str = "") -> None:
    """Add an app, in a session or in a sign-in."""
    begun = await ada.right("/totp", held, token=token)
    ada.app = pyotp.TOTP(begun["secret"].replace(" ", ""))
    added = await ada.right("/totp/confirm", held | {"enrolment": begun["enrolment"], "code": ada.code()}, token=token)
    ada.codes = added["recoveryCodes"] or ada.codes


async def add_passkey(ada: Person, held: dict[str, Any], *, token: str = "") -> None:
    """Add a passkey, in a session or in a sign-in."""
    begun = await ada.right("/passkeys/options", held, token=token)
    ada.device = Authenticator(ISSUER, counts=True)
    made = {"passkeyChallenge": begun["challenge"], "passkey": ada.device.make(begun["publicKey"])}
    added = await ada.right("/passkeys", {"ticket": begun.get("ticket")} | held | made, token=token)
    ada.codes = added["recoveryCodes"] or ada.codes


WITH_FACTORS = (by_app, by_recovery_code, by_passkey_factor, by_passkey)
ENROLLING = (by_new_app, by_new_passkey)
AFTERWARDS: dict[Way, Way] = {by_new_app: by_app, by_new_passkey: by_passkey}


def a_client(running: Deployment) -> httpx.AsyncClient:
    """Return a client of a service in this process."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(make_application(running)), base_url=ISSUER)


@asynccontextmanager
async def a_person(folder: Path, server: str, **settings: Any) -> AsyncIterator[Person]:
    """Run two nodes on one store, with a person who is signed in nowhere and has no factor."""
    clock = Clock()
    async with AsyncExitStack() as stack:
        if server:
            settings["database"] = await stack.enter_async_context(fresh_database(server))
        shared = {"secret": secrets.token_urlsafe(32), "people_per_network": 10_000_000} | settings  # the clock stands still

        async def start() -> Node:
            running = await stack.enter_async_context(deployed(folder, clock, **shared))
            return Node(running, await stack.enter_async_context(a_client(running)))

        ada = Person((await start(), await start()), clock)
        await ada.nodes[1].running.create_account(EMAIL, PASSWORD, caller(clock))
        ada.account_id = (await ada.nodes[1].running.accounts.get_by_email(EMAIL)).id
        yield ada


async def prepare(ada: Person, way: Way) -> None:
    """Give the person the factors that a way needs, or none, and end all sessions."""
    accounts = ada.nodes[1].running.accounts
    factors = (await accounts.list_factors(EMAIL, caller(ada.clock))).factors
    is_whole = factors.has_totp and factors.passkeys and len(ada.codes) > 1
    if factors.is_any and (way in ENROLLING or not is_whole):
        await accounts.reset_factors(EMAIL, caller(ada.clock))
        ada.clock.advance(ms=1)  # what begins in the same millisecond is refused
    if way in WITH_FACTORS and not is_whole:
        token = (await ada.login())["accessToken"]
        await add_app(ada, {}, token=token)
        await add_passkey(ada, {}, token=token)
    await ada.forget()


async def replay(ada: Person) -> None:
    """Send every request again: as it was, without its key, and from another browser."""
    here, there = ada.nodes
    for path, body, headers in ada.sent:
        await here.client.post(path, json=body, headers=headers)
        await there.client.post(path, json=body)
        stolen = await there.client.post(path, json=body | {"ticket": secrets.token_urlsafe(32)})
        assert "accessToken" not in stolen.json(), path
